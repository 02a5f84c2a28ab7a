"""Lines that are arrays of texts (pairs, triplets), and sets of texts that mean the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.core.hashing import below, derive_key, hash_rows
from llm_embedder_data.rows.canonical_rows import BadRowError, Dropped, Row, texts_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.raw_files import RawFile


def _recognizes(file: RawFile) -> bool:
    return (
        bool(file.head)
        and all(
            isinstance(value, list)
            and len(value) >= 2
            and all(isinstance(entry, str) for entry in value)
            for value in file.head
        )
        and file.container in ("lines", "array")
    )


def _read(parts: Parts) -> Iterator[Row]:
    for record in parts.records():
        try:
            texts = texts_of(record.value, "a text")
            if len(texts) < 2:
                raise BadRowError("expected an array of a query, a positive, and negatives")
            yield train_row(texts[0], texts[1:2], texts[2:])
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


ARRAYS = Format(
    name="arrays",
    what="lines that are arrays of a query, a positive, and negatives",
    recognizes=_recognizes,
    train=_read,
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
    chosen = int(below(hash_rows(derive_key("query of a set"), row), len(texts))[0])
    return train_row(texts[chosen], texts[:chosen] + texts[chosen + 1 :])


SETS = Format(
    name="sets",
    what="sets of texts that mean the same",
    recognizes=_is_sets,
    train=each(_from_set),
)
