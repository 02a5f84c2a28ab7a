"""Lines that are arrays of texts (pairs, triplets), and sets of texts that mean the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.core.hashing import below, hash_rows, stream_seed
from llm_embedder_data.rows.formats.columns import row_in_order
from llm_embedder_data.rows.formats.format import Format, each, most_are
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.texts_or_ids import texts_or_ids
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    shown,
    texts_of,
    train_row,
)


def _recognizes(file: RawFile) -> bool:
    rows = file.head
    if not most_are(rows, _is_texts):
        return False
    if file.container in ("lines", "array"):
        return True
    # Two cells without header are an id and a text where the first never repeats and has no blank.
    return most_are(rows, lambda row: len(row) == 2) and not starts_with_ids(file)


def _is_texts(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) >= 2 and all(isinstance(one, str) for one in value)
    )


def starts_with_ids(file: RawFile) -> bool:
    """Whether the first cells of a file without header are ids: none repeats, none has a blank."""
    first = [row[0] for row in file.head if isinstance(row, list) and row]
    return len(set(first)) == len(first) and all(
        isinstance(one, str) and not any(sign.isspace() for sign in one) for one in first
    )


def _read(parts: Parts) -> Iterator[Row]:
    for record in parts.records():
        try:
            if not isinstance(record.value, list):
                raise BadRowError(f"expected an array of texts, found {shown(record.value)}")
            yield row_in_order(record.value)
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


ARRAYS = Format(
    name="arrays",
    what="lines that are arrays of a query, a positive, and negatives",
    recognizes=_recognizes,
    train=texts_or_ids(_read),
)


def _is_sets(file: RawFile) -> bool:
    return set(file.fields) == {"set"}


def _from_set(record: Mapping[str, Any], parts: Parts) -> Row:
    texts = list(dict.fromkeys(texts_of(record.get("set"), "set")))
    if len(texts) < 2:
        raise Dropped("sets of one text")
    assert parts.at is not None
    import numpy as np

    row = np.array([parts.at[1].row], np.int64)
    chosen = int(below(hash_rows(stream_seed("query of a set"), row), len(texts))[0])
    return train_row(texts[chosen], texts[:chosen] + texts[chosen + 1 :])


SETS = Format(
    name="sets",
    what="sets of texts that mean the same",
    recognizes=_is_sets,
    train=each(_from_set),
)
