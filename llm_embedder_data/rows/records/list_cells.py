"""Cells of a text file that are lists, written as JSON or as Python shows them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

# Deeper lists are no rows of anybody.
_DEEPEST = 8

_PYTHON = re.compile(
    r"""\s*(?:(?P<open>\[)|(?P<close>\])|(?P<comma>,)"""
    r"""|(?P<text>'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")"""
    r"""|(?P<word>None|True|False|nan|inf|-inf|[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?))""",
    re.DOTALL,
)
# Texts one behind another without a comma.
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")"""
_NUMPY = re.compile(rf"\s*\[\s*{_QUOTED}(?:\s+{_QUOTED})+\s*\]\s*", re.DOTALL)
_WORDS = {
    "None": None,
    "True": True,
    "False": False,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
}


def list_of(cell: str) -> list[Any] | None:
    """The list that a cell is, in JSON or in Python's own writing; None where it is no list.

    Nothing is evaluated. What NumPy shows of an array, without commas, is no list: its texts could
    not be told apart.
    """
    text = cell.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        value = orjson.loads(text)
    except ValueError:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = _python_list(text)
    return value if isinstance(value, list) else None


def list_columns(rows: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """The columns whose cells are all lists, or empty, in the first rows of a file.

    Raises:
        ValueError: a column holds arrays as NumPy shows them.
    """
    if not rows:
        return ()
    found = []
    for column in range(min(map(len, rows))):
        cells = [row[column] for row in rows if row[column].strip()]
        lists = [list_of(cell) for cell in cells]
        if cells and None not in lists:
            found.append(column)
        elif any(map(_NUMPY.fullmatch, cells)) and all(cell.strip()[0] == "[" for cell in cells):
            raise ValueError(
                f"column {column + 1} holds arrays as NumPy shows them, without commas, and their "
                "texts cannot be told apart (write lists as JSON, as with "
                "frame[name].map(lambda a: json.dumps(list(a))))"
            )
    return tuple(found)


def _python_list(text: str) -> list[Any] | None:
    """A list as ``repr`` writes it; None where the text is something else."""
    stack: list[list[Any]] = []
    place, is_behind_value = 0, False
    while found := _PYTHON.match(text, place):
        place, kind = found.end(), found.lastgroup
        if kind == "comma":
            if not is_behind_value:
                return None
            is_behind_value = False
        elif kind == "close":
            value = stack.pop()
            if not stack:
                return value if not text[place:].strip() else None
            is_behind_value = True
        elif is_behind_value or (kind != "open" and not stack) or len(stack) > _DEEPEST:
            return None
        elif kind == "open":
            inner: list[Any] = []
            if stack:
                stack[-1].append(inner)
            stack.append(inner)
        else:
            try:
                stack[-1].append(_scalar(found[kind or ""], kind == "text"))
            except (ValueError, SyntaxError):
                return None
            is_behind_value = True
    return None


def _scalar(written: str, is_text: bool) -> Any:
    if not is_text:
        if written in _WORDS:
            return _WORDS[written]
        return float(written) if re.search(r"[.eE]", written) else int(written)
    if "\\" not in written:
        return written[1:-1]
    # A literal of one string: no name, call or operator can be in it.
    return ast.literal_eval(written.replace("\r", "\\r").replace("\n", "\\n"))
