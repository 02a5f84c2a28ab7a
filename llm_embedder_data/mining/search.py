"""Exact top-k search and reranking, with a fixed order among equal scores.

Letters: Q queries, N corpus rows of a shard, D dimensions, G keys to rerank, k results. A corpus
row is known by its index; -1 means no row. Equal scores are ordered as trec_eval orders them: by
document id, descending as strings (see :mod:`.tie_order`). So the order in which rows were encoded
never favors a positive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from llm_embedder_data.core.errors import check_choice
from llm_embedder_data.mining.tie_order import tie_order

Precision = Literal["float32", "tf32", "bf16"]

# torch's names of what a product of float32 matrices may round to.
_MATMUL_PRECISION = {"float32": "highest", "tf32": "high", "bf16": "highest"}

# A search keeps each result as one int64: the score in the upper half, the tie rank in the lower.
# So results compare as integers, and no two are equal.
_NO_RESULT = -(2**63)
_LOWER_HALF = 2**32 - 1

# If more than this share of a block's scores may be results, as in the first block, only the best k
# of the block are looked at, for so many queries at a time, which bounds the memory.
_MANY = 1 / 8
_QUERIES_AT_ONCE = 128


class Vectors(Protocol):
    """Vectors that are read in ranges, such as an embedding store."""

    def __len__(self) -> int: ...

    def vectors(self, start: int, stop: int) -> NDArray[np.float32] | Tensor:
        """Return the vectors of a range of positions, ``[stop - start, D]`` float32."""


def top_k(
    queries: Tensor,
    corpus: Tensor | NDArray[Any] | Vectors,
    index: Tensor,
    k: int,
    *,
    ties: Tensor | None = None,
    precision: Precision = "float32",
    chunk: int = 1024,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the k corpus rows with the highest inner product with each query, exactly.

    Scores are computed on the device of the queries, in blocks of ``chunk`` queries and ``chunk``
    corpus rows. All products have this shape: narrower blocks are padded, because the last bit of a
    score may depend on the shape of the product. So a score does not depend on how a corpus is cut
    into shards. Rows with a score that is not finite are never returned.

    Args:
        queries: ``[Q, D]`` float32.
        corpus: ``[N, D]``, on any device, or on disk: a ``numpy.memmap`` or a store, of which a
            block at a time is read, each once.
        index: ``[N]`` int64, at least 0, without repeats, in any order.
        k: number of rows per query, at least 1; may exceed N.
        ties: ``[N]`` int64 in [0, 2^32), without repeats: of two rows with equal scores, the lower
            one is better. None: by index, descending as strings.
        precision: what products are rounded to: ``float32``; ``tf32`` on devices that have it; or
            ``bf16``, the vectors rounded to bfloat16.
        chunk: queries and corpus rows per block; memory is O(chunk * (chunk + k) + Q * k).
        progress: called with the number of corpus rows that were searched since the last call.

    Returns:
        Scores ``[Q, k]`` float32 in descending order, -inf where there is no row; index ``[Q, k]``
        int64, -1 where there is no row.
    """
    check_choice(precision, get_args(Precision), "precision")
    device, n_queries = queries.device, len(queries)
    if ties is None:
        ties = tie_order(index).argsort().argsort()
    best = torch.full((n_queries, k), _NO_RESULT, dtype=torch.int64, device=device)
    # Filled again and again: new memory for each product would take as long as a part of it.
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    query_blocks = [
        _padded(queries[start : start + chunk].to(dtype), chunk)
        for start in range(0, n_queries, chunk)
    ]
    product = torch.empty(chunk, chunk, dtype=dtype, device=device)
    may_enter = torch.empty(chunk, chunk, dtype=torch.bool, device=device)
    with _rounding_to(precision, device):
        for start in range(0, len(index), chunk):
            stop = min(start + chunk, len(index))
            block = _padded(_read(corpus, start, stop).to(device, dtype), chunk).T
            lower = _LOWER_HALF - ties[start:stop].to(device)
            for number, query_block in enumerate(query_blocks):
                here = slice(number * chunk, min((number + 1) * chunk, n_queries))
                torch.mm(query_block, block, out=product)
                torch.ge(product, _score(_padded(best[here, -1:], chunk)), out=may_enter)
                cut = slice(here.stop - here.start), slice(stop - start)
                _improve(best[here], product[cut].float(), may_enter[cut], lower)
            if progress is not None:
                progress(stop - start)
    return _decoded(best, index.to(device), ties.to(device))


