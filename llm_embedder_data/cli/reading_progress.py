"""A bar for each large file while it is read, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from llm_embedder_data.core.printable import beginning, one_line
from llm_embedder_data.rows.files.watched_reads import watching_reads

# Smaller files are read too fast for a bar to be of use.
_LEAST_BYTES = 16 << 20
_LONGEST_NAME = 40


@contextmanager
def reading_progress(console: Console | None = None) -> Iterator[None]:
    """Show how many bytes of each large file were read, while files are read inside the block.

    Args:
        console: where to show the bars; None for standard error. If it is not a terminal, nothing
            is shown.
    """
    console = Console(stderr=True) if console is None else console
    if not console.is_terminal:
        yield
        return
    bars: dict[str, TaskID] = {}
    lock = Lock()
    progress = Progress(
        TextColumn("reading {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )

    def watch(path: str, n_read: int, n_bytes: int) -> None:
        if n_bytes < _LEAST_BYTES:
            return
        with lock:
            if path not in bars:
                name = escape(beginning(one_line(Path(path).name), _LONGEST_NAME))
                bars[path] = progress.add_task(name, total=n_bytes, completed=n_read)
                progress.refresh()
            progress.update(bars[path], completed=n_read)
            if n_read >= n_bytes:
                progress.remove_task(bars.pop(path))

    with progress, watching_reads(watch):
        yield
