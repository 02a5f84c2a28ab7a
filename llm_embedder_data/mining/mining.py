"""Mining of hard negatives: a run of a dataset's queries, which a source names in ``negatives``.

The run holds query id, document id and score, the best first, without any known positive. Beside it
lie the scores of the positives, by which limits at load judge the negatives; so another limit mines
nothing again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.mining.mined_blocks import HOLDS_ANSWER, MinedBlock, MinedBlocks
from llm_embedder_data.mining.mining_data import MinedQueries, MiningData, Passages, queries_of
from llm_embedder_data.mining.retrievers import Retriever
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.scores_beside import head_beside, path_beside

MakeRetriever = Callable[[MiningData, Passages, MinedQueries], Retriever]


@dataclass(slots=True)
class Mined:
    """What was mined for one dataset.

    Attributes:
        name: of the dataset.
        run: the file of negatives.
        n_queries: distinct queries.
        n_passages: passages that were searched.
        n_negatives: lines of the run.
        n_short: queries with fewer negatives than asked for.
        n_known: passages that are known positives, summed over the queries.
        n_holding_answers: passages that were left out since they hold an answer.
        n_unusable: passages that were not mined: blank, or with the id or text of another.
        n_other_texts: rows with the id of a query and another text.
        from_rows: whether the passages are the candidates of the rows, for lack of a corpus.
        blocks: of all queries.
    """

    name: str
    run: Path
    n_queries: int
    n_passages: int
    n_unusable: int
    n_other_texts: int
    from_rows: bool
    blocks: MinedBlocks
    n_negatives: int = 0
    n_short: int = 0
    n_known: int = 0
    n_holding_answers: int = 0

    def sentences(self) -> list[str]:
        """Say what was mined, and what was left out."""
        what = "candidates of the rows (no corpus is named)" if self.from_rows else "passages"
        lines = [
            f"{self.name}: {self.n_negatives:,} negatives of {self.n_queries:,} queries from "
            f"{self.n_passages:,} {what}: {self.run}, scores of positives: {path_beside(self.run)}"
        ]
        for number, said in (
            (self.n_known, "known positives, which are never mined"),
            (self.n_holding_answers, "passages were left out as they hold an answer"),
            (self.n_short, "queries have fewer negatives than asked for"),
            (self.n_unusable, "passages are blank or repeat another's id or text"),
            (self.n_other_texts, "rows have the id of a query with another text"),
        ):
            if number:
                lines.append(f"{self.name}: {number:,} {said}")
        return lines


@dataclass(frozen=True, slots=True)
class MiningFiles:
    """Where a dataset's run goes.

    Attributes:
        run: the file of negatives.
        blocks: the folder of finished blocks, by which a run that was killed goes on.
        cache: where digests of files are remembered; None for the default folder.
    """

    run: Path
    blocks: Path
    cache: Path | None = None


def mine(
    data: MiningData,
    make_retriever: MakeRetriever,
    files: MiningFiles,
    *,
    depth: int = 200,
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Mined:
    """Mine the negatives of a dataset, and write them with the scores of the positives beside.

    Nothing is drawn at random. Passages are left out whose normalised text is that of a positive in
    any row of the same query, or that hold an answer of the query.

    Args:
        data: the rows and the passages.
        make_retriever: makes what finds passages.
        files: where the run goes.
        depth: negatives for each query.
        progress: called with what is done, how many of it are, and of how many.

    Raises:
        DataError: a query id or a document id cannot stand in a file of tabs; or there are no
            passages.
    """
    passages = Passages(data.corpora, data.rows)
    queries = queries_of(data, passages)
    if not len(queries) or not passages.n_searched:
        raise DataError(
            f"dataset {data.name!r}: there are {len(queries)} queries and {passages.n_searched} "
            "passages to mine from (give rows with positives, and a corpus)"
        )
    _check_ids(data.name, passages.ids, "document")
    _check_ids(data.name, queries.texts.ids().to_pylist(), "query")
    retriever = make_retriever(data, passages, queries)
    blocks = MinedBlocks(queries, passages, retriever, depth, files.blocks)
    done = 0

    def count(n_queries: int) -> None:
        nonlocal done
        done += n_queries
        progress(f"mining {data.name}", done, len(queries))

    blocks.run(count)
    mined = Mined(
        name=data.name,
        run=files.run,
        n_queries=len(queries),
        n_passages=passages.n_searched,
        n_unusable=int((~passages.usable).sum()),
        n_other_texts=queries.n_other_texts,
        from_rows=not data.corpora,
        blocks=blocks,
        n_known=sum(map(len, queries.known)),
    )
    _write(mined, blocks, queries.texts.ids().to_pylist(), passages.ids, depth)
    _write_beside(mined, blocks, queries.texts.ids().to_pylist(), passages.ids, files.cache)
    return mined


def score_text(score: float) -> str:
    """Return a float32 score as text that reads back as the same number, and as no rank.

    >>> score_text(3.0), score_text(0.1)
    ('3.0', '0.1')
    """
    text = f"{score:.9g}" if np.float32(f"{score:.8g}") != np.float32(score) else f"{score:.8g}"
    return text if set(text) & set(".einf") else f"{text}.0"


def lowest_positives(block: MinedBlock) -> NDArray[np.float64]:
    """Return the lowest score of a labelled positive of each query, ``[q]``; NaN without any."""
    lowest = np.full(len(block.index), np.inf)
    is_positive = block.beside[:, 2] == 0
    at = block.beside[is_positive, 0] - block.first
    np.minimum.at(lowest, at, block.beside_scores[is_positive].astype(np.float64))
    return np.where(np.isinf(lowest), np.nan, lowest)


# --------------------------------------------------------------------------------------------------


def _write(
    mined: Mined, blocks: MinedBlocks, query_ids: list[str], ids: list[str], depth: int
) -> None:
    with atomic_file(mined.run) as file:
        for block in blocks:
            lines = []
            for row, (index, scores) in enumerate(zip(block.index, block.scores, strict=True)):
                n_found = int((index >= 0).sum())
                mined.n_negatives += n_found
                mined.n_short += n_found < depth
                query_id = query_ids[block.first + row]
                lines += [
                    f"{query_id}\t{ids[position]}\t{score_text(score)}\n"
                    for position, score in zip(
                        index[:n_found].tolist(), scores[:n_found].tolist(), strict=True
                    )
                ]
            file.write("".join(lines).encode())


def _write_beside(
    mined: Mined, blocks: MinedBlocks, query_ids: list[str], ids: list[str], cache: Path | None
) -> None:
    with atomic_file(path_beside(mined.run)) as file:
        file.write(f"{head_beside(content_digest(str(mined.run), cache))}\n".encode())
        for block in blocks:
            lines = []
            for (query, position, kind), score in zip(
                block.beside.tolist(), block.beside_scores.tolist(), strict=True
            ):
                is_false = kind == HOLDS_ANSWER
                mined.n_holding_answers += is_false
                text = "inf" if is_false else score_text(score)
                lines.append(f"{query_ids[query]}\t{ids[position]}\t{text}\n")
            file.write("".join(lines).encode())


def _check_ids(name: str, ids: Iterable[str], kind: str) -> None:
    for found in ids:
        if any(mark in found for mark in "\t\n\r") or not found.strip():
            raise DataError(
                f"dataset {name!r}: the {kind} id {found!r} is blank, or holds a tab or a line "
                "break, which a file of tabs cannot hold (change the id)"
            )
