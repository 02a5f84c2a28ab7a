"""Printing to the terminal, on rank 0 only."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from llm_embedder_data.core.printable import printable


@rank_zero_only
def show(content: Any) -> None:
    """Print a text, with control characters escaped, or a renderable of rich, such as a table."""
    shown = printable(content) if isinstance(content, str) else content
    Console(soft_wrap=True, emoji=False, force_jupyter=False).print(
        shown, highlight=False, markup=False
    )
