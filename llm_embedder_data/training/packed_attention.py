"""Attention over texts packed in one row, for encoders of transformers on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from llm_embedder_data.core.errors import ConfigError

NAME = "llm_embedder_data_packed"


class AttentionSwitch:
    """Has an encoder attend within each text of a packed row, and otherwise as it did before.

    It stays switched until a batch of the other kind comes: gradient checkpointing attends once
    more in the backward pass. An encoder with FlashAttention keeps it, which knows packed rows.
    """

    def __init__(self, encoder: PreTrainedModel) -> None:
        self._encoder = encoder
        self._own: str = encoder.config._attn_implementation or "eager"

    def set(self, packed: bool) -> None:
        """Get ready for a batch.

        Raises:
            ConfigError: packed texts, and an encoder that takes no attention function.
        """
        if "flash" in self._own or packed == self._is_packed():
            return
        # A class that does not say so computes attention itself, and would mix the texts.
        if not self._encoder._supports_attention_backend:
            raise ConfigError(
                f"data.layout=packed: {type(self._encoder).__name__} takes no attention function, "
                "and would mix the texts of a row (set data.layout to padded or chunked)"
            )
        self._encoder.set_attn_implementation(NAME if packed else self._own)

    def _is_packed(self) -> bool:
        return bool(self._encoder.config._attn_implementation == NAME)


def positions(encoder: PreTrainedModel, position_ids: Tensor) -> Tensor:
    """The positions of tokens as an encoder counts them: RoBERTa's begin behind its padding id."""
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return position_ids + (0 if module.padding_idx is None else module.padding_idx + 1)
    return position_ids


def text_of_token(bounds: Tensor, n_tokens: int) -> Tensor:
    """``[T]`` int64, the text that each token is of, from ``[N+1]`` bounds."""
    numbers = torch.arange(len(bounds) - 1, device=bounds.device)
    return numbers.repeat_interleave(bounds.diff(), output_size=n_tokens)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of each text of a packed row to itself: padded here, and nowhere else in a model.

    Args:
        query: ``[1, H, T, D]``; ``key`` and ``value`` may have fewer heads.
        cu_seq_lens_q: ``[N+1]`` int32, where each text begins.
        max_length_q: tokens of the longest.

    Returns:
        ``[1, T, H, D]``, and None in place of the weights.

    Raises:
        ConfigError: a batch that is not packed, or a term of the scores that is not computed here.
    """
    if cu_seq_lens_q is None or max_length_q is None or attention_mask is not None:
        raise ConfigError(
            f"{type(module).__name__} was set to attention over packed texts and got others "
            "(encode them with BiEncoder.encode, or call encoder.set_attn_implementation('sdpa'))"
        )
    terms = [name for name in ("softcap", "position_bias", "s_aux") if kwargs.get(name) is not None]
    if terms:
        raise ConfigError(
            f"data.layout=packed: {type(module).__name__} adds {terms[0]} to its scores, which "
            "packed attention has not (set data.layout to padded or chunked)"
        )
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    n_tokens, device = query.shape[2], query.device
    text = text_of_token(cu_seq_lens_q, n_tokens)
    place = torch.arange(n_tokens, device=device) - cu_seq_lens_q[text]

    def padded(packed: Tensor) -> Tensor:  # [N, H, L, D]
        n_heads, width = packed.shape[1], packed.shape[3]
        out = packed.new_zeros(len(cu_seq_lens_q) - 1, max_length_q, n_heads, width)
        return out.index_put((text, place), packed[0].transpose(0, 1)).transpose(1, 2)

    column = torch.arange(max_length_q, device=device)
    seen = (column < cu_seq_lens_q.diff()[:, None])[:, None, None]  # [N, 1, 1, L]
    back = column[:, None] - column  # [L, L]
    if causal:
        seen = seen & (back >= 0)
    if sliding_window is not None:
        seen = seen & (back.abs() < sliding_window)
    attended = F.scaled_dot_product_attention(
        padded(query),
        padded(key),
        padded(value),
        attn_mask=seen,
        dropout_p=dropout,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended.transpose(1, 2)[text, place][None], None


AttentionInterface.register(NAME, packed_attention)
