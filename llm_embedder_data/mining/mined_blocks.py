"""Mining a dataset's queries block by block; each finished block is a file.

A block depends only on its queries, the passages and the retriever. So a run that was killed
continues after the finished blocks, and memory does not grow with the number of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.answer_strings import holds_answer, words_of
from llm_embedder_data.core.sealed_files import is_whole, mapped, sealed_file
from llm_embedder_data.mining.minable_passages import MinablePassages
from llm_embedder_data.mining.mining_data import MinedQueries
from llm_embedder_data.mining.retrievers import Retriever
from llm_embedder_data.mining.store_filling import Share

ALL = Share()

# Part of a block's file name. Increase it when the content of the files changes.
_VERSION = 2

# Queries in a block.
_QUERIES = 1024

# If too many results of a query contain answers, more results are searched for: up to this many
# times the number of the first search.
_MOST_WANTED = 8


@dataclass(frozen=True, slots=True)
class MinedBlock:
    """The mined negatives of q queries, and the scores of other passages that are written too.

    Attributes:
        first: number of the block's first query.
        scores: ``[q, depth]`` float32, descending; -inf where there are fewer negatives.
        index: ``[q, depth]`` int64, positions of the negatives; -1 where there are fewer.
        beside: ``[m, 3]`` int64, passages for the file of scores beside the run, which were not
            mined: number of the query, position of the passage, and its kind: POSITIVE,
            ROW_NEGATIVE, HOLDS_ANSWER or HAS_ID.
        beside_scores: ``[m]`` float32, the scores of these passages.
        n_left_out: ``[q, 2]`` int64, how many passages were left out that would have been mined
            otherwise. Column 0 counts passages with the text of a positive, column 1 passages with
            the id of a positive and another text.
    """

    first: int
    scores: NDArray[np.float32]
    index: NDArray[np.int64]
    beside: NDArray[np.int64]
    beside_scores: NDArray[np.float32]
    n_left_out: NDArray[np.int64]


# The kinds of passages in ``MinedBlock.beside``: a labelled positive, a negative that the rows
# already have, a passage that contains an answer to the query, and a passage that has the id of a
# positive, but another text.
POSITIVE, ROW_NEGATIVE, HOLDS_ANSWER, HAS_ID = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class _Searched:
    """The result of searching q queries; ``scores`` to ``n_left_out`` are those of MinedBlock.

    Attributes:
        holding: for each query, positions of passages that contain an answer, and would have been
            mined otherwise.
    """

    scores: NDArray[np.float32]
    index: NDArray[np.int64]
    n_left_out: NDArray[np.int64]
    holding: list[list[int]]


class MinedBlocks:
    """The blocks of a dataset's queries.

    Args:
        queries: the queries to mine negatives for.
        passages: the passages to choose negatives from.
        retriever: finds passages for queries.
        depth: number of negatives per query.
        folder: where the finished blocks are.
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
        self._digest = self._digest_of_inputs()

    def run(
        self, share: Share = ALL, progress: Callable[[int, int], None] = lambda done, of: None
    ) -> None:
        """Mine and write the blocks that are missing.

        Args:
            share: the blocks that this process writes, if several processes share the work.
            progress: called after each block with the number of queries of the share that are done,
                and the number of all queries of the share.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        ranges = list(self._ranges())
        of_share = [ranges[block] for block in share.of(len(ranges))]
        done, n_queries = 0, sum(map(len, of_share))
        for queries in of_share:
            if not is_whole(self._path(queries)):
                self._write(queries)
            done += len(queries)
            progress(done, n_queries)

    def __iter__(self) -> Iterator[MinedBlock]:
        """Read the blocks in order. All must have been written."""
        for queries in self._ranges():
            with np.load(BytesIO(mapped(self._path(queries)).tobytes())) as arrays:
                yield MinedBlock(queries.start, **{name: arrays[name] for name in arrays.files})

    def _ranges(self) -> Iterator[range]:
        for start in range(0, len(self._queries), _QUERIES):
            yield range(start, min(start + _QUERIES, len(self._queries)))

    def _path(self, queries: range) -> Path:
        return self._folder / f"mined-{self._digest}-{queries.start}.bin"

    def _digest_of_inputs(self) -> str:
        queries = self._queries
        digest = xxhash.xxh3_128(repr((_VERSION, self._retriever.digest, self._depth)).encode())
        kinds = (queries.known, queries.known_by_id, queries.positives, queries.row_negatives)
        for lists in kinds:
            for positions in lists:
                digest.update(np.append(positions, -1).tobytes())
        digest.update(repr(queries.answers).encode())
        digest.update(self._passages.usable.tobytes())
        return digest.hexdigest()

    def _write(self, queries: range) -> None:
        """Mine the negatives of a block, and write its file."""
        found = self._searched(queries)
        beside, beside_scores = self._beside(queries, found.holding)
        content = BytesIO()
        np.savez(
            content,
            scores=found.scores,
            index=found.index,
            beside=beside,
            beside_scores=beside_scores,
            n_left_out=found.n_left_out,
        )
        with sealed_file(self._path(queries)) as file:
            file.write(content.getbuffer())

    def _searched(self, queries: range) -> _Searched:
        """Search the negatives of a block.

        Queries that have too few negatives, because many of their results contain answers, are
        searched again with more results.
        """
        index = np.full((len(queries), self._depth), -1, np.int64)
        scores = np.full(index.shape, -np.inf, np.float32)
        n_left_out = np.zeros((len(queries), 2), np.int64)
        holding: dict[int, list[int]] = {}
        todo = np.arange(len(queries))
        wanted = self._depth + max(len(self._queries.known[i]) for i in queries)
        most = _MOST_WANTED * wanted
        if any(self._queries.answers[i] for i in queries):
            wanted += self._depth  # some of the results will contain an answer
        while len(todo):
            all_scores, all_found = self._retriever.search(queries.start + todo, wanted)
            too_few = []
            for row, found_scores, found in zip(todo.tolist(), all_scores, all_found, strict=True):
                positions = found[found >= 0]
                unknown = ~np.isin(positions, self._queries.known[queries[row]])
                holds = self._hold_answers(queries[row], positions, unknown)
                kept = np.flatnonzero(unknown & ~holds)[: self._depth]
                index[row, : len(kept)] = positions[kept]
                scores[row, : len(kept)] = found_scores[: len(positions)][kept]
                # Passages ranked below the last negative would not have been mined anyway.
                last = kept[-1] if len(kept) == self._depth else len(positions)
                known_by_id = self._queries.known_by_id[queries[row]]
                n_by_id = np.isin(positions[:last], known_by_id).sum()
                n_left_out[row] = (~unknown[:last]).sum() - n_by_id, n_by_id
                holding[row] = np.setdiff1d(
                    positions[np.flatnonzero(holds[:last])],
                    self._queries.row_negatives[queries[row]],
                ).tolist()
                if len(kept) < self._depth and len(positions) == wanted and holds.any():
                    too_few.append(row)
            todo = np.array(too_few if wanted < most else [], np.int64)
            wanted = min(2 * wanted, most)
        return _Searched(scores, index, n_left_out, [holding[row] for row in range(len(queries))])

    def _beside(
        self, queries: range, holding: Sequence[list[int]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ``beside`` and ``beside_scores`` of a block: see :class:`MinedBlock`.

        Args:
            queries: numbers of the queries.
            holding: for each query, positions of passages that contain an answer.
        """
        beside: list[tuple[int, int, int]] = []
        scores: list[float] = []
        for query, of_query in zip(queries, holding, strict=True):
            row_negatives = self._queries.row_negatives[query]
            by_kind = [  # in the order of the constants
                self._queries.positives[query].tolist(),
                row_negatives.tolist(),
                of_query,
                # A passage that the rows label as a negative remains a negative.
                np.setdiff1d(self._queries.known_by_id[query], row_negatives).tolist(),
            ]
            for kind, of_kind in enumerate(by_kind):
                beside += [(query, position, kind) for position in of_kind]
            unmined = np.array([p for of_kind in by_kind for p in of_kind], np.int64)
            scores += self._retriever.scores(query, unmined).tolist()
        return np.array(beside, np.int64).reshape(-1, 3), np.array(scores, np.float32)

    def _hold_answers(
        self, query: int, positions: NDArray[np.int64], is_read: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return which passages contain an answer to the query, ``[n]`` bool.

        Args:
            query: number of the query.
            positions: ``[n]`` int64, positions of the passages.
            is_read: ``[n]`` bool, which passages to read; the result is false for the others.
        """
        holds = np.zeros(len(positions), bool)
        answers = [words_of(answer) for answer in self._queries.answers[query]]
        if any(answers) and is_read.any():
            numbers = np.flatnonzero(is_read)
            texts = self._passages.texts(positions[numbers])
            holds[numbers] = [holds_answer(text, answers) for text in texts]
        return holds
