"""The dataset that training loaders read: from batch indices to groups, not yet tokenized."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.training_groups import Groups
from llm_embedder_data.batches.plan.sampler import BatchIndex
from llm_embedder_data.batches.tokens.row_instructions import in_force
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.mapped_files import MappedFiles
from llm_embedder_data.rows.train_set import TrainSet


class GroupSource(Protocol):
    """Makes the training groups of the kept rows of one training set."""

    @property
    def train_set(self) -> TrainSet: ...

    @property
    def files(self) -> list[str]:
        """The paths of the files that the groups are read from."""

    @property
    def rows_at_once(self) -> int:
        """For how many rows it pays to make groups in one call; 1 if texts have to be read."""

    def __len__(self) -> int: ...

    def groups_at(
        self, positions: NDArray[np.int64], epoch: int, repeat: int = 0
    ) -> Groups[Any, Any]:
        """Return the groups of B kept rows, by their positions among the kept rows."""


class TrainGroups:
    """All training sets; indexed with a :class:`BatchIndex`, it gives the groups of a batch.

    Args:
        sources: makes the groups of each training set, by name.
        instructions: the instruction of each training set, by name; empty for no instruction. A row
            with an instruction of its own uses that instead.

    Attributes:
        mapped: the memory-mapped files that the batches of each training set are read from, by
            name.
    """

    def __init__(
        self, sources: Mapping[str, GroupSource], instructions: Mapping[str, Instruction]
    ) -> None:
        self._sources = dict(sources)
        self._instructions = dict(instructions)
        self.mapped = {name: MappedFiles(source.files) for name, source in sources.items()}

    @property
    def is_streamed(self) -> bool:
        """Whether any training set is streamed: its texts are fetched from a remote address."""
        return any(source.train_set.streamed is not None for source in self._sources.values())

    def fetch_ahead(self, index: BatchIndex) -> None:
        """Begin to fetch the rows of a later step, if its dataset is streamed."""
        train_set = self._sources[index.dataset].train_set
        if train_set.streamed is not None:
            train_set.streamed.fetch_ahead(train_set.kept[list(index.rows)].tolist())

    def __len__(self) -> int:
        """Number of kept rows in all training sets."""
        return sum(map(len, self._sources.values()))

    def __repr__(self) -> str:
        sources = self._sources.items()
        return ", ".join(f"{name!r} ({len(source)} rows)" for name, source in sources)

    def __getitem__(self, index: BatchIndex) -> dict[str, Any]:
        return next(self.several([index]))

    def several(self, indices: Iterable[BatchIndex]) -> Iterator[dict[str, Any]]:
        """Yield the groups for each index.

        Faster than indexing one by one, because keys are chosen for several batches at once.

        Args:
            indices: batch indices that share the dataset, the epoch and the pass.
        """
        indices = iter(indices)
        for index in indices:
            n_at_once = self._sources[index.dataset].rows_at_once // len(index.rows)
            yield from self._together([index, *islice(indices, max(n_at_once - 1, 0))])

    def _together(self, indices: Sequence[BatchIndex]) -> Iterator[dict[str, Any]]:
        dataset, epoch, repeat = indices[0].dataset, indices[0].epoch, indices[0].repeat
        source, instruction = self._sources[dataset], self._instructions[dataset]
        train_set = source.train_set
        positions = np.array([row for index in indices for row in index.rows], np.int64)
        all_groups, rows = source.groups_at(positions, epoch, repeat), train_set.kept[positions]
        end = 0
        for index in indices:
            start, end = end, end + len(index.rows)
            groups = all_groups.part(start, end) if len(indices) > 1 else all_groups
            scores, own = groups.teacher_scores, groups.own_instructions
            yield {
                "query": groups.query,
                "query_instruction": (
                    instruction.query if own is None else in_force(instruction.query, own.query)
                ),
                "key": groups.key,
                "key_instruction": (
                    instruction.key if own is None else in_force(instruction.key, own.key)
                ),
                "key_mask": groups.key_mask,
                "teacher_scores": None if scores is None else scores.astype(np.float32),
                "task": train_set.task,
                "dataset": train_set.name,
                "query_text_id": groups.query_text_id,
                "query_id": groups.query_id,
                "row": rows[start:end],
                "key_id": groups.key_id,
                "positive_id": groups.positive_id,
                "in_batch_negatives": train_set.in_batch_negatives,
            }
