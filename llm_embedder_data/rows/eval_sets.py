"""Eval sets: the eval queries of one task of one source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import datasets
import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.file_formats import Format
from llm_embedder_data.rows.instructed_texts import note_on_instructed_texts
from llm_embedder_data.rows.reading_settings import ReadingSettings
from llm_embedder_data.rows.row_errors import error_at_row, require_rows
from llm_embedder_data.rows.row_instructions import count_instructed, kind_of_source
from llm_embedder_data.rows.row_numbers import numbers_where
from llm_embedder_data.rows.schema.evaluation import EvalMethod, eval_rows
from llm_embedder_data.rows.source_rows import read_source
from llm_embedder_data.rows.sources import Source
from llm_embedder_data.rows.task_split import split_by_task


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """The eval queries of one task of one source.

    Attributes:
        name: of the dataset.
        source: name of its source. The two names are equal if the source has one task.
        task: of all its rows.
        files: in the order in which their rows are counted.
        digests: of the files' content.
        rows: all rows of the source, memory-mapped, with the columns of ``RETRIEVE_SCHEMA`` or
            ``RERANK_SCHEMA``.
        n_rows: rows of each file.
        format: of the files.
        kept: ``[n]`` int64, ascending, the numbers of the rows that are used.
        n_read: rows of this task in the files.
        dropped: rows that are not used, counted by reason.
        task_description: for the prompt of an instruct model; None for the recipe's.
        n_instructed: kept rows whose query has an instruction of its own; 0 if none is wanted.
        notes: sentences for the report and the log.
    """

    name: str
    source: str
    task: str
    files: tuple[str, ...]
    digests: tuple[str, ...]
    rows: datasets.Dataset
    n_rows: tuple[int, ...]
    format: Format
    kept: NDArray[np.int64]
    n_read: int
    dropped: Mapping[str, int]
    task_description: str | None = None
    n_instructed: int = 0
    notes: tuple[str, ...] = ()

    def error(self, row: int, sentence: str) -> DataError:
        """Return an error at a row, named by the file that holds it."""
        return error_at_row(self.files, self.n_rows, row, sentence, self.format)


def build_eval_sets(
    source: Source, reading: ReadingSettings, *, eval_method: EvalMethod
) -> list[EvalSet]:
    """Build the eval sets of a source: one per task that its rows name.

    Args:
        source: where the rows are.
        reading: how they are read.
        eval_method: retrieve or rerank.

    Raises:
        DataError: a bad row, an unknown task, or no row left.
    """
    read = read_source(source, kind_of_source(source, eval_rows(eval_method)), reading)
    eval_sets = []
    for task_rows in split_by_task(read, reading):
        is_kept = task_rows.chosen & read.sound
        kept = numbers_where(is_kept, read.folder)
        eval_set = EvalSet(
            name=task_rows.name,
            source=source.name,
            task=task_rows.task,
            files=source.files,
            digests=read.digests,
            rows=read.rows,
            n_rows=read.n_rows,
            format=source.format,
            kept=kept,
            n_read=int(task_rows.chosen.sum()),
            dropped=read.count_bad(task_rows.chosen),
            task_description=source.task_description,
            n_instructed=count_instructed(read.rows, is_kept) if reading.add_instruction else 0,
            notes=(
                *read.notes,
                *note_on_instructed_texts(
                    read.rows, kept, reading, task_rows.task, source.task_description
                ),
            ),
        )
        require_rows(eval_set)
        eval_sets.append(eval_set)
    return eval_sets
