"""The rows of one training set, read from its files; only the chosen texts become strings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import files_of, gathered_keys
from llm_embedder_data.batches.groups.training_groups import (
    Groups,
    OwnInstructions,
    candidates_of,
    choose,
    known_columns,
    positive_ids,
    query_ids_of,
    scores_of,
    with_known,
)
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.source_rows.row_instructions import INSTRUCTION_COLUMNS
from llm_embedder_data.rows.train_set import TrainSet

_COLUMNS = [
    "query",
    "query_id_int",
    "query_id_str",
    "key",
    "teacher_scores",
    "first_same",
    "n_pos",
]

TextGroups = Groups[list[str], list[list[str]]]


class TrainRows:
    """Makes groups of the kept rows of one training set, as a pure function of rows and epoch.

    Args:
        train_set: the rows, and how their keys are chosen.
        group_size: G, keys per query.
        seed: seed of the run.

    Attributes:
        rows_at_once: always 1. Texts are large, so groups are made for one batch at a time.
        files: the paths of the files that are read.
    """

    rows_at_once = 1

    def __init__(self, train_set: TrainSet, group_size: int, seed: int) -> None:
        self.train_set = train_set
        self.group_size = group_size
        self.seed = seed
        self.files = files_of(train_set.rows)
        if train_set.passages is not None:
            self.files += train_set.passages.files
        columns = [*_COLUMNS, *(INSTRUCTION_COLUMNS if train_set.n_instructed else ())]
        columns += known_columns(train_set)
        self._tables = train_set.tables(columns)

    def __len__(self) -> int:
        return len(self.train_set.kept)

    def groups_at(self, positions: NDArray[np.int64], epoch: int, repeat: int = 0) -> TextGroups:
        """Return the groups of B kept rows, by their positions among the kept rows."""
        return self.groups(self.train_set.kept[positions], epoch, repeat)

    def groups(
        self,
        rows: NDArray[np.int64],
        epoch: int,
        repeat: int = 0,
        numbers: NDArray[np.int64] | None = None,
    ) -> TextGroups:
        """Return the groups of B rows, by their row numbers.

        Args:
            rows: ``[B]`` int64, row numbers within the dataset.
            epoch: epoch for which keys are chosen.
            repeat: number of passes over the dataset that the epoch has made before this one.
            numbers: ``[B]`` int64, numbers on which the random choices depend; None takes the row
                numbers.
        """
        train_set, group = self.train_set, self.group_size
        table: pa.Table = self._tables.mapped(rows.tolist())
        candidates = candidates_of(table)
        numbers = rows if numbers is None else numbers
        selection = choose(train_set, candidates, numbers, group, self.seed, epoch, repeat)
        chosen = selection.chosen
        real = chosen >= 0  # [B, G]
        keys = gathered_keys(table.column("key"), train_set.passages)
        at = np.where(real, chosen, 0).ravel()
        texts = keys.at(at)
        key_id = np.where(real.ravel(), keys.ids(at, texts), 0)
        if not real.all():
            texts = [t if r else "" for t, r in zip(texts, real.ravel().tolist(), strict=True)]
        queries = table.column("query").to_pylist()
        return Groups(
            query=queries,
            query_text_id=text_ids(queries),
            query_id=query_ids_of(table, rows),
            key=[texts[b * group : (b + 1) * group] for b in range(len(rows))],
            key_mask=real.astype(np.int64),
            key_id=key_id,
            positive_id=with_known(positive_ids(candidates, selection, keys.ids), table),
            teacher_scores=scores_of(train_set, candidates, chosen),
            own_instructions=OwnInstructions.of_table(table),
        )
