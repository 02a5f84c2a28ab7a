"""Builds the training sets of a source: one for each task that its rows name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.hashing import stream_seed
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.faults.row_errors import require_rows
from llm_embedder_data.rows.formats.flagembedding import in_batch_negatives_of
from llm_embedder_data.rows.joins.joined_rows import (
    with_side_cars,
    without_corpus,
    without_side_cars,
)
from llm_embedder_data.rows.schema.canonical_rows import train_record
from llm_embedder_data.rows.schema.train import TRAIN_ROWS
from llm_embedder_data.rows.selection.filters import (
    REASONS,
    Reasons,
    count_reasons,
    drop_beyond,
    drop_reasons,
)
from llm_embedder_data.rows.selection.policy_effects import policy_effects
from llm_embedder_data.rows.selection.policy_schedule import PolicySchedule
from llm_embedder_data.rows.selection.row_statistics import statistics_by_block
from llm_embedder_data.rows.selection.score_scaling import ScoreScaling, score_scaling
from llm_embedder_data.rows.selection.settings_in_force import settings_in_force
from llm_embedder_data.rows.selection.train_settings import OnNoNegatives, TrainSettings
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.source_rows.instructed_texts import note_on_instructed_texts
from llm_embedder_data.rows.source_rows.row_instructions import count_instructed, kind_of_source
from llm_embedder_data.rows.source_rows.row_numbers import numbers_where
from llm_embedder_data.rows.source_rows.source_rows import RowShapes, SourceRows, read_source
from llm_embedder_data.rows.source_rows.task_split import TaskRows, split_by_task
from llm_embedder_data.rows.sources.native_shape import is_native, may_name_documents
from llm_embedder_data.rows.sources.sources import Source
from llm_embedder_data.rows.train_set import TokenRows, TrainSet


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
        source: the source of the rows.
        reading: how the rows are read.
        settings_of: returns the settings of a task.
        on_no_negatives: whether to drop a row without a hard negative, or to keep it with the keys
            of other queries as its only negatives.
        seed: the seed of the sample that ``max_sample_num`` draws.

    Raises:
        DataError: a row is bad, a task is unknown, rows lack scores that a setting needs, or no row
            is left.
        ConfigError: a setting of the source cannot be used, or limits on negatives leave none.
    """
    read = read_train_rows(source, reading)
    train_sets: list[TrainSet] = []
    for task_rows in split_by_task(read, reading):
        wanted = _with_settings_of_source(settings_of(task_rows.task), source)
        settings, notes = settings_in_force(wanted, read, task_rows)
        reasons = _drop_reasons(read, task_rows, settings, reading, on_no_negatives)
        _draw_sample(reasons, read, task_rows, settings, seed)
        train_set = _train_set(read, task_rows, settings, reasons, reading, notes)
        if (policies := _policies(settings, task_rows)) is not None:
            train_set = _under_policies(train_set, policies, read, on_no_negatives)
        if not train_sets:  # records that became no row have no task: count them once
            train_set = replace(
                train_set,
                n_incompletely_scored=read.n_incompletely_scored,
                n_read=train_set.n_read + sum(read.dropped.values()),
                dropped={**read.dropped, **train_set.dropped},
                first_dropped=read.first_dropped,
                rejected=read.rejected,
            )
        require_rows(train_set)
        train_sets.append(train_set)
    return train_sets


def read_train_rows(source: Source, reading: ReadingSettings) -> SourceRows:
    """Return the training rows of a source, with its side-cars.

    Raises:
        DataError: the data cannot be read.
        ConfigError: a setting of the source cannot be used.
    """
    if source.streaming:
        native = kind_of_source(source, TRAIN_ROWS)
        return read_source(source, RowShapes(native, TRAIN_ROWS, train_record), reading)
    without = without_side_cars(source)
    if len(without.reader_options) < len(source.reader_options):
        rows_only = without_corpus(without)  # the corpus may only be needed for the side-cars
        native = kind_of_source(rows_only, TRAIN_ROWS)
        folder = reading.cache_folder
        if native is not None and is_native(rows_only, native, folder):
            has_corpus = "corpus" in without.reader_options
            if not has_corpus or not may_name_documents(rows_only, native, folder):
                without = rows_only
    native = kind_of_source(without, TRAIN_ROWS)
    read = read_source(without, RowShapes(native, TRAIN_ROWS, train_record), reading)
    return with_side_cars(read, source, reading)


# --------------------------------------------------------------------------------------------------


