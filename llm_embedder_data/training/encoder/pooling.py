"""Pooling: turns the vectors of a text's tokens into one vector for the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from llm_embedder_data.batches.tokens.model_inputs import layout_of
from llm_embedder_data.config.pooling_modes import PoolingMode
from llm_embedder_data.training.encoder.packed_attention import text_of_token


def pool(
    hidden: Tensor, attention_mask: Tensor, pooling: PoolingMode, prompt_length: int | Tensor = 0
) -> Tensor:
    """Return a vector for each text of a padded batch, ignoring padding on either side.

    Args:
        hidden: ``[N, L, D]``.
        attention_mask: ``[N, L]`` int64, 0 where a token is padding.
        pooling: ``cls``: the first token; ``mean``: the mean of all tokens; ``last``: the last
            token.
        prompt_length: number of tokens at the start of each text that ``mean`` leaves out; one
            number, or ``[N]`` int64.

    Returns:
        ``[N, D]``.

    >>> hidden, mask = torch.tensor([[[9.0], [1.0], [3.0]]]), torch.tensor([[0, 1, 1]])
    >>> [pool(hidden, mask, mode).item() for mode in ("cls", "mean", "last")]
    [1.0, 2.0, 3.0]
    """
    if pooling == "mean":
        if isinstance(prompt_length, Tensor):
            prompt_length = prompt_length[:, None]
        counted = attention_mask.bool() & (attention_mask.cumsum(1) > prompt_length)  # [N, L]
        total = hidden.masked_fill(~counted[:, :, None], 0.0).sum(1)
        return total / counted.sum(1, keepdim=True).clamp(min=1)
    if pooling == "cls":
        position = attention_mask.argmax(1)  # [N], the position of the first 1
    else:
        position = attention_mask.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), position]


def pool_packed(
    hidden: Tensor, bounds: Tensor, pooling: PoolingMode, prompt_length: int | Tensor = 0
) -> Tensor:
    """Return a vector for each text of a packed row, as :func:`pool` does for a padded batch.

    Args:
        hidden: ``[T, D]``.
        bounds: ``[N+1]`` int, the index of the first token of each text, then T.
        pooling: as in :func:`pool`.
        prompt_length: as in :func:`pool`.

    Returns:
        ``[N, D]``; zeros for a text without tokens.

    >>> hidden, bounds = torch.tensor([[9.0], [1.0], [3.0]]), torch.tensor([0, 1, 3])
    >>> [pool_packed(hidden, bounds, mode).tolist() for mode in ("cls", "mean", "last")]
    [[[9.0], [1.0]], [[9.0], [2.0]], [[9.0], [3.0]]]
    """
    lengths = bounds.diff()[:, None]  # [N, 1]
    if pooling == "mean":
        text = text_of_token(bounds, len(hidden))
        if isinstance(prompt_length, Tensor) or prompt_length:
            left_out = torch.zeros_like(lengths) + (
                prompt_length[:, None] if isinstance(prompt_length, Tensor) else prompt_length
            )  # [N, 1]
            position = torch.arange(len(hidden), device=hidden.device) - bounds[text]
            hidden = hidden.masked_fill(position[:, None] < left_out[text], 0.0)
            lengths = lengths - left_out
        total = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, text, hidden)
        return total / lengths.clamp(min=1)
    token = bounds[:-1] if pooling == "cls" else bounds[1:] - 1
    return hidden[token.clamp(0, len(hidden) - 1)].masked_fill(lengths == 0, 0.0)


def prompt_length_of_calls(
    calls: Sequence[Mapping[str, Any]], inverse: Tensor | None, prompt_length: int | Tensor
) -> list[int | Tensor]:
    """Return the prompt lengths of the texts of each call of an encoder.

    Args:
        calls: the inputs of each call.
        inverse: ``[N]`` int64, the row of each text among the rows of all calls; None: text i is in
            row i.
        prompt_length: number of prompt tokens of a text: one number, or ``[N]`` int64.
    """
    if not isinstance(prompt_length, Tensor):
        return [prompt_length] * len(calls)
    sizes = [
        len(call["cu_seq_lens_q"]) - 1 if layout_of(call) == "packed" else len(call["input_ids"])
        for call in calls
    ]
    if inverse is None:
        return list(torch.split(prompt_length, sizes))
    of_rows = prompt_length.new_zeros(sum(sizes))
    of_rows[inverse] = prompt_length  # texts that share a row have the same instruction
    return list(torch.split(of_rows, sizes))
