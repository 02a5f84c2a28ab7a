"""Row numbers to groups; only the chosen texts are made into Python strings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.batches.sampler import BatchIndex
from llm_embedder_data.batches.selection import Candidates, draw_key, select
from llm_embedder_data.recipes import Instruction
from llm_embedder_data.rows.builders import Corpus, EvalSet, TrainSet

_TRAIN_COLUMNS = [
    "query",
    "query_id_int",
    "query_id_str",
    "key",
    "teacher_scores",
    "first_same",
    "n_pos",
]


@dataclass(frozen=True, slots=True)
class Groups:
    """B queries with G keys each, before tokenisation.

    Attributes:
        query: B texts.
        query_id: B ids, the rows' own (int or str) or their numbers.
        key: B lists of G texts, the positive first; empty texts fill up.
        key_mask: ``[B, G]`` int64, 0 where a key fills up.
        key_id: ``[B*G]`` int64, hashes of the key texts, 0 where a key fills up.
        positive_id: ``[B, P]`` int64, hashes of all known positives, 0 where a row has fewer.
        teacher_scores: ``[B, G]`` float64, NaN in rows without and 0 where a key fills up; None
            where the dataset has none at all.
    """

    query: list[str]
    query_id: list[int | str]
    key: list[list[str]]
    key_mask: NDArray[np.int64]
    key_id: NDArray[np.int64]
    positive_id: NDArray[np.int64]
    teacher_scores: NDArray[np.float64] | None


class TrainRows:
    """The kept rows of one training set, grouped: a pure function of rows and epoch.

    Args:
        train_set: the rows and how their keys are chosen.
        group_size: G, keys per query.
        seed: of the choices.
    """

    def __init__(self, train_set: TrainSet, group_size: int, seed: int) -> None:
        self.train_set = train_set
        self.group_size = group_size
        self.seed = seed
        self._arrow: datasets.Dataset = train_set.rows.with_format("arrow", columns=_TRAIN_COLUMNS)

    def __len__(self) -> int:
        return len(self.train_set.kept)

    def groups(
        self,
        rows: NDArray[np.int64],
        epoch: int,
        repeat: int = 0,
        numbers: NDArray[np.int64] | None = None,
    ) -> Groups:
        """The groups of B kept rows.

        Args:
            rows: ``[B]`` int64, row numbers within the dataset (not places among the kept ones).
            epoch: that choices are drawn for.
            repeat: pass of the epoch that choices are drawn for.
            numbers: ``[B]`` int64 that choices are a function of, where they are not the row
                numbers.
        """
        train_set, settings = self.train_set, self.train_set.settings
        table: pa.Table = self._arrow[rows.tolist()]
        keys: pa.ListArray = _one(table, "key")
        candidates = _candidates(keys, table)
        chosen = select(
            candidates,
            group_size=self.group_size,
            select_positive=settings.select_positive,
            select_negative=settings.select_negative,
            stable_distill=settings.stable_distill,
            rows=rows if numbers is None else numbers,
            key=draw_key(self.seed, train_set.name, epoch, repeat),
        )
        real = chosen >= 0  # [B, G]
        at = np.where(real, chosen, 0)
        texts = keys.values.take(pa.array(at.ravel())).to_pylist()
        if not real.all():
            texts = [t if r else "" for t, r in zip(texts, real.ravel().tolist(), strict=True)]
        scores = None
        if train_set.n_scored:
            scores = np.where(real, candidates.scores[at], 0.0)
            scores[np.isnan(scores[:, 0])] = np.nan  # a row without scores has none for its filling
        group = self.group_size
        return Groups(
            query=_one(table, "query").to_pylist(),
            query_id=_query_ids(table, rows),
            key=[texts[b * group : (b + 1) * group] for b in range(len(rows))],
            key_mask=real.astype(np.int64),
            key_id=np.where(real.ravel(), text_ids(texts), 0),
            positive_id=_positive_ids(keys.values, candidates, chosen[:, 0]),
            teacher_scores=scores,
        )


class TrainGroups:
    """All training sets; give it a :class:`BatchIndex` and get the batch's groups, as a mapping.

    Args:
        train_sets: by name.
        instructions: of each set, by name; empty ones where none are wanted.
        group_size: G, keys per query.
        seed: of the choices.
    """

    def __init__(
        self,
        train_sets: Mapping[str, TrainSet],
        instructions: Mapping[str, Instruction],
        *,
        group_size: int,
        seed: int,
    ) -> None:
        self._rows = {
            name: TrainRows(train_set, group_size, seed) for name, train_set in train_sets.items()
        }
        self._instructions = dict(instructions)

    def __len__(self) -> int:
        """Kept rows of all sets."""
        return sum(len(rows) for rows in self._rows.values())

    def __getitem__(self, index: BatchIndex) -> dict[str, Any]:
        source = self._rows[index.dataset]
        train_set = source.train_set
        rows = train_set.kept[np.array(index.rows, np.int64)]
        groups = source.groups(rows, index.epoch, index.repeat)
        instruction, scores = self._instructions[index.dataset], groups.teacher_scores
        return {
            "query": groups.query,
            "query_instruction": instruction.query,
            "key": groups.key,
            "key_instruction": instruction.key,
            "key_mask": groups.key_mask,
            "teacher_scores": None if scores is None else scores.astype(np.float32),
            "task": train_set.task,
            "dataset": train_set.name,
            "query_id": groups.query_id,
            "row": rows,
            "key_id": groups.key_id,
            "positive_id": groups.positive_id,
            "in_batch_negatives": train_set.in_batch_negatives,
        }


class EvalQueries:
    """The queries of an eval set; give it places among its kept rows and get a mapping.

    Args:
        eval_set: the rows.
        instruction: of its task; empty where none is wanted.
        corpus: name of the corpus that ``pos_index`` counts, if any.
    """

    def __init__(
        self, eval_set: EvalSet, instruction: Instruction, corpus: str | None = None
    ) -> None:
        self.eval_set = eval_set
        self._instruction = instruction
        self._corpus = corpus
        self._arrow: datasets.Dataset = eval_set.rows.with_format("arrow")

    def __len__(self) -> int:
        return len(self.eval_set.kept)

    def __getitem__(self, places: NDArray[np.int64]) -> dict[str, Any]:
        rows = self.eval_set.kept[places]
        table: pa.Table = self._arrow[rows.tolist()]
        batch: dict[str, Any] = {
            "query": _one(table, "query").to_pylist(),
            "query_instruction": self._instruction.query,
            "query_id": _query_ids(table, rows),
            "task": self.eval_set.task,
            "dataset": self.eval_set.name,
            "corpus": self._corpus,
            "row": rows,
            "pos_index": _padded(_one(table, "pos_index").to_pylist()),
        }
        if "key" in table.column_names:
            batch["key"] = _one(table, "key").to_pylist()
            batch["key_instruction"] = self._instruction.key
            batch["key_index"] = _padded(_one(table, "key_index").to_pylist())
        return batch


class CorpusPassages:
    """The passages of a corpus; give it places among its kept rows and get a mapping.

    Args:
        corpus: the rows.
        key_instruction: put before each; empty where none is wanted.
        name: under which its embeddings are found.
    """

    def __init__(self, corpus: Corpus, key_instruction: str, name: str) -> None:
        self.corpus = corpus
        self._instruction = key_instruction
        self._name = name

    def __len__(self) -> int:
        return len(self.corpus.kept)

    def __getitem__(self, places: NDArray[np.int64]) -> dict[str, Any]:
        rows = self.corpus.kept[places]
        return {
            "content": self.corpus.texts(rows),
            "key_instruction": self._instruction,
            "index": rows,
            "dataset": self._name,
        }


def text_ids(texts: list[str]) -> NDArray[np.int64]:
    """A stable 64-bit hash of each text (XXH3), ``[n]`` int64; never 0, which means no text."""
    ids = np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], np.uint64)
    return np.where(ids == 0, np.uint64(1), ids).view(np.int64)


# --------------------------------------------------------------------------------------------------


def _one(table: pa.Table, name: str) -> Any:
    """A column as one array; a copy, as a single chunk may be a slice of a longer array."""
    return table.column(name).combine_chunks()


def _candidates(keys: pa.ListArray, table: pa.Table) -> Candidates:
    offsets = keys.offsets.to_numpy().astype(np.int64)
    scores = np.full(int(offsets[-1]), np.nan)
    column: pa.ListArray = _one(table, "teacher_scores")
    if column.null_count == 0 and len(column.values) == len(scores):
        scores = column.values.to_numpy(zero_copy_only=False)
    elif column.null_count < len(column):
        ends = column.offsets.to_numpy()
        flat = column.values.to_numpy(zero_copy_only=False)
        for b in np.flatnonzero(np.diff(ends)):
            scores[offsets[b] : offsets[b + 1]] = flat[ends[b] : ends[b + 1]]
    return Candidates(
        offsets=offsets,
        n_pos=_one(table, "n_pos").to_numpy().astype(np.int64),
        first_same=_one(table, "first_same").values.to_numpy(),
        scores=scores,
    )


def _query_ids(table: pa.Table, rows: NDArray[np.int64]) -> list[int | str]:
    ids: list[int | str] = rows.tolist()
    for column in ("query_id_int", "query_id_str"):
        for b, own in enumerate(_one(table, column).to_pylist()):
            if own is not None:
                ids[b] = own
    return ids


def _positive_ids(
    texts: pa.StringArray, candidates: Candidates, chosen: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The labelled positives of each query, and the chosen one where it is none of them."""
    starts = candidates.offsets[:-1]
    promoted = chosen - starts >= candidates.n_pos  # [B]
    counts = candidates.n_pos + promoted
    out = np.zeros((len(starts), int(counts.max(initial=0))), np.int64)
    filled = np.arange(out.shape[1]) < counts[:, None]
    at = starts[:, None] + np.arange(out.shape[1])
    at[promoted, candidates.n_pos[promoted]] = chosen[promoted]
    out[filled] = text_ids(texts.take(pa.array(at[filled])).to_pylist())
    return out


def _padded(lists: list[list[int] | None]) -> NDArray[np.int64]:
    """``[n, longest]`` int64 with -1 where a list is shorter."""
    out = np.full((len(lists), max((len(one or ()) for one in lists), default=0)), -1, np.int64)
    for row, one in zip(out, lists, strict=True):
        row[: len(one or ())] = one or ()
    return out
