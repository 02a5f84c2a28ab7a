"""The rows of sentence-transformers' collection ``embedding-training-data``.

``arrays``: each line is an array of a query, a positive, and any number of negatives. Lines of two
tab-separated texts without a header are read alike::

    ["what causes tides", "Tides follow the moon.", "Rain falls from clouds."]

``sets``: each line is an object whose only field, ``set``, holds texts that mean the same. One of
them becomes the query, chosen by a hash of the row's number, and the others become positives::

    {"set": ["how do tides work", "what causes tides"]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.core.hashing import below, hash_rows, stream_seed
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.columns import row_in_order
from llm_embedder_data.rows.formats.format import Format, each_record, is_text, most_are
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.texts_or_ids import texts_or_ids
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
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
    return most_are(rows, lambda row: len(row) == 2) and not _starts_with_ids(file)


def _is_texts(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 2
        and all(isinstance(entry, str) for entry in value)
    )


def _starts_with_ids(file: RawFile) -> bool:
    """Return whether the first column looks like ids: no cell repeats, and none has a blank."""
    first = [row[0] for row in file.head]
    return len(set(first)) == len(first) and not any(
        character.isspace() for cell in first for character in cell
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
    # Other columns may name the set or its task; a query would be the one to train on.
    has_query = bool({"query", "pos"} & set(file.fields))
    return not has_query and most_are(file.values("set"), _is_list_of_texts)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


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
    train=each_record(_from_set),
)
