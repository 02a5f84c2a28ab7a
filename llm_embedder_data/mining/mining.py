"""Mining of hard negatives: a run of a dataset's queries, which a source names in ``negatives``.

The run holds query id, document id and score, the best first, without any known positive. Beside it
lie the scores of the positives, by which limits at load judge the negatives; so another limit mines
nothing again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.mining.mined_blocks import ALL, HOLDS_ANSWER, MinedBlock, MinedBlocks
from llm_embedder_data.mining.mining_data import (
    MinablePassages,
    MinedQueries,
    MiningData,
    queries_of,
)
from llm_embedder_data.mining.retrievers import Retriever
from llm_embedder_data.mining.run_files import check_run_ids, write_run
from llm_embedder_data.mining.store_filling import Share
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.scores_beside import head_beside, path_beside

MakeRetriever = Callable[[MiningData, MinablePassages, MinedQueries], Retriever]


@dataclass(slots=True)
class Mined:
    """What was mined for one dataset.

    Attributes:
        name: of the dataset.
        queries: distinct queries.
        passages: that were searched.
        blocks: of all queries.
        depth: negatives asked for, for each query.
        from_rows: whether the passages are the candidates of the rows, for lack of a corpus.
        n_negatives: negatives of all queries.
        n_short: queries with fewer negatives than asked for.
        n_holding_answers: passages that were left out since they hold an answer.
    """

    name: str
    queries: MinedQueries
    passages: MinablePassages
    blocks: MinedBlocks
    depth: int
    from_rows: bool
    n_negatives: int = 0
    n_short: int = 0
    n_holding_answers: int = 0

    @property
    def query_ids(self) -> list[str]:
        """The id of each query."""
        ids: list[str] = self.queries.texts.ids().to_pylist()
        return ids

    def counts(self) -> dict[str, int]:
        """Return what was mined and what was left out, by what it is."""
        return {
            "queries": len(self.queries),
            "passages searched": self.passages.n_searched,
            "negatives": self.n_negatives,
            "known positives, which are never mined": sum(map(len, self.queries.known)),
            "passages left out as they hold an answer": self.n_holding_answers,
            "queries with fewer negatives than asked for": self.n_short,
            "passages that are blank, or repeat the id or text of another": int(
                (~self.passages.usable).sum()
            ),
            "rows that have the id of a query with another text": self.queries.n_other_texts,
        }


def mine(
    data: MiningData,
    make_retriever: MakeRetriever,
    folder: Path,
    *,
    depth: int = 200,
    share: Share = ALL,
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Mined:
    """Mine negatives for the queries of a dataset; write the blocks that are not there.

    Nothing is drawn at random. Passages are left out whose normalised text is that of a positive in
    any row of the same query, or that hold an answer of the query.

    Args:
        data: the rows and the passages.
        make_retriever: makes what finds passages.
        folder: of the finished blocks, by which a run that was killed goes on.
        depth: negatives for each query.
        share: of the blocks, for several processes.
        progress: called with what is done, how many of it are, and of how many.

    Raises:
        DataError: a query id or a document id cannot stand in a file of tabs; or there are no
            queries or no passages.
    """
    passages = MinablePassages(data.corpora, data.rows)
    queries = queries_of(data, passages)
    if not len(queries) or not passages.n_searched:
        raise DataError(
            f"dataset {data.name!r}: there are {len(queries)} queries and {passages.n_searched} "
            "passages to mine from (give rows with positives, and a corpus)"
        )
    where = f"dataset {data.name!r}"
    check_run_ids(passages.ids, "document", where)
    check_run_ids(queries.texts.ids().to_pylist(), "query", where)
    retriever = make_retriever(data, passages, queries)
    blocks = MinedBlocks(queries, passages, retriever, depth, folder)
    done = 0

    def count(n_queries: int) -> None:
        nonlocal done
        done += n_queries
        progress(f"mining {data.name}", done, len(queries))

    blocks.run(share, count)
    return Mined(data.name, queries, passages, blocks, depth, not data.corpora)


def write_mined(run: Path, datasets: Sequence[Mined], cache: Path | None = None) -> None:
    """Write the negatives of datasets to a file, and the scores of positives to another beside it.

    Args:
        run: the file.
        datasets: what was mined, in full; they are counted.
        cache: where the digest of the file is remembered; None for the default folder.

    Raises:
        ConfigError: an id stands for different queries in two datasets.
    """
    _check_one_query_each(datasets)
    write_run(run, (ranked for mined in datasets for ranked in _ranked(mined)))
    with atomic_file(path_beside(run)) as file:
        file.write(f"{head_beside(content_digest(str(run), cache))}\n".encode())
        for mined in datasets:
            ids = mined.query_ids
            for block in mined.blocks:
                file.write("".join(_lines_beside(mined, block, ids)).encode())


def lowest_positives(block: MinedBlock) -> NDArray[np.float64]:
    """Return the lowest score of a labelled positive of each query, ``[q]``; NaN without any."""
    lowest = np.full(len(block.index), np.inf)
    is_positive = block.beside[:, 2] == 0
    at = block.beside[is_positive, 0] - block.first
    np.minimum.at(lowest, at, block.beside_scores[is_positive].astype(np.float64))
    return np.where(np.isinf(lowest), np.nan, lowest)


# --------------------------------------------------------------------------------------------------


def _ranked(mined: Mined) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    ids, query_ids = mined.passages.ids, mined.query_ids
    for block in mined.blocks:
        for row, (index, scores) in enumerate(zip(block.index, block.scores, strict=True)):
            n_found = int((index >= 0).sum())
            mined.n_negatives += n_found
            mined.n_short += n_found < mined.depth
            found = (ids[position] for position in index[:n_found].tolist())
            yield query_ids[block.first + row], list(zip(found, scores[:n_found], strict=True))


def _lines_beside(mined: Mined, block: MinedBlock, query_ids: list[str]) -> Iterator[str]:
    ids = mined.passages.ids
    for (query, position, kind), score in zip(
        block.beside.tolist(), block.beside_scores.tolist(), strict=True
    ):
        is_false = kind == HOLDS_ANSWER
        mined.n_holding_answers += is_false
        text = "inf" if is_false else str(np.float32(score))
        yield f"{query_ids[query]}\t{ids[position]}\t{text}\n"


def _check_one_query_each(datasets: Sequence[Mined]) -> None:
    text_of: dict[str, tuple[str, str]] = {}
    for mined in datasets:
        texts, _ = mined.queries.texts.at(np.arange(len(mined.queries)))
        for query_id, text in zip(mined.query_ids, texts, strict=True):
            first, name = text_of.setdefault(query_id, (text, mined.name))
            if normal_form(first) != normal_form(text):
                raise ConfigError(
                    f"query id {query_id!r} is another query in dataset {mined.name!r} than in "
                    f"{name!r}, so their negatives cannot stand in one file (let out= name a "
                    "folder: each dataset has a file of its own there)"
                )
