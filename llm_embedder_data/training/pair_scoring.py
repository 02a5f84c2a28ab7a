"""Scores many (query, key) pairs with bounded memory, in slices of similar length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from llm_embedder_data.batches.tokens.model_inputs import model_calls

# A function from padded pairs to their logits ``[n]``.
Score = Callable[[Mapping[str, Any]], Tensor]


def score_in_slices(
    score: Score, inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]], most_pairs: int
) -> Tensor:
    """Score pairs in calls of at most ``most_pairs`` pairs.

    Pairs are sorted by length, and columns that are padding in all pairs of a call are dropped.

    Args:
        score: scores the pairs of a call.
        inputs: padded pairs, int64 ``[N, L]`` each; or a list of such chunks.
        most_pairs: maximum number of pairs per call.

    Returns:
        ``[N]`` float32, in the order of ``inputs``.
    """
    scores = []
    for chunk in model_calls(inputs):
        lengths = chunk["attention_mask"].sum(1)
        in_order = lengths.argsort(descending=True, stable=True)
        found = [score(_trimmed(chunk, rows)) for rows in in_order.split(most_pairs)]
        of_chunk = lengths.new_zeros(len(lengths), dtype=torch.float32)
        if found:
            of_chunk[in_order] = torch.cat(found)
        scores.append(of_chunk)
    return torch.cat(scores)


def _trimmed(inputs: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    """Return some rows, without the columns that are padding in all of them."""
    is_used = inputs["attention_mask"][rows].any(0)
    return {name: values[rows][:, is_used] for name, values in inputs.items()}
