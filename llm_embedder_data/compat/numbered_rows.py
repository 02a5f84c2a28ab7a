"""Datasets that are read by a row number or a list of row numbers, as by transformers' Trainer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from llm_embedder_data.batches.groups.eval_rows import CorpusPassages, EvalQueries
from llm_embedder_data.batches.groups.train_rows import TrainRows
from llm_embedder_data.batches.tokens.left_truncation import InstructedText
from llm_embedder_data.config.recipes import Instruction


class NumberedRows(Dataset[dict[str, Any]]):
    """The rows of several datasets as one dataset, numbered from 0 to N - 1.

    ``dataset[i]`` returns a row as ``{column: value}``. A slice or a list of row numbers returns
    ``{column: [value, ...]}``. Negative row numbers count from the end.

    Args:
        sizes: the number of rows of each dataset, in order.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._ends = np.cumsum(np.asarray(sizes, np.int64))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
        if isinstance(index, int | np.integer):
            return {
                name: values[0] for name, values in self._columns(self._checked([index])).items()
            }
        if isinstance(index, slice):
            index = range(*index.indices(len(self)))
        return self._columns(self._checked(index))

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        columns = self._columns(self._checked(indices))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def _checked(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        numbers = np.asarray(indices, np.int64)
        if len(numbers) and not -len(self) <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(f"row must be in [0, {len(self)}), got {indices}")
        return numbers % max(len(self), 1)

    def _columns(self, indices: NDArray[np.int64]) -> dict[str, list[Any]]:
        """Return the columns of rows in the given order, gathered part by part."""
        part_of = np.searchsorted(self._ends, indices, side="right")
        found: dict[str, list[Any]] = {}
        for part in np.unique(part_of):
            at = np.flatnonzero(part_of == part)
            first = int(self._ends[part - 1]) if part else 0
            for name, values in self._part(int(part), indices[at] - first).items():
                column = found.setdefault(name, [None] * len(indices))
                for position, value in zip(at, values, strict=True):
                    column[position] = value
        return found

    def _part(self, part: int, positions: NDArray[np.int64]) -> dict[str, list[Any]]:
        raise NotImplementedError


class TrainDataset(NumberedRows):
    """The dataset that :meth:`RetrievalDataset.prepare_train_dataset` returns.

    A row has ``query`` (str), ``key`` (list of str, the positive first), ``task`` (str) and, if any
    row of the data has scores, ``teacher_scores`` (list of float; None for a row without scores).
    Random choices depend on (seed, epoch, row) only. transformers' Trainer calls :meth:`set_epoch`.

    Args:
        parts: the rows of each dataset.
        instructions: the instructions of each dataset.
    """

    def __init__(self, parts: Sequence[TrainRows], instructions: Sequence[Instruction]) -> None:
        super().__init__([len(part) for part in parts])
        self._parts, self._instructions = list(parts), list(instructions)
        self._scored = any(part.train_set.n_scored for part in parts)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose positives and negatives as in the given epoch, from 0."""
        self.epoch = epoch

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return ["query", "key", "task", *(["teacher_scores"] if self._scored else [])]

    @property
    def indices_range(self) -> dict[str, tuple[int, int]]:
        """The range of rows of each dataset: ``{dataset name: (first row, last row + 1)}``."""
        starts = [0, *self._ends.tolist()]
        return {
            part.train_set.name: (start, end)
            for part, start, end in zip(self._parts, starts, self._ends.tolist(), strict=False)
        }

    def _part(self, part: int, positions: NDArray[np.int64]) -> dict[str, list[Any]]:
        rows, instruction = self._parts[part], self._instructions[part]
        groups = rows.groups(rows.train_set.kept[positions], self.epoch)
        columns: dict[str, list[Any]] = {
            "query": [_instructed(instruction.query, text) for text in groups.query],
            "key": [
                [
                    _instructed(instruction.key, text)
                    for text, is_real in zip(texts, mask, strict=True)
                    if is_real
                ]
                for texts, mask in zip(groups.key, groups.key_mask.tolist(), strict=True)
            ],
            "task": [rows.train_set.task] * len(positions),
        }
        if self._scored:
            scores = groups.teacher_scores
            columns["teacher_scores"] = (
                [None] * len(positions) if scores is None else score_lists(scores)
            )
        return columns


class EvalDataset(NumberedRows):
    """The dataset that :meth:`RetrievalDataset.prepare_eval_dataset` returns.

    A row has ``query`` (str), ``query_id`` (str or int) and ``task`` (str); to rerank also ``key``
    (list of str) and ``key_index`` (list of int, the corpus row of each key).
    """

    def __init__(self, parts: Sequence[EvalQueries]) -> None:
        super().__init__([len(part) for part in parts])
        self._parts = list(parts)

    def _part(self, part: int, positions: NDArray[np.int64]) -> dict[str, list[Any]]:
        found = self._parts[part][positions]
        instruction = Instruction(found["query_instruction"], found.get("key_instruction", ""))
        columns = {
            "query": [_instructed(instruction.query, text) for text in found["query"]],
            "query_id": found["query_id"],
            "task": [found["task"]] * len(positions),
        }
        if "key" in found:
            columns["key_index"] = [
                [index for index in row if index >= 0] for row in found["key_index"].tolist()
            ]
            columns["key"] = [
                [_instructed(instruction.key, text) for text in texts] for texts in found["key"]
            ]
        return columns


class CorpusDataset(NumberedRows):
    """The dataset that :meth:`RetrievalDataset.prepare_corpus` returns.

    A row has ``content`` (str).
    """

    def __init__(self, parts: Sequence[CorpusPassages]) -> None:
        super().__init__([len(part) for part in parts])
        self._parts = list(parts)

    def _part(self, part: int, positions: NDArray[np.int64]) -> dict[str, list[Any]]:
        found = self._parts[part][positions]
        return {
            "content": [_instructed(found["key_instruction"], text) for text in found["content"]]
        }


def score_lists(scores: NDArray[np.float64]) -> list[list[float] | None]:
    """Return the scores of each row; None for a row without scores."""
    return [None if np.isnan(row[0]) else row.tolist() for row in scores]


def _instructed(instruction: str, text: str) -> str:
    return InstructedText(instruction, text) if instruction else text
