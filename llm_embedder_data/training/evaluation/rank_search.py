"""Exact search of a corpus whose shards are on different ranks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from llm_embedder_data.mining.rank_group import gather_objects
from llm_embedder_data.mining.rankings import Results
from llm_embedder_data.mining.search import Precision, Vectors, merge_top_k, top_k

# How many queries' results to gather from all ranks at a time, to bound memory.
_QUERIES_AT_ONCE = 1024


def search_over_ranks(
    queries: Tensor,
    vectors: Tensor | Vectors,
    index: Tensor,
    k: int,
    *,
    ties: Tensor | None,
    precision: Precision,
    n_ranks: int,
    progress: Callable[[int], None] | None,
) -> Results:
    """Return the best k rows of the whole corpus. All ranks must call this with equal queries.

    Args:
        queries: ``[Q, D]`` float32, on the device to compute on.
        vectors: ``[N, D]`` float32, this rank's shard of the corpus, in memory or read in ranges.
        index: ``[N]`` int64, the corpus rows of the shard.
        k: number of results per query.
        ties: ``[n]`` int64, the tie rank of each row of the whole corpus; None if it has no ids.
        precision: precision of the products: see :func:`~llm_embedder_data.mining.search.top_k`.
        n_ranks: number of ranks that search together.
        progress: called with the number of rows searched since the last call.

    Returns:
        The results, ``[Q, k]``, the same on every rank.
    """
    scores, found = top_k(
        queries,
        vectors,
        index,
        k,
        ties=None if ties is None else ties[index],
        precision=precision,
        progress=progress,
    )
    return _merged(Results(scores.cpu(), found.cpu()), k, ties, n_ranks)


def _merged(results: Results, k: int, ties: Tensor | None, n_ranks: int) -> Results:
    """Merge the results of all ranks into the best k."""
    if n_ranks == 1:
        return results
    merged = []
    for start in range(0, len(results.index), _QUERIES_AT_ONCE):
        here = slice(start, start + _QUERIES_AT_ONCE)
        parts = gather_objects((results.scores[here], results.index[here]), n_ranks)
        scores, found = (torch.cat(side, dim=1) for side in zip(*parts, strict=True))
        merged.append(merge_top_k(scores, found, k, ties))
    scores, found = (torch.cat(side) for side in zip(*merged, strict=True))
    return Results(scores, found)
