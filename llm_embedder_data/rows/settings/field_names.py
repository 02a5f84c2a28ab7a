"""The names that canonical fields have in the files of a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line


def column_name(value: Any, setting: str) -> str:
    """Return the name of a column as the user gave it; an integer becomes its digits.

    Args:
        value: the value of the setting.
        setting: the name of the setting, for messages.

    Raises:
        ConfigError: the value cannot be the name of a column.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ConfigError(f"{setting}={value!r}: expected the name of a column of the files")
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{setting}={value!r}: a column's name cannot hold a lone surrogate (write the "
            "character)"
        ) from error
    return str(value)


def column_names(value: Any, setting: str) -> str | tuple[str, ...]:
    """Return the column that a field is read from, or the columns if the user lists several.

    Args:
        value: the value of the setting.
        setting: the name of the setting, for messages.

    Raises:
        ConfigError: the value names no column.
    """
    if not isinstance(value, list | tuple):
        return column_name(value, setting)
    if not value:
        raise ConfigError(f"{setting}: an empty list (name at least one column)")
    return tuple(column_name(entry, f"{setting}[{number}]") for number, entry in enumerate(value))


def columns_by_field(fields: Sequence[str], given: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the column that each field is read from.

    Args:
        fields: the fields.
        given: the columns that the user named, by field. Other fields are read from the column with
            the field's name.
        where: the source, for messages.

    Raises:
        ConfigError: two fields would be read from the same column, so one of them would get the
            values of the other.
    """
    columns = {name: given.get(name, name) for name in fields}
    field_of: dict[str, str] = {}
    for name in sorted(fields, key=lambda name: name in given):  # name the fields not given first
        column = columns[name]
        previous = field_of.setdefault(column, name)
        if previous != name:
            raise ConfigError(
                f"{where}: {one_line(previous)!r} and {one_line(name)!r} would both be read from "
                f"the column {column!r} (say which column holds {one_line(previous)!r}, as in "
                f"{one_line(previous)}: its_column; if none does, give a name that no record has)"
            )
    return columns
