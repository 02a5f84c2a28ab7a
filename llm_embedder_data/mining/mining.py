"""Mining hard negatives: from a dataset's queries to a run file for the setting ``negatives``.

Each line of the run file has a query id, a document id and a score, best first; known positives are
left out. A second file beside it has the scores of the positives. Limits such as
``relative_margin`` compare the two when the data is loaded, so trying another limit does not need
another mining run.
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
from llm_embedder_data.mining.minable_passages import MinablePassages
from llm_embedder_data.mining.mined_blocks import (
    ALL,
    HAS_ID,
    HOLDS_ANSWER,
    POSITIVE,
    MinedBlock,
    MinedBlocks,
)
from llm_embedder_data.mining.mining_data import MinedQueries, MiningData, queries_of
from llm_embedder_data.mining.retrievers import Retriever
from llm_embedder_data.mining.run_files import check_run_ids, write_run
from llm_embedder_data.mining.store_filling import Share
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.side_cars.scores_beside import head_beside, path_beside

# Negatives are always written as TSV.
_RUN = "run.tsv"

MakeRetriever = Callable[[MiningData, MinablePassages, MinedQueries], Retriever]


@dataclass(slots=True)
class Mined:
    """What was mined for one dataset. :func:`write_mined` sets the last five attributes.

    Attributes:
        name: the dataset's name.
        queries: its distinct queries.
        passages: the passages that were searched.
        blocks: the results, block by block.
        depth: number of negatives asked for per query.
        n_negatives: negatives mined, over all queries.
        n_short: queries with fewer negatives than asked for.
        n_same_text: passages left out because they have the text of a positive.
        n_same_id: passages left out because they have the id of a positive, and another text.
        n_holding_answers: passages left out because they contain an answer.
    """

    name: str
    queries: MinedQueries
    passages: MinablePassages
    blocks: MinedBlocks
    depth: int
    n_negatives: int = 0
    n_short: int = 0
    n_same_text: int = 0
    n_same_id: int = 0
    n_holding_answers: int = 0

    @property
    def query_ids(self) -> list[str]:
        """The id of each query."""
        ids: list[str] = self.queries.texts.ids().to_pylist()
        return ids

    def counts(self) -> dict[str, int]:
        """Return counts of what was mined and left out, by a description for users."""
        return {
            "queries": len(self.queries),
            "passages searched": self.passages.n_searched,
            "negatives": self.n_negatives,
            "known positives, which are never mined": sum(
                int((known < self.passages.n_searched).sum()) for known in self.queries.known
            ),
            "passages left out as they have the text of a positive": self.n_same_text,
            "passages left out as they have the id of a positive, and another text": self.n_same_id,
            "passages left out as they hold an answer": self.n_holding_answers,
            **self.queries.not_compared,
            "queries with fewer negatives than asked for": self.n_short,
            "passages that are blank, or repeat the id or text of another": int(
                (~self.passages.usable).sum()
            ),
            "rows that have the id of a query with another text": self.queries.n_other_texts,
        }


_COUNTS = ("n_negatives", "n_short", "n_same_text", "n_same_id", "n_holding_answers")


def mine(
    data: MiningData,
    make_retriever: MakeRetriever,
    folder: Path,
    *,
    depth: int = 200,
    share: Share = ALL,
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> Mined:
    """Mine negatives for the queries of a dataset; write the blocks that are missing.

    A passage is left out if its normalized text or its id is that of a positive in any row of the
    same query, or if it contains an answer to the query. The result does not depend on any random
    number.

    Args:
        data: the rows and the corpora.
        make_retriever: makes the retriever from the data, its passages and its queries.
        folder: where the finished blocks are; a run that was killed continues from them.
        depth: number of negatives per query.
        share: the blocks that this process mines, if several processes share the work.
        progress: called with a description, the number of queries of the share that are done, and
            the number of all queries of the share.

    Raises:
        DataError: a query id or a document id cannot be written to a TSV run, because it is empty
            or contains a tab, a line end or another control character; or there are no queries or
            no passages.
    """
    passages = MinablePassages(data.corpora, data.rows)
    queries = queries_of(data, passages)
    if not len(queries) or not passages.n_searched:
        raise DataError(
            f"dataset {data.name!r}: there are {len(queries)} queries and {passages.n_searched} "
            "passages to mine from (give rows with positives, and a corpus)"
        )
    where = f"dataset {data.name!r}"
    check_run_ids(passages.ids, "document", where, _RUN)
    check_run_ids(queries.texts.ids().to_pylist(), "query", where, _RUN)
    retriever = make_retriever(data, passages, queries)
    # A block has a place for each negative, so more places than passages would only take memory.
    blocks = MinedBlocks(queries, passages, retriever, min(depth, passages.n_searched), folder)
    blocks.run(share, lambda done, of: progress(f"mining {data.name}", done, of))
    return Mined(data.name, queries, passages, blocks, depth)


def write_mined(run: Path, datasets: Sequence[Mined], cache: Path | None = None) -> None:
    """Write the negatives of datasets to a run file, and the scores of positives beside it.

    Args:
        run: the run file, which ends in ``.tsv``.
        datasets: what was mined, with every block written. Their counts are filled in.
        cache: the folder that caches the digests of files; None for the default folder.

    Raises:
        ConfigError: an id belongs to different queries in two datasets.
    """
    _check_ids_are_unique(datasets)
    for mined in datasets:
        for name in _COUNTS:  # those of an earlier call
            setattr(mined, name, 0)
    write_run(run, (ranked for mined in datasets for ranked in _ranked(mined)))
    with atomic_file(path_beside(run)) as file:
        file.write(f"{head_beside(content_digest(str(run), cache))}\n".encode())
        for mined in datasets:
            ids = mined.query_ids
            for block in mined.blocks:
                file.write("".join(_lines_beside(mined, block, ids)).encode())


def lowest_positives(block: MinedBlock) -> NDArray[np.float64]:
    """Return each query's lowest score of a positive, ``[q]`` float64; NaN without a positive."""
    lowest = np.full(len(block.index), np.inf)
    is_positive = block.beside[:, 2] == POSITIVE
    rows = block.beside[is_positive, 0] - block.first
    np.minimum.at(lowest, rows, block.beside_scores[is_positive].astype(np.float64))
    return np.where(np.isinf(lowest), np.nan, lowest)


