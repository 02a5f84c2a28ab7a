"""What the fields that we read are called in the files of one source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line


def column_name(value: Any, key: str) -> str:
    """A column's name as the user gave it; an integer is its digits.

    Args:
        value: what was given.
        key: of the setting, for messages.

    Raises:
        ConfigError: what can be no column's name.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ConfigError(f"{key}={value!r}: expected the name of a column of the files")
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{key}={value!r}: half a surrogate pair is in no column's name (write the character)"
        ) from error
    return str(value)


def read_from(fields: Sequence[str], given: Mapping[str, str], where: str) -> dict[str, str]:
    """The column that each field is read from, by field; no column stands for two fields.

    Args:
        fields: that are read.
        given: the columns that the user named, by field.
        where: the source, for messages.

    Raises:
        ConfigError: two fields of one column. One of them would be read from what the other means.
    """
    columns = {name: given.get(name, name) for name in fields}
    field_of: dict[str, str] = {}
    for name in sorted(fields, key=lambda name: name in given):  # those without a say come first
        column = columns[name]
        other = field_of.setdefault(column, name)
        if other != name:
            raise ConfigError(
                f"{where}: {one_line(other)!r} and {one_line(name)!r} would both be read from the "
                f"column {column!r} (say which column holds {one_line(other)!r}, as in "
                f"{one_line(other)}: its_column; where none does, give a name that no record has)"
            )
    return columns
