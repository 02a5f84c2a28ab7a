"""Reads the first records of a file, to name its fields in messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.files.file_formats import TABLE_FORMATS, Format, real_format
from llm_embedder_data.rows.files.json_files import first_json_records
from llm_embedder_data.rows.files.tables import table_columns

_LOOKED_AT = 50  # records
_MOST_NAMES = 200  # of fields
_LONGEST_NAME = 100  # characters


def field_names(path: str, format: Format = "auto") -> list[str]:
    """Return the names of the fields of a file's first records, in order of appearance.

    Raises:
        DataError: the file cannot be read, or its format is unknown.
    """
    names: dict[str, None] = {}
    for record in first_records(path, format):
        names.update(dict.fromkeys(record))
    return [name[:_LONGEST_NAME] for name in list(names)[:_MOST_NAMES]]


def first_records(path: str, format: Format = "auto") -> list[Mapping[str, Any]]:
    """Return the first records of a JSON file; for a table, one record with null in each column.

    Raises:
        DataError: the file cannot be read, or its format is unknown.
    """
    file_format = real_format(path, format)
    if file_format in TABLE_FORMATS:
        return [dict.fromkeys(table_columns(path, file_format))]
    return list(first_json_records(path, _LOOKED_AT))
