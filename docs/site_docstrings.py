"""Makes markdown of docstrings, for the API page."""

from __future__ import annotations

import re
from typing import Any

import griffe

# In markdown ``>>>`` begins a quotation.
EXAMPLE = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?P=indent)\S.*)*", re.MULTILINE)
ROLE = re.compile(r":\w+:`~?(?P<name>[^`]+)`")  # such as :class:`EpochPlan`
TIMES = re.compile(r"(?<=\w)\*(?=\w)")  # as in B*G, which markdown takes for emphasis


class MarkdownDocstrings(griffe.Extension):
    """Puts each example into a block of code, and rewrites what markdown takes for its own."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a class, a function or an attribute."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\g<name>`", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(_fenced, TIMES.sub(r"\\*", text))


def _fenced(found: re.Match[str]) -> str:
    lines = found[0].replace("  # doctest: +SKIP", "").replace(r"\*", "*")
    return f"{found['indent']}```pycon\n{lines}\n{found['indent']}```"
