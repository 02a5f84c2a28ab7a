"""Gives canonical names to the fields of records, where the user's files have other names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_embedder_data.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RenamedFields:
    """The columns that hold the canonical fields. Call it with a record to rename its columns.

    Attributes:
        columns: one or several columns, by canonical field. The values of several columns are
            joined to a list. ``a.b`` is the part ``b`` of the column ``a``.
    """

    columns: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, settings: Mapping[str, Any], fields: tuple[str, ...]) -> RenamedFields | None:
        """Return the fields that settings rename; None if they rename none.

        Args:
            settings: a column's name, or a list of names, by canonical field.
            fields: the canonical fields that can be renamed.

        Raises:
            ConfigError: a value cannot be the name of a column.
        """
        columns = {}
        for name in fields:
            given = settings.get(name)
            if given is None:
                continue
            several = list(given) if isinstance(given, list | tuple) else [given]
            for column in several:
                if isinstance(column, bool) or not isinstance(column, str | int) or column == "":
                    raise ConfigError(
                        f"{name}={given!r}: expected the name of a column of the files, or a list "
                        "of names"
                    )
            columns[name] = tuple(map(str, several))
        return cls(columns) if columns else None

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that the user named."""
        return tuple(dict.fromkeys(name for names in self.columns.values() for name in names))

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record with canonical names; fields whose column is missing are left out."""
        taken = {name.partition(".")[0] for name in self.names} | set(self.names)
        renamed = {name: value for name, value in record.items() if name not in taken}
        for field, columns in self.columns.items():
            found = [value for name in columns if (value := part_of(record, name)) is not None]
            if len(columns) == 1:
                if found:
                    renamed[field] = found[0]
                continue
            joined: list[Any] = []
            for value in found:
                joined += value if isinstance(value, list) else [value] if value != "" else []
            renamed[field] = joined
        return renamed

    def missing(self, records: list[Any]) -> list[str]:
        """Return the named columns that none of the given records has."""
        found = [record for record in records if isinstance(record, Mapping)]
        return [
            name
            for name in self.names
            if all(part_of(record, name) is None for record in found)
            and not any(name.partition(".")[0] in record for record in found)
        ]


def part_of(record: Any, name: str) -> Any:
    """Return the value of a column, or of a part such as ``a.b``; None if it is missing.

    A part of a list of objects is the list of the objects' parts.
    """
    if isinstance(record, Mapping) and name in record:
        return record[name]
    value = record
    for key in name.split("."):
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            value = [entry.get(key) for entry in value]
        else:
            return None
    return value
