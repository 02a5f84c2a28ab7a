"""The package's two errors: a wrong setting, and data that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args

from llm_embedder_data.core.printable import one_line, printable


class PrintableError(ValueError):
    """An error with a message that a terminal can show, whatever names and values are in it.

    Built from its message alone: a DataLoader re-raises a worker's exception as ``type(message)``,
    and one whose constructor wants more comes back as a bare RuntimeError (torch 2.13).
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class ConfigError(PrintableError):
    """A setting that cannot be used: which one, what was found, what is allowed."""


class DataError(PrintableError):
    """A file or a row that cannot be used; ``path`` and ``row`` say which."""

    path: str | None = None
    row: int | None = None

    @classmethod
    def at(
        cls, path: str, sentence: str, *, row: int | None = None, line: int | None = None
    ) -> DataError:
        """An error that begins with the place; rows are counted from 0, lines from 1."""
        place = one_line(path) if row is None else f"{one_line(path)}, row {row}"
        place += "" if line is None else f" (line {line})"
        error = cls(f"{place}: {sentence}")
        error.path, error.row = path, row
        return error


def check_choice(value: Any, allowed: Any, key: str) -> None:
    """Refuse a value outside a ``Literal`` or a sequence of names.

    Raises:
        ConfigError: naming the key, the value, the choices and the nearest spelling.
    """
    choices = [str(choice) for choice in (get_args(allowed) or allowed)]
    if value not in choices:
        raise ConfigError(
            f"{key}={value!r}: expected one of {', '.join(choices)}{did_you_mean(value, choices)}"
        )


def did_you_mean(value: Any, choices: Iterable[Any]) -> str:
    """``"; did you mean 'x'?"``, or nothing where no choice is near."""
    near = get_close_matches(str(value), [str(choice) for choice in choices], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
