"""Describes in a sentence why the shape of a file does not fit the rows that are read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.columns.column import Column
from llm_embedder_data.rows.faults.known_columns import (
    as_line,
    look_alikes,
    look_like_ids,
    naming_hint,
    nearest_mapping,
)
from llm_embedder_data.rows.files.compression import opened

# The bytes of a file without records from which the reason is found.
_HEAD_BYTES = 1 << 16

# The numbers of rows whose candidates are checked for ids. The second check is only made if all
# candidates of the first look like ids.
_ROWS_TO_CHECK = (50, 10_000)

_MOST_NAMED = 30  # columns in a sentence

# By kind of rows: the name of a row, the fields that it needs, and fields of which it needs one.
_NEEDS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "train": ("training row", ("query",), ("pos", "history", "neg")),
    "retrieve": ("row of eval queries", ("query",), ()),
    "rerank": ("row to rerank", ("query",), ("key", "pos", "neg")),
}

# The fields of the mapping that a message suggests, if there are columns for them.
_SUGGESTED = {
    "train": ("query", "pos", "neg"),
    "retrieve": ("query", "pos_index"),
    "rerank": ("query", "pos", "neg"),
}

# Fields that a note suggests to read from another column.
_RENAMABLE = ("neg", "query_id", "title")


def wrong_shape(
    path: str, kind: str, columns: Sequence[Column], found: Sequence[str]
) -> DataError | None:
    """Return the error for a file whose shape makes all its rows unusable; or None.

    Args:
        path: the file.
        kind: the name of the kind of rows.
        columns: the columns that are read, with their names in the file.
        found: the columns of the file's first records.
    """
    sentence = missing_fields(kind, columns, found) if found else no_records(path)
    return DataError.at(path, sentence) if sentence else None


def missing_fields(kind: str, columns: Sequence[Column], found: Sequence[str]) -> str | None:
    """Return a sentence on a file that lacks columns that its rows need; or None.

    Args:
        kind: the name of the kind of rows.
        columns: the columns that are read, with their names in the file.
        found: the columns of the file's first records.
    """
    if kind not in _NEEDS or not found:
        return None
    row, needed, one_needed = _NEEDS[kind]
    called = {column.name: column.field for column in columns}
    missing = [name for name in needed if called[name] not in found]
    if one_needed and not any(called[name] in found for name in one_needed):
        missing.append(one_needed[0])
    if not missing:
        return None
    needs = ", ".join(called[name] for name in needed)
    if one_needed:
        needs += f", and {' or '.join(called[name] for name in one_needed)}"
    wanted = [name for name in _SUGGESTED[kind] if name in missing or called[name] not in found]
    free = [name for name in found if name not in called.values()]
    if set(nearest_mapping(free, wanted)) & set(missing):
        hint = naming_hint(free, wanted)
    else:
        hint = naming_hint([], ("query", "pos"))
    lists = "; pos and neg are lists of texts" if one_needed else ""
    return (
        f"no row has {' or '.join(called[name] for name in missing)}: the columns are "
        f"{_listed(found)}, and a {row} needs {needs} ({hint}{lists})"
    )


def no_records(path: str) -> str | None:
    """Return a sentence on a file without records; None if each line has a different fault."""
    with opened(path) as file:
        head: bytes = file.read(_HEAD_BYTES)
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
        "{...} a line; convert tables of text, such as CSV, first)"
    )


def unread_columns(columns: Sequence[Column], found: Sequence[str]) -> list[str]:
    """Return the columns that are not read, but have canonical names or those of a known format.

    Args:
        columns: the columns that are read, with their names in the file.
        found: the columns of the file's first records.
    """
    return look_alikes(found, {column.field for column in columns})


def note_on_unread(columns: Sequence[Column], found: Sequence[str], unread: Sequence[str]) -> str:
    """Return a note on columns that are not read, with what to do about them.

    Args:
        columns: the columns that are read, with their names in the file.
        found: the columns of the file's first records.
        unread: the result of :func:`unread_columns`; at least one column.
    """
    verb = "column is" if len(unread) == 1 else "columns are"
    missing = [column.name for column in columns if column.field not in found]
    renamable = [name for name in missing if name in _RENAMABLE]
    hint = as_line(nearest_mapping(unread, renamable, least=2))
    named = f" (to read one, name it in the source, as in {hint})" if hint else ""
    return f"{len(unread)} {verb} not read, though known by name: {_listed(unread)}{named}"


def ids_for_texts(keys: pa.ChunkedArray, sound: Any) -> str | None:
    """Return a sentence if the candidates of all first rows look like ids; or None.

    Args:
        keys: the candidates, a list of texts per row, ``[n]``.
        sound: whether to check a row, ``[n]`` bool.
    """
    for n_rows in _ROWS_TO_CHECK:
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
    listed = ", ".join(shown(name) for name in names[:_MOST_NAMED])
    return listed if len(names) <= _MOST_NAMED else f"{listed} and {len(names) - _MOST_NAMED} more"