def merge_top_k(
    scores: Tensor, index: Tensor, k: int, ties: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Merge results that lie side by side into the best k, by descending score, then tie order.

    Args:
        scores: ``[Q, M]`` float32, -inf where there is no row.
        index: ``[Q, M]`` int64, -1 where there is no row.
        k: at most M.
        ties: ``[n]`` int64, the tie rank of each index below n. None: by index, descending as
            strings.

    Returns:
        Scores and index, ``[Q, k]`` each.

    >>> merge_top_k(torch.tensor([[5.0, 1.0, 5.0]]), torch.tensor([[9, 4, 2]]), 2)
    (tensor([[5., 5.]]), tensor([[9, 2]]))
    """
    of_index = tie_order(index) if ties is None else ties[index.clamp(min=0)]
    in_order = of_index.argsort(dim=1)
    scores, index = scores.gather(1, in_order), index.gather(1, in_order)
    by_score = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return scores.gather(1, by_score), index.gather(1, by_score)


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


def scores_of_ranked(ranked: Tensor, scores: Tensor, key_index: Tensor) -> Tensor:
    """Return the scores of keys in the order of :func:`rerank_order`.

    Args:
        ranked: ``[Q, G]`` int64, what :func:`rerank_order` made of the other two.
        scores: ``[Q, G]`` float32.
        key_index: ``[Q, G]`` int64.

    Returns:
        ``[Q, G]`` float32, -inf where there is no key.
    """
    column = (ranked[:, :, None] == key_index[:, None, :]).int().argmax(2)  # the first that equals
    return scores.gather(1, column).masked_fill(ranked < 0, -torch.inf)


# --------------------------------------------------------------------------------------------------


def _read(corpus: Any, start: int, stop: int) -> Tensor:
    """Return rows of a corpus as float32."""
    if isinstance(corpus, Tensor):
        return corpus[start:stop].float()
    found = corpus[start:stop] if isinstance(corpus, np.ndarray) else corpus.vectors(start, stop)
    # A copy of one block: torch warns of arrays that cannot be written, as mapped files are.
    return found.float() if isinstance(found, Tensor) else torch.from_numpy(np.array(found, "f4"))


def _padded(rows: Tensor, n_rows: int) -> Tensor:
    return pad(rows, (0, 0, 0, n_rows - len(rows)))


@contextmanager
def _rounding_to(precision: Precision, device: torch.device) -> Iterator[None]:
    """Round products as asked, whatever the process is set to for training."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(_MATMUL_PRECISION[precision])
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _improve(best: Tensor, scores: Tensor, may_enter: Tensor, lower: Tensor) -> None:
    """Put what is better than the worst result of a query into its results, in place.

    Args:
        best: ``[q, k]`` int64, descending.
        scores: ``[q, n]`` float32, of a block of the corpus.
        may_enter: ``[q, n]``, whether a score is at least that of the worst result.
        lower: ``[n]`` int64, the lower halves of the block's results.
    """
    if _count(may_enter) <= _MANY * may_enter.numel():
        _enter(best, scores, may_enter, lower)
        return
    n_best = min(best.shape[1], scores.shape[1])
    for start in range(0, len(best), _QUERIES_AT_ONCE):
        here = slice(start, start + _QUERIES_AT_ONCE)
        finite = scores[here].masked_fill(~scores[here].isfinite(), -torch.inf)
        worst = finite.topk(n_best, dim=1).values[:, -1:]
        _enter(best[here], finite, may_enter[here] & (finite >= worst), lower)


def _enter(best: Tensor, scores: Tensor, may_enter: Tensor, lower: Tensor) -> None:
    """Merge the scores that may enter into the results: see :func:`_improve`."""
    n_results, n_rows = best.shape[1], scores.shape[1]
    entering = _true_positions(may_enter)
    if len(entering) == 0:
        return
    row, column = entering // n_rows, entering % n_rows
    # Only the rows that change: in a large corpus, few queries find something in a block.
    changed, n_entering = torch.unique_consecutive(row, return_counts=True)
    first = (n_entering.cumsum(0) - n_entering).repeat_interleave(n_entering)
    line = torch.arange(len(changed), device=row.device).repeat_interleave(n_entering)
    place = n_results + torch.arange(len(row), device=row.device) - first
    both = best.new_full((len(changed), n_results + int(n_entering.max())), _NO_RESULT)
    both[:, :n_results] = best[changed]
    both[line, place] = _encoded(scores[row, column], lower[column])
    best[changed] = both.topk(n_results, dim=1).values


def _count(mask: Tensor) -> int:
    """Return how many are true."""
    if mask.device.type == "cpu":  # NumPy is much faster than torch
        return int(np.count_nonzero(mask.numpy()))
    return int(mask.count_nonzero())


def _true_positions(mask: Tensor) -> Tensor:
    """Return where a mask is true, counted row by row, ``[n]`` int64."""
    if mask.device.type == "cpu":  # NumPy is ten times as fast as torch where few are true
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero()[:, 0]


def _encoded(scores: Tensor, lower: Tensor) -> Tensor:
    """Return results as integers that sort as their scores do, then as ``lower``.

    The bits of an IEEE 754 float sort as the float does, once those of negative floats are flipped.
    """
    bits = (scores + 0.0).view(torch.int32)  # + 0.0: -0.0 equals 0.0
    upper = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return ((upper << 32) | lower).masked_fill(~scores.isfinite(), _NO_RESULT)


def _score(result: Tensor) -> Tensor:
    """Return the scores of results, float32; -inf where there is none."""
    upper = (result >> 32).int()
    bits = torch.where(upper < 0, upper ^ 0x7FFFFFFF, upper)
    return bits.view(torch.float32).masked_fill(result == _NO_RESULT, -torch.inf)


def _decoded(best: Tensor, index: Tensor, ties: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores and the index of results."""
    if not len(index):
        return _score(best), torch.full_like(best, -1)
    sorted_ties, order = ties.sort()
    position = torch.searchsorted(sorted_ties, _LOWER_HALF - (best & _LOWER_HALF))
    found = index[order[position.clamp(max=len(index) - 1)]]
    return _score(best), found.masked_fill(best == _NO_RESULT, -1)
