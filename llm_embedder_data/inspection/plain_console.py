"""A rich console whose output is a plain string."""

from __future__ import annotations

import io

from rich.console import Console


class PlainConsole(Console):
    """Collects what is printed on it, without colours and markup.

    Args:
        width: in characters.
    """

    def __init__(self, width: int) -> None:
        self._lines = io.StringIO()
        super().__init__(
            file=self._lines,
            width=width,
            force_jupyter=False,  # otherwise rich also displays the text below a notebook's cell
            force_terminal=False,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def text(self) -> str:
        """Return what was printed, without trailing white space."""
        return self._lines.getvalue().rstrip()
