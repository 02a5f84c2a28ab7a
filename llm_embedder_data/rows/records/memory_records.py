"""Reads data in memory like a file: lists of dicts, Arrow tables, data frames, datasets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.class_names import naming_classes
from llm_embedder_data.rows.files.table_process.class_columns import features_in
from llm_embedder_data.rows.files.table_process.plain_columns import readable, with_columns
from llm_embedder_data.rows.records.raw_files import Container, RawFile, RawRecord

_BATCH_ROWS = 1000
_BUILT_IN = {str, int, float, bool, type(None)}
_CLASSES = {
    *("Dataset", "IterableDataset", "DatasetDict", "IterableDatasetDict"),
    *("DataFrame", "LazyFrame"),
}


@dataclass(frozen=True)
class MemoryRecords(RawFile):
    """Records in memory, read like those of a file; ``path`` is the data's name in messages.

    Attributes:
        data: data for which :func:`is_data` is true.
    """

    data: Any = None

    @property
    def container(self) -> Container:
        """Always ``"table"``: the records have named columns."""
        return "table"

    @property
    def found(self) -> str:
        """What the data is, in a few words, for reports."""
        return f"a {type(self.data).__name__} in memory"

    @property
    def name(self) -> str:
        """The name of the data in messages."""
        return self.path

    def _records(self, most: int | None = None) -> Iterator[RawRecord]:
        for row, value in enumerate(_rows(self.data, self.path)):
            yield RawRecord(value, row, None)


def is_data(value: Any) -> bool:
    """Return whether a value holds rows: it is a data frame, a table, a dataset or a list of dicts.

    A list of dicts with ``path`` is a list of sources instead.
    """
    kind = _kind(value)
    if kind in ("Dataset", "IterableDataset", "DataFrame", "LazyFrame"):
        return True
    if isinstance(value, pa.Table | pa.RecordBatch):
        return True
    if isinstance(value, list | tuple) and value:
        return all(isinstance(entry, Mapping) and "path" not in entry for entry in value)
    return False


def is_dataset_dict(value: Any) -> bool:
    """Return whether a value is a DatasetDict of Hugging Face datasets."""
    return _kind(value) in ("DatasetDict", "IterableDatasetDict")


def _kind(value: Any) -> str | None:
    """Return the name of a datasets, pandas or polars class, without importing the libraries.

    None if the value is not of such a class.
    """
    for found in type(value).__mro__:
        library = found.__module__.split(".")[0]
        if found.__name__ in _CLASSES and library in ("datasets", "pandas", "polars"):
            return found.__name__
    return None


def _rows(data: Any, name: str) -> Iterator[Any]:
    kind = _kind(data)
    if kind == "Dataset":
        for table in data.with_format("arrow").iter(_BATCH_ROWS):
            yield from _of_table(table, name)
    elif kind == "IterableDataset":
        features = data.features.to_dict() if data.features is not None else {}
        yield from map(naming_classes(features), map(_plain_record, data))
    elif kind in ("DataFrame", "LazyFrame"):
        yield from _of_frame(data.collect() if kind == "LazyFrame" else data, name)
    elif isinstance(data, pa.RecordBatch | pa.Table):
        table = pa.Table.from_batches([data]) if isinstance(data, pa.RecordBatch) else data
        yield from _of_table(table, name)
    elif isinstance(data, Iterable):
        yield from map(_plain_record, data)
    else:
        raise DataError.at(name, f"a {type(data).__name__} holds no rows (give a list of dicts)")


def _of_table(table: pa.Table, name: str) -> Iterator[dict[str, Any]]:
    _check_names(table.schema.names, name)
    named = naming_classes(features_in(table.schema))
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        try:
            batch = with_columns(batch, list(map(readable, batch.columns)))
            yield from map(named, batch.to_pylist())
        except UnicodeDecodeError:
            raise _not_utf8(batch, name) from None


def _of_frame(frame: Any, name: str) -> Iterator[Any]:
    if hasattr(frame, "to_arrow"):  # polars
        yield from _of_table(frame.to_arrow(), name)
        return
    _check_names(list(frame.columns), name)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError):  # columns of mixed types
        yield from map(_plain_record, frame.to_dict("records"))
        return
    yield from _of_table(table, name)


def _plain_record(record: Any) -> Any:
    """Return a record with built-in values in place of those of NumPy, pandas and torch.

    NaN in a column is what pandas has for a missing value, and becomes None.
    """
    if not isinstance(record, Mapping):
        return record
    try:
        plain = {name: _plain_value(value) for name, value in record.items()}
    except RecursionError:  # lists of lists of lists: whoever reads the column says what is wrong
        plain = dict(record)
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in plain.items()
    }


def _plain_value(value: Any) -> Any:
    if type(value) in _BUILT_IN:
        return value
    if isinstance(value, list | tuple):
        return [_plain_value(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _plain_value(entry) for name, entry in value.items()}
    if hasattr(value, "tolist"):  # an array, a tensor, or a scalar of NumPy
        return _plain_value(value.tolist())
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def _check_names(columns: Sequence[Any], name: str) -> None:
    """Refuse columns of the same name, because a record can hold only one of them."""
    twice = [column for column, n_times in Counter(columns).items() if n_times > 1]
    if twice:
        raise DataError.at(
            name, f"the column {twice[0]!r} appears twice (rename one, or take it out)"
        )


def _not_utf8(batch: pa.RecordBatch, name: str) -> DataError:
    for column, array in zip(batch.schema.names, batch.columns, strict=True):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid as error:
            return DataError.at(
                name,
                f"the column {column!r} holds values that are invalid: {error} (a string is UTF-8; "
                "make the table again)",
            )
    return DataError.at(name, "it holds text that is not UTF-8 (make the table again)")
