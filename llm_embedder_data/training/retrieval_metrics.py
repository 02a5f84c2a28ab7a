"""Exact retrieval over a corpus that lies in shards, and its metrics: the parts without processes.

Letters: Q queries, N corpus rows of this shard, D dimensions, P positives, G keys to rerank,
k results. A corpus row is known by its index; -1 stands for no row. Equal scores are ordered as
trec_eval orders them, by document id, descending as strings; the id is the index. So no order of
encoding favours a positive.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

# Queries whose metrics are computed at a time.
_QUERIES_AT_ONCE = 4096

# Of a corpus row's index, at most: times 10 and 32 it must fit 64 bits.
_MOST_DIGITS = 16


def top_k(
    queries: Tensor, corpus: Tensor, index: Tensor, k: int, *, chunk: int = 2048
) -> tuple[Tensor, Tensor]:
    """The k corpus rows with the highest inner product with each query, exactly.

    Scores are computed where the queries are, in blocks of at most ``chunk`` queries and ``chunk``
    corpus rows; the corpus may be on another device. A score that is not finite counts as no row.

    Args:
        queries: ``[Q, D]`` float32.
        corpus: ``[N, D]`` float32.
        index: ``[N]`` int64, at least 0, without repeats, in any order.
        k: at least 1, may exceed N.
        chunk: rows per block; memory is O(chunk * (chunk + k) + Q * k).

    Returns:
        Scores ``[Q, k]`` float32 in falling order, -inf where there is no row; index ``[Q, k]``
        int64, -1 where there is no row.
    """
    device = queries.device
    scores = torch.full((len(queries), k), -torch.inf, device=device)
    found = torch.full((len(queries), k), -1, dtype=torch.int64, device=device)
    # In the order of ties, so that among equal scores the earlier column is the one to take first.
    in_order = tie_order(index).argsort()
    for first in range(0, len(index), chunk):
        rows = in_order[first : first + chunk]
        block = corpus[rows].to(device=device, dtype=torch.float32)
        block_index = index[rows].to(device)
        for start in range(0, len(queries), chunk):
            here = slice(start, start + chunk)
            fresh = queries[here].float() @ block.T  # [q, n]
            # It comes behind the k places that hold no row, so its index is never found.
            fresh = fresh.masked_fill(~fresh.isfinite(), -torch.inf)
            both = torch.cat([scores[here], fresh], dim=1)  # [q, k + n]
            both_index = torch.cat([found[here], block_index.expand(len(fresh), -1)], dim=1)
            column = _first_largest(both, k)  # [q, k]
            scores[here] = both.gather(1, column)
            found[here] = both_index.gather(1, column)
    return scores, found


def merge_top_k(scores: Tensor, index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best k of results side by side, by falling score, then in the order of ties.

    Args:
        scores: ``[Q, M]`` float32, -inf where there is no row.
        index: ``[Q, M]`` int64, -1 where there is no row.
        k: at most M.

    Returns:
        Scores and index, ``[Q, k]`` each.

    >>> merge_top_k(torch.tensor([[5.0, 1.0, 5.0]]), torch.tensor([[9, 4, 2]]), 2)
    (tensor([[5., 5.]]), tensor([[9, 2]]))
    """
    in_order = tie_order(index).argsort(dim=1)
    scores, index = scores.gather(1, in_order), index.gather(1, in_order)
    by_score = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return scores.gather(1, by_score), index.gather(1, by_score)


def tie_order(index: Tensor) -> Tensor:
    """Numbers that sort, ascending, as the indices' digits do descending; int64, of their shape.

    >>> index = torch.tensor([1, 2, 9, 10, 19, 100])
    >>> index[tie_order(index).argsort()].tolist()
    [9, 2, 19, 100, 10, 1]
    """
    digits = torch.ones_like(index)
    for power in range(1, _MOST_DIGITS):
        digits += index >= 10**power
    powers = torch.tensor([10**power for power in range(_MOST_DIGITS)], device=index.device)
    # Filled up with zeros on the right; of numbers that are then equal, the longer is the greater.
    return -(index * powers[_MOST_DIGITS - digits] * 32 + digits)


def rerank_order(scores: Tensor, key_index: Tensor) -> Tensor:
    """The keys of each query by falling score, in the order of ties; one given twice counts once.

    Args:
        scores: ``[Q, G]`` float32.
        key_index: ``[Q, G]`` int64, -1 where a key is padding.

    Returns:
        ``[Q, G]`` int64; -1 behind the last key.

    >>> rerank_order(torch.tensor([[0.5, 0.9, 0.5, 0.7]]), torch.tensor([[8, 3, 6, -1]]))
    tensor([[ 3,  8,  6, -1]])
    """
    places = torch.arange(key_index.shape[1], device=key_index.device)
    same = key_index[:, :, None] == key_index[:, None, :]  # [Q, G, G]
    repeated = (same & (places < places[:, None])).any(2)
    no_key = (key_index < 0) | repeated | ~scores.isfinite()
    _, order = merge_top_k(
        scores.masked_fill(no_key, -torch.inf), key_index.masked_fill(no_key, -1), len(places)
    )
    return order


