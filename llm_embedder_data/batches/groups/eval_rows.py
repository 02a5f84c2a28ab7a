"""The datasets that evaluation loaders read: eval queries and corpus passages, not yet tokenized.

Both are indexed with the positions of the rows of a batch, and return that batch as a mapping.
"""

from __future__ import annotations

from typing import Any, Protocol

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import files_of
from llm_embedder_data.batches.groups.training_groups import query_ids_of
from llm_embedder_data.batches.tokens.row_instructions import Instructions, in_force
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.mapped_files import MappedFiles
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.faults.row_locations import LOCATION_COLUMNS
from llm_embedder_data.rows.source_rows.row_instructions import QUERY_INSTRUCTION


class TextSource(Protocol):
    """Supplies the texts of a dataset in place of its rows, such as texts already tokenized."""

    @property
    def files(self) -> list[str]:
        """The paths of the files that the texts are read from."""

    def at(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        """Return the text columns of the kept rows at ``positions``; ``key`` has a ``key_mask``."""


class EvalQueries:
    """The queries of an eval set; indexed with positions among its kept rows, it gives a batch.

    Args:
        eval_set: the rows.
        instruction: the instruction of the eval set's task; empty for no instruction.
        corpus: name of the corpus whose rows ``pos_index`` refers to, if there is one.
        texts: supplies ``query``, and ``key`` if there are candidates to rank; None reads the texts
            from the rows.

    Attributes:
        eval_set: the rows.
        mapped: the memory-mapped files that batches are read from.
    """

    def __init__(
        self,
        eval_set: EvalSet,
        instruction: Instruction,
        corpus: str | None = None,
        texts: TextSource | None = None,
    ) -> None:
        self.eval_set = eval_set
        self._instruction = instruction
        self._corpus = corpus
        self._texts = texts
        unread = {"query", "key"} if texts is not None else set()
        if not eval_set.n_instructed:
            unread.add(QUERY_INSTRUCTION)
        unread |= {name for name, _ in LOCATION_COLUMNS}
        columns = [name for name in eval_set.rows.column_names if name not in unread]
        self._arrow: datasets.Dataset = eval_set.rows.with_format("arrow", columns=columns)
        self.mapped = _mapped(eval_set.rows, texts)

    @property
    def has_keys(self) -> bool:
        """Whether the rows have candidates to rerank."""
        return "key_index" in self.eval_set.rows.column_names

    def with_texts(self, texts: TextSource) -> EvalQueries:
        """Return the same queries, with their texts supplied by ``texts``."""
        return EvalQueries(self.eval_set, self._instruction, self._corpus, texts)

    def __len__(self) -> int:
        return len(self.eval_set.kept)

    def __repr__(self) -> str:
        return f"{self.eval_set.name!r} ({len(self)} queries)"

    def __getitem__(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        rows = self.eval_set.kept[positions]
        table: pa.Table = self._arrow[rows.tolist()]
        batch: dict[str, Any] = {
            "query_instruction": self._query_instructions(table),
            "query_id": query_ids_of(table, rows),
            "task": self.eval_set.task,
            "dataset": self.eval_set.name,
            "corpus": self._corpus,
            "row": rows,
            "pos_index": _padded(table.column("pos_index").to_pylist()),
        }
        if "grades" in table.column_names:
            batch["grades"] = _padded_grades(table.column("grades").to_pylist(), batch["pos_index"])
        if self._texts is not None:
            batch |= self._texts.at(positions)
        else:
            columns = [name for name in ("query", "key") if name in table.column_names]
            batch |= {name: table.column(name).to_pylist() for name in columns}
        if "key_index" in table.column_names:
            batch["key_instruction"] = self._instruction.key
            batch["key_index"] = _padded(table.column("key_index").to_pylist())
        return batch

    def _query_instructions(self, table: pa.Table) -> Instructions:
        common = self._instruction.query
        if QUERY_INSTRUCTION not in table.column_names:
            return common
        return in_force(common, table.column(QUERY_INSTRUCTION).to_pylist())


class CorpusPassages:
    """The passages of a corpus; indexed with positions among its kept rows, it gives a batch.

    Args:
        corpus: the rows.
        key_instruction: the instruction put before each passage; empty for no instruction.
        name: name of the corpus, under which its embeddings are stored.
        texts: supplies ``content``; None reads the passages from the rows.
        order: ``[n]`` int64, which of the kept rows to return, and in which order, as positions
            among them; None returns all of them in file order.
        is_sample: whether ``order`` leaves out passages.

    Attributes:
        corpus: the rows.
        name: name of the corpus, as its batches give it.
        is_sample: whether passages are left out.
        mapped: the memory-mapped files that batches are read from.
    """

    def __init__(
        self,
        corpus: Corpus,
        key_instruction: str,
        name: str,
        texts: TextSource | None = None,
        *,
        order: NDArray[np.int64] | None = None,
        is_sample: bool = False,
    ) -> None:
        self.corpus = corpus
        self.name = name
        self.is_sample = is_sample
        self._texts = texts
        self._order = order
        self._instruction = key_instruction
        self.mapped = _mapped(corpus.rows, texts)

    def with_texts(self, texts: TextSource) -> CorpusPassages:
        """Return the same passages, with their texts supplied by ``texts``."""
        return CorpusPassages(
            self.corpus,
            self._instruction,
            self.name,
            texts,
            order=self._order,
            is_sample=self.is_sample,
        )

    def __len__(self) -> int:
        return len(self.corpus.kept if self._order is None else self._order)

    def __repr__(self) -> str:
        return f"{self.name!r} ({len(self)} passages)"

    def __getitem__(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        if self._order is not None:
            positions = self._order[positions]
        rows, texts = self.corpus.kept[positions], self._texts
        content = {"content": self.corpus.texts(rows)} if texts is None else texts.at(positions)
        return content | {
            "key_instruction": self._instruction,
            "index": rows,
            "dataset": self.name,
        }


# --------------------------------------------------------------------------------------------------


def _mapped(rows: datasets.Dataset, texts: TextSource | None) -> MappedFiles:
    return MappedFiles([*files_of(rows), *(() if texts is None else texts.files)])


def _padded_grades(
    lists: list[list[float] | None], indices: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the grade of each index, ``[n, P]`` float64; 0 where ``indices`` is padding."""
    grades = np.zeros(indices.shape)
    grades[indices >= 0] = [grade for numbers in lists for grade in numbers or []]
    return grades


def _padded(lists: list[list[int] | None]) -> NDArray[np.int64]:
    """Return lists as one array, ``[n, longest]`` int64; shorter lists are padded with -1."""
    filled = [numbers or [] for numbers in lists]
    out = np.full((len(filled), max(map(len, filled), default=0)), -1, np.int64)
    for row, numbers in zip(out, filled, strict=True):
        row[: len(numbers)] = numbers
    return out
