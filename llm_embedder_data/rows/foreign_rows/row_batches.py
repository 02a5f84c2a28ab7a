"""Converts canonical rows to batches of their kind's columns, with the location of each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.columns.column import Faults
from llm_embedder_data.rows.columns.records import columns_of_records
from llm_embedder_data.rows.faults.row_locations import LOCATION_COLUMNS
from llm_embedder_data.rows.passages.passages import Passages
from llm_embedder_data.rows.records.raw_files import RawRecord, RecordPlace
from llm_embedder_data.rows.records.rejected_records import note_rejected
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    has_passage_numbers,
)
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.settings.reading_settings import OnBadRow
from llm_embedder_data.rows.sources.sources import Source

BATCH_ROWS = 1000

# The file and the record that a row came from.
Location = tuple[str, RawRecord]


class MixedKeysError(Exception):
    """Some rows name documents by id, and others hold their texts."""


class RowBatches:
    """Converts canonical rows to batches of columns.

    Args:
        source: the source of the rows.
        row_kind: the kind of rows to make.
        record_of: returns a record with the fields of ``row_kind`` for a canonical row.
        on_bad_row: whether a row that breaks a rule of its kind is an error, or is counted.
        passages: the passages whose numbers are the keys; None if keys are texts.

    Attributes:
        files: the files of the rows so far; the column ``source_file`` holds indices into them.
        dropped: the number of rows that break a rule of their kind, by fault.
        first_dropped: the location of the first of these rows, by fault.
        n_rows: the number of rows in the batches so far.
    """

    def __init__(
        self,
        source: Source,
        row_kind: RowKind,
        record_of: Callable[[Row], Mapping[str, Any]],
        on_bad_row: OnBadRow,
        passages: Passages | None = None,
    ) -> None:
        if passages is not None and row_kind.of_passages is not None:
            row_kind = row_kind.of_passages(passages)
        self._source, self._kind, self._record_of = source, row_kind, record_of
        self._on_bad_row, self._passages = on_bad_row, passages
        self._records: list[Mapping[str, Any]] = []
        self._locations: list[tuple[int | None, int | None, int | None]] = []
        self._numbers: dict[str, int] = {}
        self.dropped: Counter[str] = Counter()
        self.first_dropped: dict[str, RecordPlace] = {}
        self.n_rows = 0

    @property
    def schema(self) -> pa.Schema:
        """The schema of all batches."""
        return pa.schema([*self._kind.schema, *LOCATION_COLUMNS])

    @property
    def files(self) -> list[str]:
        return list(self._numbers)

    @property
    def passage_files(self) -> list[str] | None:
        """The names of the passages' files, if keys are passage numbers; None if keys are texts."""
        return None if self._passages is None else self._passages.names

    def add(self, row: Row, at: Location | None) -> pa.RecordBatch | None:
        """Add a row and its location; return a batch if there are enough rows for it.

        Raises:
            MixedKeysError: the keys are texts, but should be numbers of passages, or the reverse.
            DataError: as :meth:`rest`.
        """
        numbered = has_passage_numbers(row)
        if numbered is not None and numbered != (self._passages is not None):
            raise MixedKeysError
        try:
            self._records.append(self._record_of(row))
        except (BadRowError, Dropped) as error:
            if isinstance(error, BadRowError) and self._on_bad_row == "raise":
                path, row_number, line = self._source.files[0], None, None
                if at is not None:
                    path, row_number, line = at[0], at[1].row, at[1].line
                raise _bad_row(path, str(error), row_number, line) from error
            self.dropped[str(error)] += 1
            if at is not None:
                path, record = at
                self.first_dropped.setdefault(str(error), (path, record.row, record.line))
                note_rejected(path, record.row, record.line, str(error), record.value)
            return None
        if at is None:
            self._locations.append((None, None, None))
        else:
            path, record = at
            number = self._numbers.setdefault(path, len(self._numbers))
            self._locations.append((number, record.row, record.line))
        return self.rest() if len(self._records) >= BATCH_ROWS else None

    def rest(self) -> pa.RecordBatch:
        """Return a batch of the rows that were added and not returned yet.

        Raises:
            DataError: a row breaks a rule of its kind, and bad rows are not skipped.
        """
        kind, records, locations = self._kind, self._records, self._locations
        self._records, self._locations = [], []
        faults: Faults = [None] * len(records)
        columns = columns_of_records(records, kind.file_columns, faults)
        batch = kind.build(columns, faults)
        arrays = [
            pa.array([location[i] for location in locations], type_)
            for i, (_, type_) in enumerate(LOCATION_COLUMNS)
        ]
        batch = pa.RecordBatch.from_arrays([*batch.columns, *arrays], schema=self.schema)
        fault = batch.column("fault")
        if fault.null_count < len(batch):
            self._check(fault.to_pylist(), locations, records)
            batch = batch.filter(fault.is_null())
        self.n_rows += len(batch)
        return batch

    def _check(
        self,
        faults: list[str | None],
        locations: list[tuple[int | None, int | None, int | None]],
        records: list[Mapping[str, Any]],
    ) -> None:
        files = self.files
        for fault, (file, row, line), record in zip(faults, locations, records, strict=True):
            if fault is None:
                continue
            if self._on_bad_row == "raise":
                path = self._source.files[0] if file is None else files[file]
                raise _bad_row(path, fault, row, line)
            self.dropped[fault] += 1
            if file is not None and row is not None:
                self.first_dropped.setdefault(fault, (files[file], row, line))
                given = {name: value for name, value in record.items() if value is not None}
                note_rejected(files[file], row, line, fault, given)


def _bad_row(path: str, fault: str, row: int | None, line: int | None) -> DataError:
    return DataError.at(
        path, f"{fault} (data.on_bad_row=skip leaves such rows out)", row=row, line=line
    )