def retrieval_metrics(
    retrieved: Tensor, positives: Tensor, cutoffs: Sequence[int]
) -> dict[str, float]:
    """MRR, recall and nDCG at each cutoff, averaged over the queries with a positive.

    A positive that was not retrieved stays in the denominators of recall and nDCG. The values do
    not depend on the order of the queries, to the last bit.

    Args:
        retrieved: ``[Q, k]`` int64, best first, without repeats; -1 where there is no row.
        positives: ``[Q, P]`` int64, padded with -1.
        cutoffs: each at least 1. Results beyond k count as not relevant.

    Returns:
        ``{"mrr@10": ..., "recall@10": ..., "ndcg@10": ...}`` in [0, 1]; empty where no query has a
        positive. O(Q * k * P) time.
    """
    measured: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, len(retrieved), _QUERIES_AT_ONCE):
        here = slice(start, start + _QUERIES_AT_ONCE)
        for name, values in _of_each_query(retrieved[here], positives[here], cutoffs):
            measured.setdefault(name, []).append(values)
    values_of = {name: np.concatenate(parts) for name, parts in measured.items()}
    # fsum rounds once, so no order of queries and no number of ranks changes a bit.
    return {
        name: math.fsum(values.tolist()) / len(values)
        for name, values in values_of.items()
        if len(values)
    }


def _of_each_query(
    retrieved: Tensor, positives: Tensor, cutoffs: Sequence[int]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Each metric of the queries with a positive, by name."""
    positives = _without_repeats(positives)
    has_positive = (positives >= 0).any(1)
    positives, retrieved = positives[has_positive], retrieved[has_positive][:, : max(cutoffs)]
    relevant = torch.zeros_like(retrieved, dtype=torch.bool)
    for one in positives.unbind(1):  # [Q]; all P at once would hold Q * k * P values
        relevant |= (retrieved == one[:, None]) & (retrieved >= 0)
    hit = pad(relevant, (0, max(cutoffs) - relevant.shape[1])).cpu().numpy()  # [Q, cutoff]
    n_positives = (positives >= 0).sum(1).cpu().numpy()  # [Q]

    discount = 1 / np.log2(np.arange(2, max(cutoffs) + 2))
    n_hits = hit.cumsum(1)
    # Summed from the left, and not by a sum that may pair its terms: the same bits for one query
    # as among many.
    gain = (hit * discount).cumsum(1)
    ideal = np.concatenate([[0.0], discount.cumsum()])
    first = np.where(hit.any(1), hit.argmax(1), max(cutoffs))  # [Q]
    for cutoff in cutoffs:
        yield f"mrr@{cutoff}", np.where(first < cutoff, 1 / (first + 1), 0.0)
        yield f"recall@{cutoff}", n_hits[:, cutoff - 1] / n_positives
        best = ideal[np.minimum(n_positives, cutoff)]
        yield f"ndcg@{cutoff}", gain[:, cutoff - 1] / best


@dataclass(slots=True)
class EvalQueries:
    """The queries of one eval set, all of them or a rank's share.

    Attributes:
        corpus: name of the corpus to search, None where there is none.
        embedding: ``[Q, D]`` float32; ``[Q, 0]`` where the queries were reranked.
        row: ``[Q]`` int64, row numbers in the eval set.
        positives: ``[Q, P]`` int64, padded with -1.
        ranked: ``[Q, G]`` int64, the keys in their new order, or None where there were no keys.
    """

    corpus: str | None
    embedding: Tensor
    row: Tensor
    positives: Tensor
    ranked: Tensor | None

    @classmethod
    def joined(cls, parts: Sequence[EvalQueries]) -> EvalQueries:
        """All parts, by row number, whatever their order; narrow parts are filled up with -1."""
        row, order = torch.cat([part.row for part in parts]).sort()
        ranked = [part.ranked for part in parts if part.ranked is not None]
        return cls(
            corpus=parts[0].corpus,
            embedding=torch.cat([part.embedding for part in parts])[order],
            row=row,
            positives=_stack([part.positives for part in parts])[order],
            ranked=_stack(ranked)[order] if ranked else None,
        )


@dataclass(slots=True)
class EvalShard:
    """What one rank has encoded of the eval sets and of the corpora, on the CPU.

    Attributes:
        queries: the batches of each eval set.
        corpora: the batches of each corpus, embedding ``[n, D]`` float32 and index ``[n]`` int64.
        loader: the number of the loader that each eval set and each corpus came from.
    """

    queries: dict[str, list[EvalQueries]] = field(default_factory=dict)
    corpora: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    loader: dict[str, int] = field(default_factory=dict)

    def own_queries(self) -> dict[str, EvalQueries]:
        """This rank's queries of each eval set."""
        return {name: EvalQueries.joined(parts) for name, parts in self.queries.items()}

    def corpus(self, name: str, width: int) -> tuple[Tensor, Tensor]:
        """This rank's rows of a corpus, ``[N, width]`` and ``[N]``; N is 0 where it has none."""
        parts = self.corpora.get(name, [])
        empty = torch.empty(0, width), torch.empty(0, dtype=torch.int64)
        embeddings, indices = zip(*parts, empty, strict=True)
        return torch.cat(embeddings), torch.cat(indices)


def _first_largest(scores: Tensor, k: int) -> Tensor:
    """Columns of the k largest of each row, among equals the first ones: ``[Q, k]`` int64.

    ``torch.topk`` orders equals as it likes. Here each score becomes an integer that sorts like it
    (an IEEE 754 float does, once the negative ones are turned round), with the column below it.
    """
    bits = (scores + 0.0).view(torch.int32)  # + 0.0: -0.0 equals 0.0
    sortable = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()  # [Q, M]
    last = torch.arange(scores.shape[1] - 1, -1, -1, device=scores.device)
    return ((sortable << 32) | last).topk(k, dim=1).indices


def _without_repeats(index: Tensor) -> Tensor:
    """Each row's values once, -1 for the repeats: ``[Q, P]`` int64."""
    index = index.sort(dim=1).values
    repeats = pad(index[:, 1:] == index[:, :-1], (min(1, index.shape[1]), 0))
    return index.masked_fill(repeats, -1)


def _stack(parts: Sequence[Tensor]) -> Tensor:
    """Rows of several widths below each other, filled up with -1."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, width - part.shape[1]), value=-1) for part in parts])
