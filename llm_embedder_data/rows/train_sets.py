"""Training sets: the rows of one task of one source that are trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import datasets
import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import stream_seed
from llm_embedder_data.rows.canonical_rows import Row, stored_id
from llm_embedder_data.rows.filters import Reasons, count_reasons, drop_beyond, drop_reasons
from llm_embedder_data.rows.formats.flagembedding import in_batch_negatives_of
from llm_embedder_data.rows.reading_settings import ReadingSettings
from llm_embedder_data.rows.row_errors import require_rows
from llm_embedder_data.rows.row_numbers import numbers_where
from llm_embedder_data.rows.row_statistics import statistics_by_block
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS, TRAIN_ROWS
from llm_embedder_data.rows.settings_in_force import settings_in_force
from llm_embedder_data.rows.source_rows import RowShapes, SourceRows, read_source, renamed_fields
from llm_embedder_data.rows.sources import Source
from llm_embedder_data.rows.task_split import TaskRows, split_by_task
from llm_embedder_data.rows.train_settings import OnNoNegatives, TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSet:
    """The training rows of one task of one source. Their text is in ``rows`` only.

    Attributes:
        name: of the dataset.
        task: of all its rows.
        files: in the order in which their rows are counted.
        digests: of the files' content.
        rows: all rows of the source, memory-mapped, with the columns of ``TRAIN_SCHEMA``.
        n_rows: rows of each file.
        kept: ``[n]`` int64, ascending, the numbers of the rows that are trained on.
        n_read: rows of this task in the files.
        dropped: rows that are not trained on, counted by reason.
        settings: the settings in force, without those that the data does not allow.
        n_scored: kept rows with teacher scores.
        n_without_negatives: kept rows without a hard negative.
        most_negatives: the most hard negatives of a kept row.
        batch_size: queries per rank and step; None for the data module's.
        weight: passes over the dataset per epoch.
        in_batch_negatives: whether the keys of other queries are negatives.
        task_description: for the prompt of an instruct model; None for the recipe's.
        format: of the files, a name of :mod:`llm_embedder_data.rows.formats`.
        notes: sentences for the report and the log.
    """

    name: str
    task: str
    files: tuple[str, ...]
    digests: tuple[str, ...]
    rows: datasets.Dataset
    n_rows: tuple[int, ...]
    kept: NDArray[np.int64]
    n_read: int
    dropped: Mapping[str, int]
    settings: TrainSettings
    n_scored: int
    n_without_negatives: int
    most_negatives: int
    batch_size: int | None = None
    weight: float = 1.0
    in_batch_negatives: bool = True
    task_description: str | None = None
    format: str = "llm_embedder"
    notes: tuple[str, ...] = ()

    def group_size(self, wanted: int) -> int:
        """Return the keys per query: ``wanted``, or fewer if no row has so many."""
        return min(wanted, 1 + self.most_negatives)


def build_train_sets(
    source: Source,
    reading: ReadingSettings,
    *,
    settings_of: Callable[[str], TrainSettings],
    on_no_negatives: OnNoNegatives = "drop",
    seed: int = 42,
) -> list[TrainSet]:
    """Build the training sets of a source: one per task that its rows name.

    Args:
        source: where the rows are.
        reading: how they are read.
        settings_of: returns the settings of a task.
        on_no_negatives: whether to drop a row without a hard negative, or to keep it with the keys
            of other queries as its only negatives.
        seed: of the sample that ``max_sample_num`` draws.

    Raises:
        DataError: a bad row, an unknown task, a setting that needs scores which rows lack, or no
            row left.
    """
    fields = renamed_fields(source, TRAIN_FIELDS)
    native = None if fields is None else replace(TRAIN_ROWS, fields=fields)
    read = read_source(source, RowShapes(native, TRAIN_ROWS, train_record), reading)
    train_sets: list[TrainSet] = []
    for task_rows in split_by_task(read, reading):
        settings, notes = settings_in_force(settings_of(task_rows.task), read, task_rows)
        reasons = _drop_reasons(read, task_rows, settings, reading, on_no_negatives)
        _draw_sample(reasons, read, task_rows, settings, seed)
        train_set = _train_set(read, task_rows, settings, reasons, [*read.notes, *notes])
        if not train_sets and read.dropped:  # records that gave no row have no task either
            train_set = replace(
                train_set,
                n_read=train_set.n_read + sum(read.dropped.values()),
                dropped={**read.dropped, **train_set.dropped},
            )
        require_rows(train_set)
        train_sets.append(train_set)
    return train_sets


# --------------------------------------------------------------------------------------------------


def _drop_reasons(
    read: SourceRows,
    task_rows: TaskRows,
    settings: TrainSettings,
    reading: ReadingSettings,
    on_no_negatives: OnNoNegatives,
) -> Reasons:
    """Return why each row is dropped, ``[n]``.

    Raises:
        DataError: a row has no positive, and bad rows are not to be skipped.
    """
    reasons = np.empty(len(task_rows.chosen), np.uint8)
    first_without, n_without = -1, 0
    for block, statistics in statistics_by_block(read.rows.data.table):
        reasons[block] = drop_reasons(statistics, read.sound[block], settings, on_no_negatives)
        rows = task_rows.chosen[block] & read.sound[block]
        without = np.flatnonzero(rows & statistics.without_positive(settings))
        if len(without) and not n_without:
            first_without = block.start + int(without[0])
        n_without += len(without)
    if n_without and reading.on_bad_row == "raise":
        raise read.error(
            first_without,
            f"no positive, which select_positive={settings.select_positive!r} of task "
            f"{task_rows.task!r} needs; in {n_without} rows (give the row a pos; or "
            "teacher_scores and select_positive=teacher; or skip such rows with "
            "data.on_bad_row=skip)",
        )
    return reasons


def _draw_sample(
    reasons: Reasons, read: SourceRows, task_rows: TaskRows, settings: TrainSettings, seed: int
) -> None:
    """Mark the rows beyond ``max_sample_num``, in place."""
    limit = read.source.max_sample_num or settings.max_sample_num
    if limit is not None:
        numbers = np.flatnonzero(task_rows.chosen)
        reasons_of_task = reasons[numbers]
        sample_seed = stream_seed(seed, "max_sample_num", task_rows.name)
        drop_beyond(reasons_of_task, numbers, limit, sample_seed)
        reasons[numbers] = reasons_of_task


def _train_set(
    read: SourceRows,
    task_rows: TaskRows,
    settings: TrainSettings,
    reasons: Reasons,
    notes: Sequence[str],
) -> TrainSet:
    kept = task_rows.chosen & (reasons == 0)
    counts = _counts(read, kept, settings)
    source = read.source
    return TrainSet(
        name=task_rows.name,
        task=task_rows.task,
        files=source.files,
        digests=read.digests,
        rows=read.rows,
        n_rows=read.n_rows,
        kept=numbers_where(kept, read.folder),
        n_read=int(task_rows.chosen.sum()),
        dropped=count_reasons(reasons[task_rows.chosen]),
        settings=settings,
        n_scored=counts.n_scored,
        n_without_negatives=counts.n_without_negatives,
        most_negatives=counts.most_negatives,
        batch_size=source.batch_size,
        weight=source.weight,
        in_batch_negatives=_in_batch_negatives(source),
        format=read.format,
        task_description=source.task_description,
        notes=tuple(notes),
    )


def train_record(row: Row) -> Mapping[str, Any]:
    """Return a canonical row as a record of the columns of training rows."""
    return {**row, "history": row["candidates"], "query_id": stored_id(row["query_id"])}


def _in_batch_negatives(source: Source) -> bool:
    if source.in_batch_negatives is not None:
        return source.in_batch_negatives
    return all(in_batch_negatives_of(file) is None for file in source.files)


class _Counts(NamedTuple):
    n_scored: int
    n_without_negatives: int
    most_negatives: int


def _counts(read: SourceRows, kept: NDArray[np.bool_], settings: TrainSettings) -> _Counts:
    n_scored = n_without_negatives = most_negatives = 0
    for block, statistics in statistics_by_block(read.rows.data.table):
        n_negatives = statistics.negatives_left(settings)[kept[block]]
        n_scored += int((statistics.scored & kept[block]).sum())
        n_without_negatives += int((n_negatives == 0).sum())
        most_negatives = max(most_negatives, int(n_negatives.max(initial=0)))
    return _Counts(n_scored, n_without_negatives, most_negatives)
