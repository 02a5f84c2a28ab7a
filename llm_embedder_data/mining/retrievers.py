"""Retrievers, which find passages for queries: by an encoder's vectors, or by BM25."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.embeddable_texts import EmbeddableTexts, ListedTexts
from llm_embedder_data.mining.embedding_store import EmbeddingStore
from llm_embedder_data.mining.minable_passages import MinablePassages
from llm_embedder_data.mining.search import merge_top_k, top_k
from llm_embedder_data.mining.store_filling import fill_store
from llm_embedder_data.mining.text_embedder import TextEmbedder

_TEXTS_AT_ONCE = 8192


class Retriever(Protocol):
    """Finds passages for queries. Queries and passages are given by their positions."""

    @property
    def digest(self) -> str:
        """A digest of everything that the results depend on."""

    def search(
        self, queries: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the best usable passages of queries. A query's result does not depend on the others.

        Args:
            queries: ``[q]`` int64, positions of the queries.
            k: number of passages per query.

        Returns:
            Scores ``[q, k]`` float32, descending, -inf where there are fewer than k passages; and
            positions ``[q, k]`` int64, -1 there.
        """

    def scores(self, query: int, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores ``[n]`` float32 of the passages at ``[n]`` positions for a query."""


class DenseRetriever:
    """Exact search by the inner product of an encoder's vectors.

    The vectors are kept in embedding stores, so a run that was killed embeds only what is missing.

    Args:
        passages: the passages to search.
        queries: the queries.
        passage_embedder: embeds the passages.
        query_embedder: embeds the queries.
        store: the folder that holds the embedding stores.
        show_progress: whether to show a progress bar.
    """

    def __init__(
        self,
        passages: MinablePassages,
        queries: ListedTexts,
        passage_embedder: TextEmbedder,
        query_embedder: TextEmbedder,
        store: Path,
        *,
        show_progress: bool = False,
    ) -> None:
        def filled(texts: EmbeddableTexts, embedder: TextEmbedder) -> EmbeddingStore:
            return fill_store(store, texts, embedder, show_progress=show_progress).open()

        self._searched = [filled(part, passage_embedder) for part in passages.searched]
        # An empty set of texts has no store.
        self._scored = list(self._searched)
        if len(passages.further):
            self._scored.append(filled(passages.further, passage_embedder))
        self._queries = filled(queries, query_embedder)
        self._usable = passages.usable
        self._device = query_embedder.device

    @property
    def digest(self) -> str:
        """A digest of the names of the embedding stores, which say what the vectors depend on."""
        # Another order would change the digest, and unfinished mining could not be continued.
        further = self._scored[len(self._searched) :]
        stores = [*self._searched, self._queries, *further]
        return str(xxhash.xxh3_128_hexdigest(repr([s.folder.name for s in stores]).encode()))

    def search(
        self, queries: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the best passages by inner product: see :class:`Retriever`."""
        wanted = torch.from_numpy(self._queries.at(queries)).to(self._device)
        scores, index, start = [], [], 0
        for store in self._searched:
            usable = self._usable[start : start + len(store)]
            found, row = top_k(wanted, _UsableVectors(store, usable), torch.arange(len(store)), k)
            scores.append(found.cpu())
            index.append(torch.where(row.cpu() < 0, -1, row.cpu() + start))
            start += len(store)
        best, position = merge_top_k(torch.cat(scores, 1), torch.cat(index, 1), k)
        return best.numpy(), position.numpy()

    def scores(self, query: int, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return inner products: see :class:`Retriever`."""
        found = np.empty((len(positions), self._queries.width), np.float32)
        start = 0
        for store in self._scored:
            here = (positions >= start) & (positions < start + len(store))
            if here.any():
                found[here] = store.at(positions[here] - start)
            start += len(store)
        scores: NDArray[np.float32] = found @ self._queries.vectors(query, query + 1)[0]
        return scores


class WordRetriever:
    """BM25 search by the library bm25s, with its defaults (Lucene's formula, k1 = 1.5, b = 0.75).

    Words are runs of two or more letters or digits, in lower case. There are no stop words and no
    stemming, because both need to know the language.

    Args:
        passages: the passages to search.
        queries: the queries.

    Raises:
        ConfigError: bm25s is not installed.
    """

    def __init__(self, passages: MinablePassages, queries: ListedTexts) -> None:
        try:
            import bm25s  # type: ignore[import-untyped]
        except ImportError as error:
            raise ConfigError(
                'kind=bm25 needs the package bm25s (pip install "llm_embedder_data[bm25]")'
            ) from error
        self._bm25s: Any = bm25s
        texts: list[str] = []
        digest = xxhash.xxh3_128()
        for part in [*passages.searched, passages.further]:
            for start in range(0, len(part), _TEXTS_AT_ONCE):
                stop = min(start + _TEXTS_AT_ONCE, len(part))
                texts += part.at(np.arange(start, stop))[0]
        self._query_texts, _ = queries.at(np.arange(len(queries)))
        for text in [*texts, *self._query_texts]:
            digest.update(text.encode())
            digest.update(b"\0")
        self._digest = digest.hexdigest()
        self._index = bm25s.BM25()
        self._index.index(self._tokens(texts), show_progress=False)
        self._usable = passages.usable
        self._n_searched = passages.n_searched

    @property
    def digest(self) -> str:
        """A digest of all texts, and the version of bm25s."""
        return f"bm25 {self._bm25s.__version__} {self._digest}"

    def search(
        self, queries: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the passages with the highest scores above 0: see :class:`Retriever`."""
        scores = np.full((len(queries), k), -np.inf, np.float32)
        index = np.full((len(queries), k), -1, np.int64)
        for row, query in enumerate(queries.tolist()):
            found = self._scores_of_all(query)[: self._n_searched]
            found = np.where(self._usable, found, 0)
            n_best = min(k, int((found > 0).sum()))
            if not n_best:
                continue
            # Partition to get the lowest score of the best, then sort all passages that reach it,
            # so that equal scores are ordered by position.
            lowest = found[np.argpartition(-found, n_best - 1)[n_best - 1]]
            best = np.flatnonzero(found >= lowest)
            best = best[np.argsort(-found[best], kind="stable")][:n_best]
            scores[row, :n_best], index[row, :n_best] = found[best], best
        return scores, index

    def scores(self, query: int, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return BM25 scores; 0 for a passage without a word of the query."""
        return self._scores_of_all(query)[positions]

    def _scores_of_all(self, query: int) -> NDArray[np.float32]:
        [words] = self._tokens([self._query_texts[query]], ids=False)
        known = [word for word in words if word in self._index.vocab_dict]
        if not known:
            return np.zeros(self._n_passages, np.float32)
        scores: NDArray[np.float32] = self._index.get_scores(known)
        return scores

    @property
    def _n_passages(self) -> int:
        return int(self._index.scores["num_docs"])

    def _tokens(self, texts: Sequence[str], *, ids: bool = True) -> Any:
        return self._bm25s.tokenize(texts, stopwords=None, return_ids=ids, show_progress=False)


@dataclass(frozen=True, slots=True)
class _UsableVectors:
    """The vectors of a store, with NaN for unusable passages, so that a search skips them."""

    store: EmbeddingStore
    usable: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.store)

    def vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        vectors = self.store.vectors(start, stop)
        usable = self.usable[start:stop]
        return vectors if usable.all() else np.where(usable[:, None], vectors, np.float32(np.nan))
