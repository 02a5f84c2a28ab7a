"""Parses cells of delimited text that are lists, in JSON or as Python's ``repr`` writes them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

# No known file nests lists deeper.
_DEEPEST = 8

_PYTHON = re.compile(
    r"""\s*(?:(?P<open>\[)|(?P<close>\])|(?P<comma>,)"""
    r"""|(?P<text>'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")"""
    r"""|(?P<word>None|True|False|nan|inf|-inf|[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?))""",
    re.DOTALL,
)
# Texts in a row without commas between them.
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
    """Return the list in a cell, written in JSON or by Python's ``repr``; None if it is no list.

    No code is evaluated. An array as NumPy prints it is not a list: without commas between them,
    its texts cannot be told apart.
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
    """Return the indices of the columns whose cells are lists, or empty, in the given rows.

    Raises:
        ValueError: a column holds arrays as NumPy prints them.
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
    """Return the list that ``repr`` wrote as this text; None if the text is something else."""
    stack: list[list[Any]] = []
    position, is_behind_value = 0, False
    while found := _PYTHON.match(text, position):
        position, kind = found.end(), found.lastgroup
        if kind == "comma":
            if not is_behind_value:
                return None
            is_behind_value = False
        elif kind == "close":
            value = stack.pop()
            if not stack:
                return value if not text[position:].strip() else None
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
    # The text is a single string literal, so no code can be in it.
    return ast.literal_eval(written.replace("\r", "\\r").replace("\n", "\\n"))