def _drop_reasons(
    read: SourceRows,
    task_rows: TaskRows,
    settings: TrainSettings,
    reading: ReadingSettings,
    on_no_negatives: OnNoNegatives,
) -> Reasons:
    """Return why each row of the source is dropped, ``[n]`` uint8.

    Raises:
        DataError: a row has no positive, and bad rows are not skipped.
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
    """Mark the rows beyond ``max_sample_num`` in ``reasons``, in place."""
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
    reading: ReadingSettings,
    notes: Sequence[str],
) -> TrainSet:
    kept = task_rows.chosen & (reasons == 0)
    counts = _counts(read, kept, settings)
    source = read.source
    numbers = numbers_where(kept, read.folder)
    scaling, settings, more_notes = _scaling(read, task_rows, settings, kept, counts.n_scored)
    more_notes += note_on_instructed_texts(
        read, numbers, reading, task_rows.task, source.task_description
    )
    return TrainSet(
        name=task_rows.name,
        task=task_rows.task,
        files=source.files,
        digests=read.digests,
        rows=read.rows,
        n_rows=read.n_rows,
        kept=numbers,
        n_read=int(task_rows.chosen.sum()),
        dropped=(dropped := count_reasons(reasons[task_rows.chosen])),
        dropped_rows={
            reason: numbers_where(
                task_rows.chosen & (reasons == REASONS.index(reason)), read.folder
            )
            for reason in dropped
        },
        settings=settings,
        n_scored=counts.n_scored,
        n_without_negatives=counts.n_without_negatives,
        most_negatives=counts.most_negatives,
        batch_size=source.batch_size,
        largest_group=_largest_group(read),
        weight=source.weight,
        in_batch_negatives=_in_batch_negatives(source),
        format=read.format,
        side_cars=read.side_cars,
        base_files=read.base_files,
        are_teacher_scores=read.are_teacher_scores,
        source=source,
        passages=read.passages,
        streamed=read.streamed,
        task_description=source.task_description,
        n_instructed=count_instructed(read.rows, kept) if reading.add_instruction else 0,
        score_scaling=scaling,
        notes=(*read.notes, *notes, *more_notes),
        unread=read.unread_beside(task_rows.chosen),
    )


def _with_settings_of_source(settings: TrainSettings, source: Source) -> TrainSettings:
    if source.normalize_scores is None:
        return settings
    asked = settings.asked | {"normalize_scores"}
    return replace(settings, normalize_scores=source.normalize_scores, asked=asked)


def _scaling(
    read: SourceRows,
    task_rows: TaskRows,
    settings: TrainSettings,
    kept: NDArray[np.bool_],
    n_scored: int,
) -> tuple[ScoreScaling | None, TrainSettings, list[str]]:
    """Return the scaling of teacher scores, the settings in force, and notes on a dropped scaling.

    Raises:
        DataError: the user asked for a scaling, but all scores are equal. A scaling that only the
            recipe asks for is dropped instead.
    """
    method = settings.normalize_scores
    if method is None:
        return None, settings, []
    scaling = score_scaling(method, read.rows, kept) if n_scored else None
    if scaling is not None:
        return scaling, settings, []
    without = replace(settings, normalize_scores=None)
    if not n_scored:
        return None, without, []
    name = task_rows.name
    if "normalize_scores" in settings.asked:
        raise read.error(
            int(np.flatnonzero(kept)[0]),
            f"all teacher scores of dataset {name!r} are equal in the {n_scored} rows that are "
            f"kept, or too far apart, so normalize_scores={method!r} has no scale for them (remove "
            "the setting, or the scores)",
        )
    return (
        None,
        without,
        [f"all teacher scores are equal: the recipe's normalize_scores={method!r} is ignored"],
    )


def _policies(settings: TrainSettings, task_rows: TaskRows) -> PolicySchedule | None:
    try:
        return PolicySchedule.of(settings.limits)
    except ConfigError as error:
        raise ConfigError(f"dataset {task_rows.name!r}: {error}") from error


def _under_policies(
    train_set: TrainSet, policies: PolicySchedule, read: SourceRows, on_no_negatives: OnNoNegatives
) -> TrainSet:
    """Return a training set to whose rows, which passed all filters, policies are applied.

    The plan and the token cache need the same rows and group sizes in all epochs. So a row is kept
    if it has a negative in any epoch.
    """
    table, settings = read.rows.data.table, train_set.settings
    judged = np.zeros(len(read.rows), bool)
    judged[train_set.kept] = True
    effects = policy_effects(table, judged, settings.select_positive, policies)
    train_set = replace(
        train_set,
        policies=policies,
        left_out_by_limit=effects.left_out,
        most_negatives=effects.most_negatives,
        n_without_negatives=int(effects.without.sum()),
        n_sometimes_without_negatives=effects.n_sometimes_without,
    )
    if on_no_negatives == "keep" or not effects.without.any():
        return train_set
    kept = judged & ~effects.without
    return replace(
        train_set,
        kept=numbers_where(kept, read.folder),
        dropped={**train_set.dropped, "no_negatives_left": train_set.n_without_negatives},
        dropped_rows={
            **train_set.dropped_rows,
            "no_negatives_left": numbers_where(effects.without, read.folder),
        },
        n_scored=_counts(read, kept, settings).n_scored,
        n_without_negatives=0,
        token_rows=TokenRows(
            train_set.kept, numbers_where(kept[train_set.kept], read.folder), train_set.n_scored
        ),
    )


def _in_batch_negatives(source: Source) -> bool:
    if source.in_batch_negatives is not None:
        return source.in_batch_negatives
    return all(in_batch_negatives_of(file) is None for file in source.files)


def _largest_group(read: SourceRows) -> int | None:
    """Return the number of keys per query that the rows of a source need; None for any number.

    Raises:
        ConfigError: the rows of its files need different numbers.
    """
    sizes = read.group_sizes
    if len(set(sizes.values())) > 1:
        path = next(path for path, size in sizes.items() if size is not None)
        raise ConfigError(
            f"dataset {read.source.name!r}: the rows of {one_line(path)} are of type only_1neg, "
            "which have two keys per query, and those of its other files are not (give each type a "
            "separate source)"
        )
    return next(iter(sizes.values()), None)


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
