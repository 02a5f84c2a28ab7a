"""Exact top-k search and reranking, with a fixed order among equal scores.

Letters: Q queries, N corpus rows of a shard, D dimensions, G keys to rerank, k results. A corpus
row is known by its index; -1 means no row. Equal scores are ordered as trec_eval orders them: by
document id, descending as strings. Here the id is the index. So the order in which rows were
encoded never favors a positive.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Most digits of a corpus row's index: times 10 and 32, it must fit in 64 bits.
_MOST_DIGITS = 16


def top_k(
    queries: Tensor, corpus: Tensor, index: Tensor, k: int, *, chunk: int = 2048
) -> tuple[Tensor, Tensor]:
    """Return the k corpus rows with the highest inner product with each query, exactly.

    Scores are computed on the device of the queries, in blocks of at most ``chunk`` queries and
    ``chunk`` corpus rows. The corpus may be on another device. Rows with a score that is not finite
    are never returned.

    Args:
        queries: ``[Q, D]`` float32.
        corpus: ``[N, D]`` float32.
        index: ``[N]`` int64, at least 0, without repeats, in any order.
        k: number of rows per query, at least 1; may exceed N.
        chunk: queries and corpus rows per block; memory is O(chunk * (chunk + k) + Q * k).

    Returns:
        Scores ``[Q, k]`` float32 in descending order, -inf where there is no row; index ``[Q, k]``
        int64, -1 where there is no row.
    """
    device = queries.device
    scores = torch.full((len(queries), k), -torch.inf, device=device)
    found = torch.full((len(queries), k), -1, dtype=torch.int64, device=device)
    # In tie order, so that among equal scores the earlier column wins.
    in_order = tie_order(index).argsort()
    for row_start in range(0, len(index), chunk):
        rows = in_order[row_start : row_start + chunk]
        block = corpus[rows].to(device=device, dtype=torch.float32)
        block_index = index[rows].to(device)
        for query_start in range(0, len(queries), chunk):
            here = slice(query_start, query_start + chunk)
            block_scores = queries[here].float() @ block.T  # [q, n]
            # The k columns before these hold -inf too where there is no row, so a masked score
            # is never among the first k.
            block_scores = block_scores.masked_fill(~block_scores.isfinite(), -torch.inf)
            both = torch.cat([scores[here], block_scores], dim=1)  # [q, k + n]
            both_index = torch.cat([found[here], block_index.expand(len(block_scores), -1)], dim=1)
            column = _first_largest(both, k)  # [q, k]
            scores[here] = both.gather(1, column)
            found[here] = both_index.gather(1, column)
    return scores, found


def merge_top_k(scores: Tensor, index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Merge results that lie side by side into the best k, by descending score, then tie order.

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
    """Return int64 sort keys, in the shape of ``index``: ascending keys are descending ids.

    Ids are compared as strings.

    >>> index = torch.tensor([1, 2, 9, 10, 19, 100])
    >>> index[tie_order(index).argsort()].tolist()
    [9, 2, 19, 100, 10, 1]
    """
    digits = torch.ones_like(index)
    for power in range(1, _MOST_DIGITS):
        digits += index >= 10**power
    powers = torch.tensor([10**power for power in range(_MOST_DIGITS)], device=index.device)
    # Pad the digits with zeros on the right. If two then are equal, the longer one is greater.
    return -(index * powers[_MOST_DIGITS - digits] * 32 + digits)


def rerank_order(scores: Tensor, key_index: Tensor) -> Tensor:
    """Sort the keys of each query by descending score, then tie order; drop repeated keys.

    Args:
        scores: ``[Q, G]`` float32.
        key_index: ``[Q, G]`` int64, -1 where a key is padding.

    Returns:
        ``[Q, G]`` int64, indices of keys, best first; -1 behind the last key.

    >>> rerank_order(torch.tensor([[0.5, 0.9, 0.5, 0.7]]), torch.tensor([[8, 3, 6, -1]]))
    tensor([[ 3,  8,  6, -1]])
    """
    column = torch.arange(key_index.shape[1], device=key_index.device)
    same = key_index[:, :, None] == key_index[:, None, :]  # [Q, G, G]
    repeated = (same & (column < column[:, None])).any(2)
    no_key = (key_index < 0) | repeated | ~scores.isfinite()
    _, order = merge_top_k(
        scores.masked_fill(no_key, -torch.inf), key_index.masked_fill(no_key, -1), len(column)
    )
    return order


def _first_largest(scores: Tensor, k: int) -> Tensor:
    """Return the columns of the k largest scores of each row, the first of equal ones first.

    ``torch.topk`` returns equal values in no particular order. So map each score to an integer that
    sorts alike (the bits of an IEEE 754 float do, once those of negative floats are flipped) and
    put the column in the low bits.

    Returns:
        ``[Q, k]`` int64.
    """
    bits = (scores + 0.0).view(torch.int32)  # + 0.0: -0.0 equals 0.0
    sortable = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()  # [Q, M]
    last = torch.arange(scores.shape[1] - 1, -1, -1, device=scores.device)
    return ((sortable << 32) | last).topk(k, dim=1).indices
