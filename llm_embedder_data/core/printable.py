"""Text from elsewhere on its way to a terminal: what a terminal would obey is shown, not sent."""

from __future__ import annotations

import re

# Control characters (C0, DEL, C1), line and paragraph separators, what turns the direction of text
# round, and halves of surrogate pairs, which no terminal's encoding holds.
_UNSAFE = r"\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE_IN_TEXT = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_LINE = re.compile(rf"[{_UNSAFE}\n]")


def printable(text: object) -> str:
    r"""A message of one or more lines with control characters as ``repr`` has them.

    Line breaks are kept, for messages have some of their own; :func:`one_line` is for the names
    and paths that are put into a message.

    >>> print(printable("a name of \x1b[31mred\x1b[0m,\nand a second line"))
    a name of \x1b[31mred\x1b[0m,
    and a second line
    """
    return _UNSAFE_IN_TEXT.sub(_escaped, str(text))


def one_line(text: object) -> str:
    r"""A name, a path or a value as a part of one line: line breaks are escaped too.

    >>> print(one_line("two\nlines"))
    two\nlines
    """
    return _UNSAFE_IN_LINE.sub(_escaped, str(text))


def cause(error: BaseException) -> BaseException | None:
    """What an error is raised from: another one, unless its own message is not printable.

    A traceback shows the messages of the errors behind one as they are.

    >>> cause(OSError("no file called \x1b[31m")) is None
    True
    """
    behind: BaseException | None = error
    while behind is not None:
        if printable(behind) != str(behind):
            return None
        behind = behind.__cause__ or behind.__context__
    return error


def _escaped(found: re.Match[str]) -> str:
    return repr(found.group())[1:-1]
