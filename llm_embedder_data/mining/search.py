"""Exact top-k search and reranking, with a defined order among equal scores.

Shapes: Q queries, N corpus rows of a shard, D dimensions, G keys to rerank, k results. A corpus row
is given by its index; -1 means no row. Equal scores are ordered as trec_eval orders them: by
document id, descending as strings (see :mod:`.tie_order`). So the order in which rows are encoded
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

# The arguments of torch.set_float32_matmul_precision.
_MATMUL_PRECISION = {"float32": "highest", "tf32": "high", "bf16": "highest"}

# A search encodes each result as an int64: the score in the upper 32 bits, the inverted tie rank in
# the lower 32. Comparing these integers compares results, and no two results are equal.
_NO_RESULT = -(2**63)
_LOWER_HALF = 2**32 - 1

# If more than this share of a block's scores may enter the results, as in the very first block, the
# block is reduced to its own top k before merging, for this many queries at a time.
_MANY = 1 / 8
_QUERIES_AT_ONCE = 128


class Vectors(Protocol):
    """N vectors that are read by ranges of positions, such as an embedding store."""

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
    corpus rows. The last bit of a score may depend on the shape of the matrix product, so smaller
    blocks are padded to the full shape. A score therefore does not depend on how a corpus is cut
    into shards. Rows with a score that is not finite are never returned.

    Args:
        queries: ``[Q, D]`` float32.
        corpus: ``[N, D]``, on any device, or on disk (a ``numpy.memmap`` or an embedding store).
            Each block is read once.
        index: ``[N]`` int64, the index of each corpus row: at least 0, no repeats, in any order.
        k: number of results per query, at least 1; may exceed N.
        ties: ``[N]`` int64 in [0, 2^32), without repeats: among equal scores, the row with the
            lower value is better. None: ordered by index, descending as strings.
        precision: of the products: ``float32``; ``tf32`` on devices that have it; or ``bf16``,
            which also rounds the vectors to bfloat16.
        chunk: queries and corpus rows per block; memory is O(chunk * (chunk + k) + Q * k).
        progress: called with the number of corpus rows searched since the last call.

    Returns:
        Scores ``[Q, k]`` float32, descending, -inf where there is no result; index ``[Q, k]``
        int64, -1 where there is no result.

    Raises:
        ConfigError: the precision is unknown.
    """
    check_choice(precision, get_args(Precision), "precision")
    device, n_queries = queries.device, len(queries)
    if ties is None:
        ties = tie_order(index).argsort().argsort()
    best = torch.full((n_queries, k), _NO_RESULT, dtype=torch.int64, device=device)
    # These buffers are reused: allocating memory for each product takes a noticeable time.
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
    """Return the best k of M results per query, by descending score, then tie order.

    Args:
        scores: ``[Q, M]`` float32, such as the results of several shards side by side; -inf where
            there is no result.
        index: ``[Q, M]`` int64, -1 where there is no result.
        k: at most M.
        ties: ``[n]`` int64, the tie rank of each index below n. None: ordered by index, descending
            as strings.

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
        ``[Q, G]`` int64, indices of keys, best first, padded with -1.

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
        ranked: ``[Q, G]`` int64, the result of ``rerank_order(scores, key_index)``.
        scores: ``[Q, G]`` float32.
        key_index: ``[Q, G]`` int64.

    Returns:
        ``[Q, G]`` float32, -inf where there is no key.
    """
    # argmax returns the lowest of equal columns, whose score rerank_order used.
    column = (ranked[:, :, None] == key_index[:, None, :]).int().argmax(2)
    return scores.gather(1, column).masked_fill(ranked < 0, -torch.inf)


# --------------------------------------------------------------------------------------------------


