"""Mined passages of a dataset, a block of queries at a time; each block is kept on disk.

A block depends on its queries and the retriever alone. So a run that was killed takes the finished
blocks up, and memory does not grow with the number of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.answer_strings import holds_answer, words_of
from llm_embedder_data.core.sealed_files import is_whole, mapped, sealed_file
from llm_embedder_data.mining.mining_data import MinablePassages, MinedQueries
from llm_embedder_data.mining.retrievers import Retriever
from llm_embedder_data.mining.store_filling import Share

ALL = Share()

# Part of the name of a block. Raise it when what is written changes.
_VERSION = 1

# Queries of a block, and more results than asked for that are looked at when some hold an answer.
_QUERIES = 1024
_MOST_WANTED = 8


@dataclass(frozen=True, slots=True)
class MinedBlock:
    """What was mined for some queries.

    Attributes:
        first: number of the first query.
        scores: ``[q, depth]`` float32, falling; -inf where there is no passage.
        index: ``[q, depth]`` int64, positions of passages; -1 where there is none.
        beside: ``[m, 3]`` int64: query, position, and what the passage is (see below).
        beside_scores: ``[m]`` float32.
    """

    first: int
    scores: NDArray[np.float32]
    index: NDArray[np.int64]
    beside: NDArray[np.int64]
    beside_scores: NDArray[np.float32]


# What passages of ``beside`` are: a labelled positive, a negative that the rows have already, or a
# passage that holds an answer.
POSITIVE, OWN_NEGATIVE, HOLDS_ANSWER = 0, 1, 2


class MinedBlocks:
    """The blocks of a dataset's queries.

    Args:
        queries: to mine for.
        passages: to mine from.
        retriever: finds them.
        depth: negatives for each query.
        folder: of the finished blocks.
    """

    def __init__(
        self,
        queries: MinedQueries,
        passages: MinablePassages,
        retriever: Retriever,
        depth: int,
        folder: Path,
    ) -> None:
        self._queries, self._passages, self._retriever = queries, passages, retriever
        self._depth, self._folder = depth, folder
        self._digest = self._digest_of_all()

    def run(
        self, share: Share = ALL, progress: Callable[[int], None] = lambda n_queries: None
    ) -> None:
        """Write the blocks of a share that are not there.

        Args:
            share: of the blocks, for several processes.
            progress: called with the number of queries of each block.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        ranges = list(self._ranges())
        for queries in (ranges[block] for block in share.of(len(ranges))):
            if not is_whole(self._path(queries)):
                self._write(queries)
            progress(len(queries))

    def __iter__(self) -> Iterator[MinedBlock]:
        """Yield the blocks, which must have been written."""
        for queries in self._ranges():
            with np.load(BytesIO(mapped(self._path(queries)).tobytes())) as arrays:
                yield MinedBlock(queries.start, **{name: arrays[name] for name in arrays.files})

    def _ranges(self) -> Iterator[range]:
        for start in range(0, len(self._queries), _QUERIES):
            yield range(start, min(start + _QUERIES, len(self._queries)))

    def _path(self, queries: range) -> Path:
        return self._folder / f"mined-{self._digest}-{queries.start}.bin"

    def _digest_of_all(self) -> str:
        queries = self._queries
        digest = xxhash.xxh3_128(repr((_VERSION, self._retriever.digest, self._depth)).encode())
        for lists in (queries.known, queries.positives, queries.own_negatives):
            for positions in lists:
                digest.update(np.append(positions, -1).tobytes())
        digest.update(repr(queries.answers).encode())
        digest.update(self._passages.usable.tobytes())
        return digest.hexdigest()

    def _write(self, queries: range) -> None:
        index = np.full((len(queries), self._depth), -1, np.int64)
        scores = np.full(index.shape, -np.inf, np.float32)
        beside: list[tuple[int, int, int]] = []
        beside_scores: list[float] = []
        holding: dict[int, list[int]] = {}
        todo = np.arange(len(queries))
        wanted = self._depth + max(len(self._queries.known[i]) for i in queries)
        most = _MOST_WANTED * wanted
        if any(self._queries.answers[i] for i in queries):
            wanted += self._depth  # some will hold an answer
        while len(todo):
            found_scores, found = self._retriever.search(queries, wanted)
            too_few = []
            for row in todo.tolist():
                at = found[row][found[row] >= 0]
                stays = ~np.isin(at, self._queries.known[queries[row]])
                holds = self._hold_answers(queries[row], at, stays)
                kept = np.flatnonzero(stays & ~holds)[: self._depth]
                index[row, : len(kept)] = at[kept]
                scores[row, : len(kept)] = found_scores[row][: len(at)][kept]
                # Those behind the last negative would not have been mined anyway.
                last = kept[-1] if len(kept) == self._depth else len(at)
                holding[row] = np.setdiff1d(
                    at[np.flatnonzero(holds[:last])], self._queries.own_negatives[queries[row]]
                ).tolist()
                if len(kept) < self._depth and len(at) == wanted and holds.any():
                    too_few.append(row)
            todo = np.array(too_few if wanted < most else [], np.int64)
            wanted = min(2 * wanted, most)
        for row, query in enumerate(queries):
            kinds = (self._queries.positives, self._queries.own_negatives)
            parts = [positions[query].tolist() for positions in kinds] + [holding[row]]
            for kind, positions in enumerate(parts):
                beside += [(query, position, kind) for position in positions]
            every = np.array([p for positions in parts for p in positions], np.int64)
            beside_scores += self._retriever.scores(query, every).tolist()
        content = BytesIO()
        np.savez(
            content,
            scores=scores,
            index=index,
            beside=np.array(beside, np.int64).reshape(-1, 3),
            beside_scores=np.array(beside_scores, np.float32),
        )
        with sealed_file(self._path(queries)) as file:
            file.write(content.getbuffer())

    def _hold_answers(
        self, query: int, positions: NDArray[np.int64], looked_at: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return which passages hold an answer to the query, ``[n]`` bool."""
        holds = np.zeros(len(positions), bool)
        answers = [words_of(answer) for answer in self._queries.answers[query]]
        if any(answers) and looked_at.any():
            at = np.flatnonzero(looked_at)
            texts = self._passages.texts(positions[at])
            holds[at] = [holds_answer(text, answers) for text in texts]
        return holds
