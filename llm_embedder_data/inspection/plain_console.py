"""A console of rich that gives text alone, in a terminal and in a notebook."""

from __future__ import annotations

import io

from rich.console import Console


class PlainConsole(Console):
    """Collects what is printed on it, without colours and without markup.

    In a notebook, a console of rich shows itself below the cell, whatever file it writes to. So
    ``force_jupyter`` is off: ``str(report)`` is to be text and to show nothing.
    """

    def __init__(self, width: int) -> None:
        self._lines = io.StringIO()
        super().__init__(
            file=self._lines,
            width=width,
            force_jupyter=False,
            force_terminal=False,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def text(self) -> str:
        """Return what was printed, without blanks at the end."""
        return self._lines.getvalue().rstrip()
