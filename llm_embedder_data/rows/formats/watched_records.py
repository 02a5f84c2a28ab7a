"""Notes which columns of a record a format asks for; the others are reported as not read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class WatchedRecord(dict[str, Any]):
    """A record that notes which of its columns a reader asks for.

    Args:
        record: the record.
        names: the set to which the names of these columns are added.
    """

    def __init__(self, record: Mapping[str, Any], names: set[str]) -> None:
        super().__init__(record)
        self._names = names

    def get(self, name: str, default: Any = None) -> Any:
        self._names.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self._names.add(name)
        return super().__getitem__(name)
