"""The package's two kinds of errors: a wrong setting, and data that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args

from llm_embedder_data.core.printable import one_line, printable


class PrintableError(ValueError):
    """An error whose message is safe to print, whatever names and values it quotes.

    The constructor takes the message alone. A DataLoader re-raises a worker's exception as
    ``type(message)``; an exception that needs more arguments becomes a bare RuntimeError there
    (torch 2.13).
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class ConfigError(PrintableError):
    """A setting that cannot be used. The message names it, the value found and what is allowed."""


class DataError(PrintableError):
    """A file or a row that cannot be used.

    Attributes:
        path: the file, if the error is about one.
        row: the row in that file, counted from 0, if the error is about one.
    """

    path: str | None = None
    row: int | None = None

    @classmethod
    def at(
        cls, path: str, sentence: str, *, row: int | None = None, line: int | None = None
    ) -> DataError:
        """Return an error whose message begins with the location.

        Args:
            path: the file or files.
            sentence: what is wrong.
            row: the row in the file, counted from 0.
            line: the line of that row, counted from 1.
        """
        location = one_line(path) if row is None else f"{one_line(path)}, row {row}"
        location += "" if line is None else f" (line {line})"
        error = cls(f"{location}: {sentence}")
        error.path, error.row = path, row
        return error

    def reworded(self, message: str) -> DataError:
        """Return an error about the same file and row with another message."""
        error = type(self)(message)
        error.path, error.row = self.path, self.row
        return error


def check_choice(value: Any, allowed: Any, setting: str) -> None:
    """Check that a value is one of the allowed names.

    Args:
        value: the value found.
        allowed: a ``Literal`` type or a sequence of names.
        setting: the name of the setting, for the message.

    Raises:
        ConfigError: the value is not allowed; the message lists the choices and suggests the
            nearest spelling.
    """
    choices = [str(choice) for choice in (get_args(allowed) or allowed)]
    if value not in choices:
        raise ConfigError(
            f"{setting}={value!r}: expected one of {', '.join(choices)}"
            f"{did_you_mean(value, choices)}"
        )


def did_you_mean(value: Any, choices: Iterable[Any]) -> str:
    """Return ``"; did you mean 'x'?"``, or an empty string if no choice is close."""
    near = get_close_matches(str(value), [str(choice) for choice in choices], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
