"""Texts that an embedding store is made of: a corpus, the queries of a dataset, or a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.training_groups import query_ids_of
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.row_instructions import QUERY_INSTRUCTION
from llm_embedder_data.rows.train_sets import TrainSet

# Texts, and what stands in place of the prompt of each; None if the prompt stands before all.
TextBlock = tuple[list[str], Sequence[str | None] | None]


class EmbeddableTexts(Protocol):
    """N texts with ids, read by position, so that they need not be in memory."""

    @property
    def name(self) -> str:
        """What messages call the texts."""

    def __len__(self) -> int: ...

    def at(self, positions: NDArray[np.int64]) -> TextBlock:
        """Return the texts at some positions, each in ``[0, N)``."""

    def ids(self) -> pa.StringArray:
        """Return the id of each text, ``[N]``; its row number in the file if it has none."""


@dataclass(frozen=True, slots=True)
class PromptedTexts:
    """Texts with what stands before them, and how long they may be.

    Attributes:
        texts: without prompt.
        prompt: that stands before each text without an instruction of its own; may be empty.
        max_length: most tokens of a text, special tokens included.
    """

    texts: EmbeddableTexts
    prompt: str
    max_length: int


class ListedTexts:
    """Texts in memory.

    Args:
        texts: N texts.
        ids: of the texts; None for their positions.
        own_instructions: what stands in place of the prompt of each text; None for the prompt.
        name: for messages.
    """

    def __init__(
        self,
        texts: Sequence[str],
        ids: Sequence[str] | None = None,
        *,
        own_instructions: Sequence[str | None] | None = None,
        name: str = "texts",
    ) -> None:
        self.name = name
        self._texts = texts
        self._ids = pa.array(map(str, range(len(texts))) if ids is None else ids, pa.string())
        self._own = own_instructions

    def __len__(self) -> int:
        return len(self._texts)

    def at(self, positions: NDArray[np.int64]) -> TextBlock:
        """Return the texts at some positions."""
        own = self._own
        numbers = positions.tolist()
        return [self._texts[i] for i in numbers], own and [own[i] for i in numbers]

    def ids(self) -> pa.StringArray:
        """Return the ids."""
        return self._ids


class CorpusTexts:
    """The passages of a corpus that are used; position i is row ``corpus.kept[i]``."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.name = corpus.name

    def __len__(self) -> int:
        return len(self.corpus.kept)

    def at(self, positions: NDArray[np.int64]) -> TextBlock:
        """Return the passages at some positions, as the key template makes them."""
        return self.corpus.texts(self.corpus.kept[positions]), None

    def ids(self) -> pa.StringArray:
        """Return the document ids; row numbers where the corpus has none."""
        return self.corpus.ids().take(pa.array(self.corpus.kept))


class QueryTexts:
    """The queries of an eval set or a training set; position i is row ``dataset.kept[i]``."""

    def __init__(self, dataset: EvalSet | TrainSet) -> None:
        self.dataset = dataset
        self.name = dataset.name
        columns = ["query", "query_id_int", "query_id_str"]
        if dataset.n_instructed:
            columns.append(QUERY_INSTRUCTION)
        self._arrow: datasets.Dataset = dataset.rows.with_format("arrow", columns=columns)

    def __len__(self) -> int:
        return len(self.dataset.kept)

    def at(self, positions: NDArray[np.int64]) -> TextBlock:
        """Return the queries at some positions, and the instructions of their own."""
        table: pa.Table = self._arrow[self.dataset.kept[positions].tolist()]
        own = None
        if QUERY_INSTRUCTION in table.column_names:
            own = table.column(QUERY_INSTRUCTION).to_pylist()
        return table.column("query").to_pylist(), own

    def ids(self) -> pa.StringArray:
        """Return the query ids; row numbers where rows have none."""
        rows = self.dataset.kept
        table: pa.Table = self._arrow[rows.tolist()]
        return pa.array(map(str, query_ids_of(table, rows)), pa.string())
