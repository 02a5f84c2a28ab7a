"""Attention with dropout on a CPU, for which torch has no fused kernel.

torch's general code stores more matrices of attention weights, checks each for empty rows, and
draws a random number per weight, which costs as much as the matrix products. The code here takes
about two thirds of the time, and about half for batches of many long texts.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The most attention weights to compute in one call. Larger blocks of memory go back to the system
# when they are freed, and to get them again takes longer than the computation.
_MAX_WEIGHTS = 2**22
# Dropped weights are drawn as 16-bit integers, four from each random number.
_RANGE = 2**16


def attend_with_dropout(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    visible: Tensor | None,
    dropout: float,
    scaling: float | None,
) -> Tensor:
    """Return attention for texts of the same length, computed in at least float32.

    Args:
        query: ``[N, H, L, D]``.
        key: as ``query``, but may have fewer heads; H must be a multiple of their number.
        value: in the shape of ``key``.
        visible: ``[L, L]`` bool, whether token i attends to token j; None: each attends to all.
            Each token must attend to at least one.
        dropout: probability of dropping an attention weight, rounded to a multiple of 1/65536.
        scaling: multiplies the scores; None: ``1 / sqrt(D)``.

    Returns:
        ``[N, H, L, D]``, with the dtype of ``query``.
    """
    n_texts, n_heads, size, width = query.shape
    dtype = torch.promote_types(query.dtype, torch.float32)
    n_repeats = n_heads // key.shape[1]
    if n_repeats > 1:
        key, value = (one.repeat_interleave(n_repeats, dim=1) for one in (key, value))
    scaling = width**-0.5 if scaling is None else scaling
    heads_at_once = n_heads * max(_MAX_WEIGHTS // (n_heads * size * size), 1)
    with torch.autocast("cpu", enabled=False):
        parts = [
            torch.split(one.to(dtype).flatten(0, 1), heads_at_once) for one in (query, key, value)
        ]  # [n, L, D]
        attended = [
            _attend(q, k, v, visible, dropout, scaling) for q, k, v in zip(*parts, strict=True)
        ]
    return torch.cat(attended).view(n_texts, n_heads, size, -1).to(query.dtype)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor | None,
    dropout: float,
    scaling: float,
) -> Tensor:
    """Return attention for queries, keys and values of ``[n, L, D]`` each."""
    nothing = query.new_zeros(())
    scores = torch.baddbmm(nothing, query, key.transpose(1, 2), beta=0, alpha=scaling)
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    dropped_of_range = min(round(dropout * _RANGE), _RANGE - 1)
    dropped = _random_16_bits(scores.shape) < dropped_of_range - _RANGE // 2
    weights = scores.softmax(-1).masked_fill(dropped, 0.0)
    # Scaling the values costs less than scaling the weights.
    return torch.bmm(weights, value * (_RANGE / (_RANGE - dropped_of_range)))


def _random_16_bits(shape: torch.Size) -> Tensor:
    """Return uniformly distributed int16 values."""
    n_values = shape.numel()
    words = torch.empty((n_values + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:n_values].view(shape)