# --------------------------------------------------------------------------------------------------


def _ranked(mined: Mined) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    ids, query_ids = mined.passages.ids, mined.query_ids
    for block in mined.blocks:
        mined.n_same_text += int(block.n_left_out[:, 0].sum())
        mined.n_same_id += int(block.n_left_out[:, 1].sum())
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
        holds_answer = kind == HOLDS_ANSWER
        mined.n_holding_answers += holds_answer
        # The score inf marks a false negative: the passage is never used as a negative.
        text = "inf" if kind in (HOLDS_ANSWER, HAS_ID) else str(np.float32(score))
        yield f"{query_ids[query]}\t{ids[position]}\t{text}\n"


def _check_ids_are_unique(datasets: Sequence[Mined]) -> None:
    text_of: dict[str, tuple[str, str]] = {}
    for mined in datasets:
        texts, _ = mined.queries.texts.at(np.arange(len(mined.queries)))
        for query_id, text in zip(mined.query_ids, texts, strict=True):
            known_text, name = text_of.setdefault(query_id, (text, mined.name))
            if normal_form(known_text) != normal_form(text):
                raise ConfigError(
                    f"query id {query_id!r} belongs to different queries in the datasets {name!r} "
                    f"and {mined.name!r}, so a file cannot hold the negatives of both (give a "
                    "folder as out=: each dataset then has a separate file)"
                )
