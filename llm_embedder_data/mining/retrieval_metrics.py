"""MRR, recall, nDCG, MAP, precision and hit rate of retrieved corpus rows, equal to trec_eval's.

Shapes: Q queries, P positives, k results. A corpus row is given by its index; -1 means no row.
Formulas: https://github.com/usnistgov/trec_eval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

# Number of queries whose metrics are computed at a time, to bound the memory.
_QUERIES_AT_ONCE = 4096


def retrieval_metrics(
    retrieved: Tensor,
    positives: Tensor,
    cutoffs: Sequence[int],
    grades: Tensor | None = None,
) -> dict[str, float]:
    """Return the metrics at each cutoff, averaged over the queries with a positive.

    The metrics are trec_eval's recip_rank, recall_k, ndcg_cut_k, map_cut_k, P_k and success_k.
    Positives
    that were not retrieved count in the denominators of recall, nDCG and MAP. The values do not
    depend on the order of the queries, not even in the last bit.

    Args:
        retrieved: ``[Q, k]`` int64, best first, without repeats; -1 where there is no result.
        positives: ``[Q, P]`` int64, padded with -1. Repeats count once.
        cutoffs: each at least 1. With a cutoff above k, the missing results count as not relevant.
        grades: ``[Q, P]`` float64, above 0 for each positive; nDCG uses them as gains, as trec_eval
            does. None: all gains are 1.

    Returns:
        ``{"mrr@10": ..., "recall@10": ..., "ndcg@10": ..., "map@10": ..., "precision@10": ...,
        "hit_rate@10": ...}`` in [0, 1]; empty if no query has a positive. Takes O(Q * k * P) time.
    """
    measured: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, len(retrieved), _QUERIES_AT_ONCE):
        here = slice(start, start + _QUERIES_AT_ONCE)
        for name, values in _per_query(
            retrieved[here], positives[here], cutoffs, None if grades is None else grades[here]
        ):
            measured.setdefault(name, []).append(values)
    joined = {name: np.concatenate(parts) for name, parts in measured.items()}
    # fsum rounds once, so neither the order of queries nor the number of ranks changes a bit.
    return {
        name: math.fsum(values.tolist()) / len(values)
        for name, values in joined.items()
        if len(values)
    }


def _per_query(
    retrieved: Tensor, positives: Tensor, cutoffs: Sequence[int], grades: Tensor | None
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield each metric by name, with one value for each query that has a positive."""
    positives, grades = _without_repeats(positives, grades)
    has_positive = (positives >= 0).any(1)
    positives, retrieved = positives[has_positive], retrieved[has_positive][:, : max(cutoffs)]
    relevant = torch.zeros_like(retrieved, dtype=torch.bool)
    gains = torch.zeros(retrieved.shape, dtype=torch.float64)
    if grades is not None:
        grades = grades[has_positive].double()
    # A column of positives at a time: comparing all at once would take Q * k * P values.
    for number, positive in enumerate(positives.unbind(1)):  # [Q]
        is_hit = (retrieved == positive[:, None]) & (retrieved >= 0)
        relevant |= is_hit
        if grades is not None:
            gains += is_hit * grades[:, number, None]
    hit = pad(relevant, (0, max(cutoffs) - relevant.shape[1])).cpu().numpy()  # [Q, cutoff]
    n_positives = (positives >= 0).sum(1).cpu().numpy()  # [Q]

    discount = 1 / np.log2(np.arange(2, max(cutoffs) + 2))
    n_hits = hit.cumsum(1)
    precision_at_hits = (hit * n_hits / np.arange(1, max(cutoffs) + 1)).cumsum(1)  # [Q, cutoff]
    # cumsum adds from left to right. sum may add in pairs, and then the last bits of a query's
    # value would depend on the number of queries.
    if grades is None:
        gain = (hit * discount).cumsum(1)
        ideal = np.concatenate([[0.0], discount.cumsum()])
    else:
        n_missing = max(cutoffs) - retrieved.shape[1]
        gain = (pad(gains, (0, n_missing)).cpu().numpy() * discount).cumsum(1)
        best_gains = grades.sort(dim=1, descending=True).values[:, : max(cutoffs)]
        best_gains = pad(best_gains, (0, max(cutoffs) - best_gains.shape[1]))
        best_gain = (best_gains.cpu().numpy() * discount).cumsum(1)
    best_rank = np.where(hit.any(1), hit.argmax(1), max(cutoffs))  # [Q], from 0
    for cutoff in cutoffs:
        yield f"mrr@{cutoff}", np.where(best_rank < cutoff, 1 / (best_rank + 1), 0.0)
        yield f"recall@{cutoff}", n_hits[:, cutoff - 1] / n_positives
        if grades is None:
            best = ideal[np.minimum(n_positives, cutoff)]
        else:
            best = best_gain[:, cutoff - 1]
        yield f"ndcg@{cutoff}", gain[:, cutoff - 1] / best
        yield f"map@{cutoff}", precision_at_hits[:, cutoff - 1] / n_positives
        yield f"precision@{cutoff}", n_hits[:, cutoff - 1] / cutoff
        yield f"hit_rate@{cutoff}", (best_rank < cutoff).astype(np.float64)


def _without_repeats(index: Tensor, grades: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Sort each row of ``index``, ``[Q, P]``, and replace repeats with -1; reorder grades alike."""
    index, order = index.sort(dim=1, stable=True)
    repeats = pad(index[:, 1:] == index[:, :-1], (min(1, index.shape[1]), 0))
    index = index.masked_fill(repeats, -1)
    if grades is not None:
        grades = grades.gather(1, order).masked_fill(index < 0, 0)
    return index, grades