def _read(corpus: Any, start: int, stop: int) -> Tensor:
    """Return rows ``start`` to ``stop`` of a corpus, ``[stop - start, D]`` float32."""
    if isinstance(corpus, Tensor):
        return corpus[start:stop].float()
    found = corpus[start:stop] if isinstance(corpus, np.ndarray) else corpus.vectors(start, stop)
    # Copy the block: torch warns about read-only arrays, such as memory-mapped files.
    return found.float() if isinstance(found, Tensor) else torch.from_numpy(np.array(found, "f4"))


def _padded(rows: Tensor, n_rows: int) -> Tensor:
    return pad(rows, (0, 0, 0, n_rows - len(rows)))


@contextmanager
def _rounding_to(precision: Precision, device: torch.device) -> Iterator[None]:
    """Set the precision of matrix products, and restore the process's setting afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(_MATMUL_PRECISION[precision])
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _improve(best: Tensor, scores: Tensor, may_enter: Tensor, lower: Tensor) -> None:
    """Merge a block's scores into the results of its queries, in place.

    Args:
        best: ``[q, k]`` int64, encoded results, descending.
        scores: ``[q, n]`` float32, scores of a block of the corpus.
        may_enter: ``[q, n]`` bool, whether a score is at least that of the query's worst result.
        lower: ``[n]`` int64, the lower 32 bits of the encoded results of these corpus rows.
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
    """Merge the scores with ``may_enter`` into ``best``, in place: see :func:`_improve`."""
    n_results, n_rows = best.shape[1], scores.shape[1]
    entering = _true_positions(may_enter)
    if len(entering) == 0:
        return
    row, column = entering // n_rows, entering % n_rows
    # Merge only the queries with entering scores: in a large corpus, a block has few of them.
    changed, n_entering = torch.unique_consecutive(row, return_counts=True)
    start = (n_entering.cumsum(0) - n_entering).repeat_interleave(n_entering)
    both_row = torch.arange(len(changed), device=row.device).repeat_interleave(n_entering)
    both_column = n_results + torch.arange(len(row), device=row.device) - start
    both = best.new_full((len(changed), n_results + int(n_entering.max())), _NO_RESULT)
    both[:, :n_results] = best[changed]
    both[both_row, both_column] = _encoded(scores[row, column], lower[column])
    best[changed] = both.topk(n_results, dim=1).values


def _count(mask: Tensor) -> int:
    """Return the number of true elements."""
    if mask.device.type == "cpu":  # NumPy is much faster than torch
        return int(np.count_nonzero(mask.numpy()))
    return int(mask.count_nonzero())


def _true_positions(mask: Tensor) -> Tensor:
    """Return the flat positions of the true elements, row by row, ``[n]`` int64."""
    if mask.device.type == "cpu":  # with few true elements, NumPy is ten times as fast as torch
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero()[:, 0]


def _encoded(scores: Tensor, lower: Tensor) -> Tensor:
    """Encode results as int64: they sort by score, then by ``lower``.

    Read as integers, the bits of IEEE 754 floats sort as the floats do, once all but the sign bit
    of negative floats are flipped.
    """
    bits = (scores + 0.0).view(torch.int32)  # + 0.0: -0.0 equals 0.0
    upper = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return ((upper << 32) | lower).masked_fill(~scores.isfinite(), _NO_RESULT)


def _score(result: Tensor) -> Tensor:
    """Return the float32 scores of encoded results; -inf where there is no result."""
    upper = (result >> 32).int()
    bits = torch.where(upper < 0, upper ^ 0x7FFFFFFF, upper)
    return bits.view(torch.float32).masked_fill(result == _NO_RESULT, -torch.inf)


def _decoded(best: Tensor, index: Tensor, ties: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores and the indices of encoded results."""
    if not len(index):
        return _score(best), torch.full_like(best, -1)
    sorted_ties, order = ties.sort()
    position = torch.searchsorted(sorted_ties, _LOWER_HALF - (best & _LOWER_HALF))
    found = index[order[position.clamp(max=len(index) - 1)]]
    return _score(best), found.masked_fill(best == _NO_RESULT, -1)
