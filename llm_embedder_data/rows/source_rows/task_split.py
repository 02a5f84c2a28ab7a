"""Splits the rows of a source by the tasks that they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.source_rows.source_rows import SourceRows


class TaskRows(NamedTuple):
    """The rows of a task.

    Attributes:
        name: the name of their dataset: the source's name, or ``<source>:<task>`` if the source has
            several tasks.
        task: the task.
        chosen: whether each row of the source is of this task, ``[n]`` bool.
    """

    name: str
    task: str
    chosen: NDArray[np.bool_]


def split_by_task(read: SourceRows, settings: ReadingSettings) -> Iterator[TaskRows]:
    """Yield the rows of each task of a source, sorted by task. Bad rows count for the first task.

    Raises:
        DataError: the recipe does not know a task, or only some of the rows name one.
    """
    fallback = read.source.task or settings.default_task
    first_row = _first_row_of_tasks(read, fallback)
    tasks = sorted(first_row)
    for task in tasks:
        if not settings.recipe.knows(task):
            raise read.error(first_row[task], settings.recipe.unknown_task(task))
    if len(tasks) == 1:
        yield TaskRows(read.source.name, tasks[0], np.ones(len(read.sound), bool))
        return
    for task in tasks:
        chosen = np.zeros(len(read.sound), bool)
        for rows, named in _named_tasks(read):
            is_task = pc.equal(named.fill_null(fallback), task).to_numpy(zero_copy_only=False)
            chosen[rows] = np.where(read.sound[rows], is_task, task == tasks[0])
        yield TaskRows(f"{read.source.name}:{task}", task, chosen)


def _first_row_of_tasks(read: SourceRows, fallback: str) -> dict[str, int]:
    """Return the number of the first row of each task.

    Args:
        read: the rows.
        fallback: the task of rows that name none.

    Raises:
        DataError: only some of the rows name a task, and the source names none.
    """
    first: dict[str, int] = {}
    first_unnamed, n_unnamed = -1, 0
    for rows, named in _named_tasks(read):
        for name in named.unique().drop_null().to_pylist():
            if name not in first:
                first[name] = rows.start + pc.index(named, name).as_py()
        is_unnamed = named.is_null().to_numpy(zero_copy_only=False) & read.sound[rows]
        unnamed = np.flatnonzero(is_unnamed)
        if len(unnamed) and not n_unnamed:
            first_unnamed = rows.start + int(unnamed[0])
        n_unnamed += len(unnamed)
    if n_unnamed and read.source.task is None:
        if set(first) - {fallback}:
            raise read.error(
                first_unnamed,
                "no task, while other rows of the source name "
                f"{', '.join(map(repr, sorted(first)))} (name a task in every row, or give the "
                "source a task)",
            )
        read.notes.append(
            f"{n_unnamed} rows name no task: taken as {fallback!r} (data.default_task)"
        )
    if n_unnamed or not first:
        first[fallback] = min(first.get(fallback, len(read.sound)), max(first_unnamed, 0))
    return first


def _named_tasks(read: SourceRows) -> Iterator[tuple[slice, pa.StringArray]]:
    """Yield a slice of rows and the tasks that they name, chunk by chunk; null for bad rows."""
    end = 0
    for task in read.rows.data.column("task").chunks:
        start, end = end, end + len(task)
        rows = slice(start, end)
        yield rows, pc.if_else(pa.array(read.sound[rows]), task, None)
