"""Row numbers to all that a batch needs, before tokens: groups, eval queries, passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.train_rows import TrainRows, files_of, query_ids_of
from llm_embedder_data.batches.plan.sampler import BatchIndex
from llm_embedder_data.batches.token_cache.cached_rows import CachedEvalRows, CachedTrainRows
from llm_embedder_data.batches.token_cache.cached_tokenizer import CachedTexts
from llm_embedder_data.batches.token_cache.table import TokenTable
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.mapped_files import MappedFiles
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_sets import TrainSet


class TrainGroups:
    """All training sets; give it a :class:`BatchIndex` and get the batch's groups, as a mapping.

    Args:
        train_sets: by name.
        instructions: of each set, by name; empty ones where none are wanted.
        group_size: G, keys per query; fewer in a set whose rows have fewer different ones.
        seed: of the choices.
        tables: of tokens, by name, of sets whose texts are not to be read.
    """

    def __init__(
        self,
        train_sets: Mapping[str, TrainSet],
        instructions: Mapping[str, Instruction],
        *,
        group_size: int,
        seed: int,
        tables: Mapping[str, TokenTable] | None = None,
    ) -> None:
        tables = tables or {}
        self._rows = {
            name: CachedTrainRows(one, tables[name], one.group_size(group_size), seed)
            if name in tables
            else TrainRows(one, one.group_size(group_size), seed)
            for name, one in train_sets.items()
        }
        self._instructions = dict(instructions)
        self._mapped = {name: MappedFiles(rows.files) for name, rows in self._rows.items()}

    def cut_off(self, index: BatchIndex) -> str | None:
        """A file of the index' dataset that is shorter than it was, if there is one."""
        return self._mapped[index.dataset].cut_off()

    def __len__(self) -> int:
        """Kept rows of all sets."""
        return sum(len(rows) for rows in self._rows.values())

    def __repr__(self) -> str:
        return ", ".join(f"{name!r} ({len(rows)} rows)" for name, rows in self._rows.items())

    def __getitem__(self, index: BatchIndex) -> dict[str, Any]:
        return next(self.several([index]))

    def several(self, indices: Iterable[BatchIndex]) -> Iterator[dict[str, Any]]:
        """What each index gives, all of one dataset, epoch and pass: keys are chosen at once."""
        indices = iter(indices)
        for first in indices:
            n_at_once = self._rows[first.dataset].at_once // len(first.rows)
            yield from self._together([first, *islice(indices, max(n_at_once - 1, 0))])

    def _together(self, indices: Sequence[BatchIndex]) -> Iterator[dict[str, Any]]:
        first = indices[0]
        source, instruction = self._rows[first.dataset], self._instructions[first.dataset]
        train_set = source.train_set
        places = np.array([place for index in indices for place in index.rows], np.int64)
        groups, rows = source.at(places, first.epoch, first.repeat), train_set.kept[places]
        end = 0
        for index in indices:
            start, end = end, end + len(index.rows)
            own = groups.part(start, end) if len(indices) > 1 else groups
            scores = own.teacher_scores
            yield {
                "query": own.query,
                "query_instruction": instruction.query,
                "key": own.key,
                "key_instruction": instruction.key,
                "key_mask": own.key_mask,
                "teacher_scores": None if scores is None else scores.astype(np.float32),
                "task": train_set.task,
                "dataset": train_set.name,
                "query_id": own.query_id,
                "row": rows[start:end],
                "key_id": own.key_id,
                "positive_id": own.positive_id,
                "in_batch_negatives": train_set.in_batch_negatives,
            }


class EvalQueries:
    """The queries of an eval set; give it places among its kept rows and get a mapping.

    Args:
        eval_set: the rows.
        instruction: of its task; empty where none is wanted.
        corpus: name of the corpus that ``pos_index`` counts, if any.
        table: of its tokens, where its texts are not to be read.
    """

    def __init__(
        self,
        eval_set: EvalSet,
        instruction: Instruction,
        corpus: str | None = None,
        table: TokenTable | None = None,
    ) -> None:
        self.eval_set = eval_set
        self._instruction = instruction
        self._corpus = corpus
        self._cached = None if table is None else CachedEvalRows(table)
        unread = () if table is None else ("query", "key")
        columns = [name for name in eval_set.rows.column_names if name not in unread]
        self._arrow: datasets.Dataset = eval_set.rows.with_format("arrow", columns=columns)
        self._mapped = _mapped(eval_set.rows, table)

    def cut_off(self, places: NDArray[np.int64]) -> str | None:
        """A file of the set that is shorter than it was, if there is one."""
        return self._mapped.cut_off()

    def __len__(self) -> int:
        return len(self.eval_set.kept)

    def __repr__(self) -> str:
        return f"{self.eval_set.name!r} ({len(self)} queries)"

    def __getitem__(self, places: NDArray[np.int64]) -> dict[str, Any]:
        rows = self.eval_set.kept[places]
        table: pa.Table = self._arrow[rows.tolist()]
        batch: dict[str, Any] = {
            "query_instruction": self._instruction.query,
            "query_id": query_ids_of(table, rows),
            "task": self.eval_set.task,
            "dataset": self.eval_set.name,
            "corpus": self._corpus,
            "row": rows,
            "pos_index": _padded(table.column("pos_index").to_pylist()),
        }
        if self._cached is not None:
            batch |= self._cached.texts(places)
        else:
            texts = [name for name in ("query", "key") if name in table.column_names]
            batch |= {name: table.column(name).to_pylist() for name in texts}
        if "key_index" in table.column_names:
            batch["key_instruction"] = self._instruction.key
            batch["key_index"] = _padded(table.column("key_index").to_pylist())
        return batch


class CorpusPassages:
    """The passages of a corpus; give it places among its kept rows and get a mapping.

    Args:
        corpus: the rows.
        key_instruction: put before each; empty where none is wanted.
        name: under which its embeddings are found.
        table: of its tokens, where its texts are not to be read.
    """

    def __init__(
        self, corpus: Corpus, key_instruction: str, name: str, table: TokenTable | None = None
    ) -> None:
        self.corpus = corpus
        self._table = table
        self._instruction = key_instruction
        self._name = name
        self._mapped = _mapped(corpus.rows, table)

    def cut_off(self, places: NDArray[np.int64]) -> str | None:
        """A file of the corpus that is shorter than it was, if there is one."""
        return self._mapped.cut_off()

    def __len__(self) -> int:
        return len(self.corpus.kept)

    def __repr__(self) -> str:
        return f"{self._name!r} ({len(self)} passages)"

    def __getitem__(self, places: NDArray[np.int64]) -> dict[str, Any]:
        rows = self.corpus.kept[places]
        table = self._table
        return {
            "content": self.corpus.texts(rows)
            if table is None
            else CachedTexts(table, "text", table.array("text")[places]),
            "key_instruction": self._instruction,
            "index": rows,
            "dataset": self._name,
        }


# --------------------------------------------------------------------------------------------------


def _mapped(rows: datasets.Dataset, table: TokenTable | None) -> MappedFiles:
    files = files_of(rows)
    return MappedFiles(files if table is None else [*files, table.file])


def _padded(lists: list[list[int] | None]) -> NDArray[np.int64]:
    """``[n, longest]`` int64 with -1 where a list is shorter."""
    out = np.full((len(lists), max((len(one or ()) for one in lists), default=0)), -1, np.int64)
    for row, one in zip(out, lists, strict=True):
        row[: len(one or ())] = one or ()
    return out
