"""A training set: the rows of one task of one source that are trained on."""

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
    """The rows of a training set before a policy dropped some.

    Attributes:
        numbers: ``[m]`` int64, ascending, the row numbers.
        positions: ``[n]`` int64, the positions of the kept rows among them.
        n_scored: rows with teacher scores.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.int64]
    n_scored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSet:
    """The training rows of one task of one source. Their text is in ``rows`` only.

    Attributes:
        name: of the dataset.
        task: of all its rows.
        files: in the order in which their rows are counted.
        digests: of the files' content.
        rows: all rows of the source, memory-mapped, with the columns of ``TRAIN_SCHEMA``, or of
            ``PASSAGE_SCHEMA`` if there are ``passages``.
        n_rows: rows of each file.
        kept: ``[n]`` int64, ascending, the numbers of the rows that are trained on.
        n_read: rows of this task in the files.
        dropped: rows that are not trained on, counted by reason.
        dropped_rows: the numbers of these rows, ``[n]`` int64, ascending, by reason. Records that
            gave no row have no number.
        first_dropped: where the first of these records was, by reason.
        rejected: the first of these records, and what they hold.
        settings: the settings in force, without those that the data does not allow.
        n_scored: kept rows with teacher scores.
        n_without_negatives: kept rows without a hard negative.
        most_negatives: the most hard negatives of a kept row.
        batch_size: queries per rank and step; None for the data module's.
        policies: limits on hard negatives; None without any.
        left_out_by_limit: negatives of kept rows, and of rows that a policy drops, that each limit
            leaves out; for each policy of ``policies``.
        n_sometimes_without_negatives: kept rows without a hard negative in some epochs only.
        token_rows: the rows whose tokens are cached, if a policy drops some of them.
        largest_group: the most keys per query that the data ask for; None for any number.
        weight: passes over the dataset per epoch.
        in_batch_negatives: whether the keys of other queries are negatives.
        task_description: for the prompt of an instruct model; None for the recipe's.
        n_instructed: kept rows with an instruction of their own, for their query or their keys; 0
            if none is wanted.
        score_scaling: of the teacher scores in batches; None leaves them as they are.
        format: of the files, a name of :mod:`llm_embedder_data.rows.formats`.
        side_cars: digests of the side-cars that are joined, by the option that names them.
        base_files: names of the cache files of the rows without side-cars; empty without any.
        are_teacher_scores: whether batches have the scores of ``rows``. Scores of a miner only
            judge and rank negatives.
        source: that the rows are from.
        passages: that keys are numbers of; None if they are texts.
        streamed: gives the texts of ``rows`` that lie elsewhere; None if ``rows`` has them.
        notes: sentences for the report and the log.
        n_incompletely_scored: rows read whose scores were left out, as one is missing or not
            finite; in our own format they are bad rows instead.
        unread: columns that are not read although they are known by name, each with a file.
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
        """The columns of :meth:`tables`; ``rows`` lacks texts that lie elsewhere."""
        return list(TRAIN_SCHEMA.names if self.streamed is not None else self.rows.column_names)

    def tables(self, columns: Sequence[str]) -> RowTables:
        """Return the rows as Arrow tables of some columns, in which keys are texts."""
        return RowTables(self.rows, columns, self.passages, self.streamed)

    @property
    def are_tokens_scored(self) -> bool:
        """Whether a row whose tokens are cached has teacher scores."""
        return self.n_scored > 0 if self.token_rows is None else self.token_rows.n_scored > 0

    def group_size(self, wanted: int) -> int:
        """Return the keys per query: ``wanted``, or fewer if no row has so many, or may have."""
        most = wanted if self.largest_group is None else min(wanted, self.largest_group)
        return min(most, 1 + self.most_negatives)

    def n_short_of_negatives(self, wanted: int) -> int:
        """Return the kept rows whose hard negatives do not fill a group of ``wanted`` keys.

        What limits leave out is not counted as missing.
        """
        n_short, needed = 0, self.group_size(wanted) - 1
        for block, statistics in statistics_by_block(self.rows.data.table):
            first, end = np.searchsorted(self.kept, [block.start, block.stop])
            negatives = statistics.negatives_left(self.settings)[self.kept[first:end] - block.start]
            n_short += int((negatives < needed).sum())
        return n_short
