"""Names and messages made safe to print: a terminal shows control characters, and obeys none."""

from __future__ import annotations

import re

# Control characters (C0, DEL, C1), line and paragraph separators, marks that change the direction
# of text, and lone surrogates, which cannot be encoded.
_UNSAFE = r"\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE_IN_TEXT = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_LINE = re.compile(rf"[{_UNSAFE}\n]")


def printable(text: object) -> str:
    r"""Escape the control characters of a message, but keep its line breaks.

    :func:`one_line` is for the names and paths that a message quotes.

    >>> print(printable("a name of \x1b[31mred\x1b[0m,\nand a second line"))
    a name of \x1b[31mred\x1b[0m,
    and a second line
    """
    return _UNSAFE_IN_TEXT.sub(_escaped, str(text))


def one_line(text: object) -> str:
    r"""Escape the control characters and line breaks of a name, a path or a value.

    >>> print(one_line("two\nlines"))
    two\nlines
    """
    return _UNSAFE_IN_LINE.sub(_escaped, str(text))


def beginning(text: str, longest: int) -> str:
    """Return a text, cut off with three dots if it has more than ``longest`` characters.

    >>> beginning("When does the last ferry leave?", 20)
    'When does the las...'
    """
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def cause(error: BaseException) -> BaseException | None:
    """Return the error to use in ``raise ... from``; None if its traceback is unsafe to print.

    A traceback prints the messages of all chained errors unescaped.

    >>> cause(OSError("no file called \x1b[31m")) is None
    True
    """
    chained: BaseException | None = error
    while chained is not None:
        if printable(chained) != str(chained):
            return None
        chained = chained.__cause__ or chained.__context__
    return error


def _escaped(found: re.Match[str]) -> str:
    return repr(found.group())[1:-1]
