"""What to say, in one sentence, of a file that has another shape than the rows asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llm_embedder_data.rows.columns import Column, shown
from llm_embedder_data.rows.containers import opened
from llm_embedder_data.rows.known_columns import (
    as_line,
    look_alikes,
    look_like_ids,
    nearest_mapping,
)

# Read for a look at a file whose lines are no records, bytes.
_HEAD = 1 << 16

# Looked at, rows: at all of them only where the first ones look like ids.
_LOOKED_AT = 50
_LOOKED_AT_TWICE = 10_000

# Named in a sentence, columns.
_NAMED = 30

# By kind of reading: what a row of it is called, the fields of which it needs each, and those of
# which it needs one.
_NEEDS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "train": ("training row", ("query",), ("pos", "history", "neg")),
    "retrieve": ("row of eval queries", ("query",), ()),
    "rerank": ("row to rerank", ("query",), ("key", "pos", "neg")),
}

# The fields that a mapping to paste has, as far as there are columns for them.
_PASTED = {
    "train": ("query", "pos", "neg"),
    "retrieve": ("query", "pos_index"),
    "rerank": ("query", "pos", "neg"),
}


def other_shape(kind: str, columns: Sequence[Column], found: Sequence[str]) -> str | None:
    """One sentence on a file whose columns cannot give such rows; None where they might.

    Args:
        kind: of the rows: train, retrieve or rerank.
        columns: that are read, as they are called in the file.
        found: the names of the columns of its first records.
    """
    if kind not in _NEEDS or not found:
        return None
    row, each, one_of = _NEEDS[kind]
    called = {column.name: column.field for column in columns}
    missing = [name for name in each if called[name] not in found]
    if one_of and not any(called[name] in found for name in one_of):
        missing.append(one_of[0])
    if not missing:
        return None
    needed = ", ".join(called[name] for name in each)
    if one_of:
        needed += f", and {' or '.join(called[name] for name in (*one_of[:1], *one_of[1:]))}"
    pasted = [name for name in _PASTED[kind] if name in missing or called[name] not in found]
    free = [name for name in found if name not in called.values()]
    mapping = nearest_mapping(free, pasted)
    if set(mapping) & set(missing):
        hint = f"name them in the source, as in {{path: ..., {as_line(mapping)}}}"
    else:
        hint = "name them in the source, as in {path: ..., query: COLUMN, pos: COLUMN}"
    lists = "; pos and neg are lists of texts" if one_of else ""
    return (
        f"no row has {' or '.join(called[name] for name in missing)}: the columns are "
        f"{_listed(found)}, and a {row} needs {needed} ({hint}{lists})"
    )


def no_records(path: str) -> str | None:
    """One sentence on a file none of whose lines is a record; None where each is to be told of."""
    with opened(path) as file:
        head: bytes = file.read(_HEAD)
    text = str(head, "utf-8", "replace").removeprefix("\ufeff").lstrip()
    if text.startswith("["):
        return "it is a JSON array, and no element is an object (a row is {...})"
    if "\r" in text.rstrip() and "\n" not in text:
        return "its lines end in CR alone (convert them with: tr '\\r' '\\n' < FILE > FILE.jsonl)"
    first = text.split("\n", 1)[0].strip()
    if first.startswith("{") and (first.rstrip(",").endswith("}") or "\n" not in text):
        return None
    if first.startswith("{"):
        return (
            "its objects go over several lines (pretty-printed), and a row is one {...} a line "
            "(write them with: jq -c . FILE > FILE.jsonl; if it is one object that holds the rows "
            "as a list, with: jq -c '.NAME[]' FILE > FILE.jsonl)"
        )
    return (
        f"no line is a JSON object, the first begins with {shown(first[:40])} (a row is one "
        "{...} a line; tables of text, such as CSV, are to be converted first)"
    )


def not_read(columns: Sequence[Column], found: Sequence[str]) -> str | None:
    """A note on columns that look like ours, or like a known format's, and are not read."""
    near = look_alikes(found, {column.field for column in columns})
    if not near:
        return None
    verb = "column is" if len(near) == 1 else "columns are"
    missing = [column.name for column in columns if column.field not in found]
    hint = as_line(nearest_mapping(near, [name for name in missing if name in _MAPPED], least=2))
    named = f" (to read one, name it in the source, as in {hint})" if hint else ""
    return f"{len(near)} {verb} not read, though known by name: {_listed(near)}{named}"


# Fields for which another column may simply stand.
_MAPPED = ("neg", "query_id", "title")


def ids_for_texts(keys: pa.ChunkedArray, sound: Any) -> str | None:
    """One sentence where all candidates look like ids; None where one does not.

    Args:
        keys: a list of texts a row.
        sound: ``[n]`` bool, the rows to look at.
    """
    for n_rows in (_LOOKED_AT, _LOOKED_AT_TWICE):
        rows = keys.slice(0, n_rows).filter(pa.array(sound[:n_rows]))
        texts = pc.list_flatten(rows).drop_null().to_pylist()
        if len(texts) < 2 or not look_like_ids(texts):
            return None
    examples = ", ".join(shown(text) for text in list(dict.fromkeys(texts))[:3])
    return (
        f"the candidates are ids of documents, not texts: all {len(texts)} of the first rows look "
        f"like {examples} (put the documents' texts in their place)"
    )


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(shown(name) for name in names[:_NAMED])
    return listed if len(names) <= _NAMED else f"{listed} and {len(names) - _NAMED} more"
