"""Class numbers of Hugging Face datasets that carry the name of their class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llm_embedder_data.rows.files.table_process.class_columns import item_in, names_in

_Named = Callable[[Any], Any]


class NamedClass(int):
    """A number of a ``ClassLabel`` column; it equals the integer, and has the class's name.

    Attributes:
        name: the name of the class.
    """

    name: str

    def __new__(cls, number: int, name: str) -> NamedClass:
        """Return a number with a name."""
        found = super().__new__(cls, number)
        found.name = name
        return found

    def __repr__(self) -> str:
        return f"{self.name!r} (class {int(self)})"

    def __reduce__(self) -> tuple[type[NamedClass], tuple[int, str]]:
        return NamedClass, (int(self), self.name)


def naming_classes(features: Mapping[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that replaces class numbers in a record by :class:`NamedClass` values.

    Args:
        features: features by column, as datasets writes them in JSON.
    """
    named = _fields(features)
    if named is None:
        return lambda record: record
    return named


def _of(feature: Any) -> _Named | None:
    """Return a function that names the class numbers in a value; None if there are none in it."""
    if (names := names_in(feature)) is not None:
        classes = [NamedClass(number, name) for number, name in enumerate(names)]
        return lambda value: (
            classes[value] if type(value) is int and 0 <= value < len(classes) else value
        )
    if (item := item_in(feature)) is not None:
        # A list of structs is stored as a struct of lists, if datasets declares a Sequence of it.
        if isinstance(item, Mapping) and "_type" not in item:
            of_lists = _fields({name: [part] for name, part in item.items()})
            of_item = _fields(item)
            if of_lists is None or of_item is None:
                return None
            return lambda value: (
                of_lists(value)
                if isinstance(value, dict)
                else [of_item(entry) for entry in value]
                if isinstance(value, list)
                else value
            )
        named = _of(item)
        if named is None:
            return None
        return lambda value: list(map(named, value)) if isinstance(value, list) else value
    if isinstance(feature, Mapping) and "_type" not in feature:
        return _fields(feature)
    return None


def _fields(features: Mapping[str, Any]) -> _Named | None:
    found = {name: _of(feature) for name, feature in features.items()}
    named = {name: name_of for name, name_of in found.items() if name_of is not None}
    if not named:
        return None

    def of_struct(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return value | {
            name: name_of(value[name]) for name, name_of in named.items() if name in value
        }

    return of_struct
