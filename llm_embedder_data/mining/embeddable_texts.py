"""The texts that an embedding store holds vectors of: a corpus, a dataset's queries, or a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.training_groups import query_ids_of
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.source_rows.row_instructions import QUERY_INSTRUCTION
from llm_embedder_data.rows.train_set import TrainSet

# The n texts of a block, and an instruction for each that replaces the prompt (None for a text that
# keeps the prompt). If all texts keep it, there is None instead of the list of instructions.
TextBlock = tuple[list[str], Sequence[str | None] | None]


class EmbeddableTexts(Protocol):
    """N texts with ids. Texts are read by position, so a set of texts need not fit in memory."""

    @property
    def name(self) -> str:
        """The name of the texts in messages."""

    def __len__(self) -> int: ...

    def at(self, positions: NDArray[np.int64]) -> TextBlock:
        """Return the texts at the given positions, ``[n]`` int64 in ``[0, N)``."""

    def ids(self) -> pa.StringArray:
        """Return the id of each text, ``[N]``; a text without an id has its row number."""


@dataclass(frozen=True, slots=True)
class PromptedTexts:
    """Texts with their prompt and their length limit.

    Attributes:
        texts: the texts, without the prompt.
        prompt: put before each text that has no instruction; may be empty.
        max_length: limit in tokens; prompt and special tokens count.
    """

    texts: EmbeddableTexts
    prompt: str
    max_length: int


class ListedTexts:
    """Texts in memory.

    Args:
        texts: N texts.
        ids: the id of each text; None to use the positions.
        own_instructions: for each text, the instruction that replaces the prompt, or None to keep
            the prompt. None in place of the list if no text has an instruction.
        name: the name of the texts in messages.
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
        self._instructions = own_instructions

    def __len__(self) -> int:
        return len(self._texts)

    def at(self, positions: NDArray[np.int64]) -> TextBlock:
        """Return the texts at the given positions, and the instructions that texts have."""
        instructions = self._instructions
        numbers = positions.tolist()
        texts = [self._texts[i] for i in numbers]
        return texts, instructions and [instructions[i] for i in numbers]

    def ids(self) -> pa.StringArray:
        """Return the ids, ``[N]``."""
        return self._ids


class CorpusTexts:
    """The passages of a corpus that were not dropped; position i is row ``corpus.kept[i]``."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.name = corpus.name

    def __len__(self) -> int:
        return len(self.corpus.kept)

    def at(self, positions: NDArray[np.int64]) -> TextBlock:
        """Return the passages at the given positions, formatted by the key template."""
        return self.corpus.texts(self.corpus.kept[positions]), None

    def ids(self) -> pa.StringArray:
        """Return the document ids; a passage without an id has its row number."""
        return self.corpus.ids().take(pa.array(self.corpus.kept))


class QueryTexts:
    """The queries of an eval set or a training set; position i is row ``dataset.kept[i]``."""

    def __init__(self, dataset: EvalSet | TrainSet) -> None:
        self.dataset = dataset
        self.name = dataset.name
        columns = ["query"]
        if dataset.n_instructed:
            columns.append(QUERY_INSTRUCTION)
        self._queries = dataset.tables(columns)
        self._ids = dataset.tables(["query_id_int", "query_id_str"])

    def __len__(self) -> int:
        return len(self.dataset.kept)

    def at(self, positions: NDArray[np.int64]) -> TextBlock:
        """Return the queries at the given positions, and the instructions that their rows have."""
        table = self._queries.mapped(self.dataset.kept[positions].tolist())
        instructions = None
        if QUERY_INSTRUCTION in table.column_names:
            instructions = table.column(QUERY_INSTRUCTION).to_pylist()
        return table.column("query").to_pylist(), instructions

    def ids(self) -> pa.StringArray:
        """Return the query ids; a row without an id has its row number."""
        rows = self.dataset.kept
        table = self._ids.mapped(rows.tolist())
        return pa.array(map(str, query_ids_of(table, rows)), pa.string())
