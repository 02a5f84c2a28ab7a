"""A training set: the rows of a task of a source that are trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.rows.passages.passages import Passages
from llm_embedder_data.rows.records.raw_files import RecordPlace
from llm_embedder_data.rows.records.rejected_files import RejectedFile
from llm_embedder_data.rows.schema.train import TRAIN_SCHEMA
from llm_embedder_data.rows.selection.policy_schedule import PolicySchedule
from llm_embedder_data.rows.selection.row_statistics import statistics_by_block
from llm_embedder_data.rows.selection.score_scaling import ScoreScaling
from llm_embedder_data.rows.selection.train_settings import TrainSettings
from llm_embedder_data.rows.source_rows.row_tables import RowTables
from llm_embedder_data.rows.sources.sources import Source
from llm_embedder_data.rows.streaming.streamed_texts import StreamedTexts


@dataclass(frozen=True, slots=True)
class TokenRows:
    """The rows of a training set whose tokens are cached, before a policy dropped some of them.

    Attributes:
        numbers: the numbers of the rows, ascending, ``[m]`` int64.
        positions: the positions of the kept rows in ``numbers``, ``[n]`` int64.
        n_scored: the number of rows with teacher scores.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.int64]
    n_scored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSet:
    """The training rows of a task of a source.

    Attributes:
        name: the name of the dataset.
        task: the task of all its rows.
        files: the files, in the order in which their rows are counted.
        digests: the digests of the files' content.
        rows: a memory-mapped dataset of all rows of the source, with the columns of
            ``TRAIN_SCHEMA``, or of ``PASSAGE_SCHEMA`` if there are ``passages``.
        n_rows: the number of rows of each file.
        kept: the numbers of the rows that are trained on, ascending, ``[n]`` int64.
        n_read: the number of rows of this task in the files.
        dropped: the number of rows that are not trained on, by reason.
        dropped_rows: the numbers of the rows that are not trained on, ascending, ``[m]`` int64, by
            reason. Records that became no row have no number.
        first_dropped: the location of the first record that became no row, by reason.
        rejected: the first records that became no row, with their content.
        settings: the settings in force, without those that the data does not allow.
        n_scored: the number of kept rows with teacher scores.
        n_without_negatives: the number of kept rows without a hard negative.
        most_negatives: the largest number of hard negatives of a kept row.
        batch_size: queries per rank and step; None for the data module's.
        policies: limits on hard negatives; None if there are none.
        left_out_by_limit: the number of negatives that a limit leaves out under each policy of
            ``policies``, by limit; in kept rows and in rows that a policy drops.
        n_sometimes_without_negatives: the number of kept rows without a hard negative in some
            epochs, but not in all.
        token_rows: the rows whose tokens are cached, if a policy drops some of them; or None.
        largest_group: the largest number of keys per query that the data allows; None for any.
        weight: passes over the dataset per epoch.
        in_batch_negatives: whether the keys of other queries are negatives.
        task_description: the description of the task for the prompt of an instruct model; None for
            the recipe's.
        n_instructed: the number of kept rows that bring an instruction for their query or their
            keys; 0 if instructions are not used.
        score_scaling: how teacher scores are scaled in batches; None: not at all.
        format: the format of the files, a name of :mod:`llm_embedder_data.rows.formats`.
        side_cars: the digests of the joined side-cars, by the option that names them; and as
            ``corpus``, that of the corpus that their document ids refer to.
        base_files: the names of the cache files of the rows without side-cars; empty if there are
            no side-cars.
        are_teacher_scores: whether batches have the scores of ``rows``. Scores of a miner are only
            used to filter and rank negatives.
        source: the source of the rows.
        passages: the passages whose numbers are the keys; None if keys are texts.
        streamed: the rows with their texts, if ``rows`` lacks them because they are streamed; or
            None.
        notes: sentences for the report and the log.
        n_incompletely_scored: the number of rows whose scores were left out, because a score is
            missing or not finite. In native files, these are bad rows instead.
        unread: (file, column) of columns that are not read although their names are known.
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
    dropped_rows: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    first_dropped: Mapping[str, RecordPlace] = field(default_factory=dict)
    rejected: tuple[RejectedFile, ...] = ()
    policies: PolicySchedule | None = None
    left_out_by_limit: Mapping[str, Sequence[int]] = field(default_factory=dict)
    n_sometimes_without_negatives: int = 0
    token_rows: TokenRows | None = None
    batch_size: int | None = None
    largest_group: int | None = None
    weight: float = 1.0
    in_batch_negatives: bool = True
    task_description: str | None = None
    n_instructed: int = 0
    score_scaling: ScoreScaling | None = None
    format: str = "llm_embedder"
    side_cars: Mapping[str, str] = field(default_factory=dict)
    base_files: tuple[str, ...] = ()
    are_teacher_scores: bool = True
    source: Source | None = None
    passages: Passages | None = None
    streamed: StreamedTexts | None = None
    notes: tuple[str, ...] = ()
    n_incompletely_scored: int = 0
    unread: tuple[tuple[str, str], ...] = ()

    @property
    def column_names(self) -> list[str]:
        """The columns that :meth:`tables` can return; ``rows`` lacks the texts of streamed rows."""
        return list(TRAIN_SCHEMA.names if self.streamed is not None else self.rows.column_names)

    def tables(self, columns: Sequence[str]) -> RowTables:
        """Return the rows as Arrow tables of some columns, in which keys are texts."""
        return RowTables(self.rows, columns, self.passages, self.streamed)

    @property
    def are_tokens_scored(self) -> bool:
        """Whether a row whose tokens are cached has teacher scores."""
        return self.n_scored > 0 if self.token_rows is None else self.token_rows.n_scored > 0

    def group_size(self, wanted: int) -> int:
        """Return the number of keys per query: ``wanted``, or fewer if no row has as many.

        It is at most ``largest_group``.
        """
        most = wanted if self.largest_group is None else min(wanted, self.largest_group)
        return min(most, 1 + self.most_negatives)

    def n_short_of_negatives(self, wanted: int) -> int:
        """Return how many kept rows have too few hard negatives for a group of ``wanted`` keys.

        Negatives that limits leave out count as present.
        """
        n_short, needed = 0, self.group_size(wanted) - 1
        for block, statistics in statistics_by_block(self.rows.data.table):
            first, end = np.searchsorted(self.kept, [block.start, block.stop])
            negatives = statistics.negatives_left(self.settings)[self.kept[first:end] - block.start]
            n_short += int((negatives < needed).sum())
        return n_short
