"""Writes canonical rows to a JSON Lines or Parquet file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.file_errors import writing
from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.rows.schema.canonical_rows import Kind, Row

ENDINGS = (".jsonl", ".parquet")

_BATCH_ROWS = 1000

_STRINGS = pa.list_(pa.string())
_INSTRUCTION = pa.struct([("query", pa.string()), ("key", pa.string())])


def write_rows(
    rows: Iterable[Row],
    path: str | Path,
    kind: Kind,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write canonical rows to a file, which appears complete or not at all.

    A column of a Parquet file has a single type: ids are text unless all of them are 64-bit
    integers, and grades are floats unless all of them are integers.

    Args:
        rows: rows with the keys of ``kind``.
        path: the file to write; its ending is one of ``ENDINGS``.
        kind: the kind of the rows.
        progress: called with the number of rows so far.

    Returns:
        The number of rows that were written.

    Raises:
        ConfigError: the path has another ending.
        DataError: the file cannot be written. Reading the rows may raise other errors.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise ConfigError(f"{path}: expected a file that ends in {' or '.join(ENDINGS)}")
    with writing(path, "out"), atomic_file(path) as file:
        if path.suffix == ".jsonl":
            return _write_lines(rows, file, progress).n_rows
        # The types of columns are only known when all rows were seen.
        with tempfile.TemporaryFile(dir=path.parent) as lines:
            seen = _write_lines(rows, lines, progress)
            lines.seek(0)
            _write_table(map(json.loads, lines), file, kind, seen)
        return seen.n_rows


# --------------------------------------------------------------------------------------------------


class _Seen:
    """What the rows hold: their number, and the types of their ids and grades."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.id_types: set[type] = set()
        self.grade_types: set[type] = set()

    def add(self, row: Row) -> None:
        self.n_rows += 1
        query_id = row.get("query_id")
        if query_id is not None:
            is_small = isinstance(query_id, int) and -(2**63) <= query_id < 2**63
            self.id_types.add(int if is_small else str)
        self.grade_types.update(map(type, (row.get("relevant") or {}).values()))


def _write_lines(rows: Iterable[Row], file: IO[bytes], progress: Callable[[int], None]) -> _Seen:
    seen = _Seen()
    for row in rows:
        seen.add(row)
        # Lone surrogates cannot be encoded as characters, so such rows are written with escapes.
        line = json.dumps(row, ensure_ascii=False, allow_nan=False)
        try:
            content = line.encode()
        except UnicodeEncodeError:
            content = json.dumps(row, allow_nan=False).encode()
        file.write(content + b"\n")
        progress(seen.n_rows)
    return seen


def _write_table(rows: Iterator[Row], file: IO[bytes], kind: Kind, seen: _Seen) -> None:
    id_type = pa.int64() if seen.id_types == {int} else pa.string()
    grade_type = pa.int64() if seen.grade_types <= {int} else pa.float64()
    schema = _schema(kind, id_type, grade_type)
    with pq.ParquetWriter(file, schema) as writer:
        batch: list[Mapping[str, Any]] = []
        for row in rows:
            batch.append(_with_types(row, id_type, grade_type))
            if len(batch) == _BATCH_ROWS:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema))


def _with_types(row: Row, id_type: pa.DataType, grade_type: pa.DataType) -> Row:
    if row.get("query_id") is not None and pa.types.is_string(id_type):
        row["query_id"] = str(row["query_id"])
    if "relevant" in row:
        number = int if pa.types.is_integer(grade_type) else float
        row["relevant"] = [(id, number(grade)) for id, grade in row["relevant"].items()]
    return row


def _schema(kind: Kind, id_type: pa.DataType, grade_type: pa.DataType) -> pa.Schema:
    if kind == "corpus":
        return pa.schema([("id", pa.string()), ("text", pa.string())])
    if kind == "eval":
        return pa.schema(
            [
                ("query", pa.string()),
                ("query_id", id_type),
                ("relevant", pa.map_(pa.string(), grade_type)),
                ("candidates", _STRINGS),
                ("instruction", _INSTRUCTION),
                ("answers", _STRINGS),
            ]
        )
    return pa.schema(
        [
            ("query", pa.string()),
            ("pos", _STRINGS),
            ("neg", _STRINGS),
            ("candidates", _STRINGS),
            ("teacher_scores", pa.list_(pa.float64())),
            ("query_id", id_type),
            ("instruction", _INSTRUCTION),
            ("task", pa.string()),
        ]
    )
