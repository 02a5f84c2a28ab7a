"""Fences the examples of docstrings for the API page: markdown takes ``>>>`` for a quotation."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?P=indent)\S.*)*", re.MULTILINE)


class FencedExamples(griffe.Extension):
    """Puts each example of a docstring into a block of code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a class, a function or an attribute."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(found: re.Match[str]) -> str:
    lines = found[0].replace("  # doctest: +SKIP", "")
    return f"{found['indent']}```pycon\n{lines}\n{found['indent']}```"
