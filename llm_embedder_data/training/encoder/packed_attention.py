"""Attention within each of several texts packed into one row, for transformers encoders."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.training.encoder.attention_dropout import attend_with_dropout

NAME = "llm_embedder_data_packed"

# Neighbouring texts of equal length (a run) are computed in one call without copying. If there are
# more runs than this per length, sort the texts by length first. Sorting copies all vectors, which
# takes longer than a few more calls.
_MOST_RUNS = 2


class AttentionSwitch:
    """Switches an encoder between its original attention and attention for packed rows.

    The attention is not switched back after a batch, because gradient checkpointing computes
    attention again in the backward pass. It is switched only when a batch of the other kind comes.
    An encoder with FlashAttention is left unchanged: FlashAttention supports packed rows.
    """

    def __init__(self, encoder: PreTrainedModel) -> None:
        self._encoder = encoder
        self._original: str = encoder.config._attn_implementation or "eager"

    def set(self, packed: bool) -> None:
        """Prepare the encoder for a batch.

        Args:
            packed: whether the batch is packed.

        Raises:
            ConfigError: the batch is packed and the encoder's attention cannot be replaced.
        """
        if "flash" in self._original or packed == self._is_packed():
            return
        # A model class without this flag has its own attention code, in which each text would
        # attend to the others.
        if not self._encoder._supports_attention_backend:
            raise ConfigError(
                f"data.layout=packed: {type(self._encoder).__name__} takes no attention function, "
                "so the texts of a row would attend to each other (set data.layout to padded or "
                "chunked)"
            )
        self._encoder.set_attn_implementation(NAME if packed else self._original)

    def _is_packed(self) -> bool:
        return bool(self._encoder.config._attn_implementation == NAME)


def position_ids_for(encoder: PreTrainedModel, position_ids: Tensor) -> Tensor:
    """Shift position ids, which start at 0, for encoders such as RoBERTa.

    RoBERTa's positions start after the padding index.
    """
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return position_ids + (0 if module.padding_idx is None else module.padding_idx + 1)
    return position_ids


def text_of_token(bounds: Tensor, n_tokens: int) -> Tensor:
    """Return the text that each token belongs to, ``[T]`` int64, from ``[N+1]`` bounds."""
    texts = torch.arange(len(bounds) - 1, device=bounds.device)
    return texts.repeat_interleave(bounds.diff(), output_size=n_tokens)


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
    """Compute attention within each text of a packed row; transformers calls this in each layer.

    Texts are unpacked only here: padded or, on a CPU, grouped by length. The rest of the model
    works on the packed row.

    Args:
        query: ``[1, H, T, D]``; ``key`` and ``value`` may have fewer heads.
        cu_seq_lens_q: ``[N+1]`` int32, the index of the first token of each text, then T.
        max_length_q: number of tokens of the longest text.

    Returns:
        ``[1, T, H, D]``, and None in place of the attention weights.

    Raises:
        ConfigError: the batch is not packed, or the model adds a term to its scores that this
            function does not compute.
    """
    if cu_seq_lens_q is None or max_length_q is None or attention_mask is not None:
        raise ConfigError(
            f"{type(module).__name__} is set to attention over packed texts, but got texts that "
            "are not packed (encode them with BiEncoder.encode, or call "
            "encoder.set_attn_implementation('sdpa'))"
        )
    terms = [name for name in ("softcap", "position_bias", "s_aux") if kwargs.get(name) is not None]
    if terms:
        raise ConfigError(
            f"data.layout=packed: {type(module).__name__} adds {terms[0]} to its scores, which "
            "packed attention does not support (set data.layout to padded or chunked)"
        )
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    # Grouping by length reads the lengths on the host. With an accelerator, that would make the
    # host wait in every layer.
    attend = attend_by_length if query.device.type == "cpu" else attend_padded
    attended = attend(
        (query, key, value),
        cu_seq_lens_q,
        max_length_q,
        causal=causal,
        window=sliding_window,
        dropout=dropout,
        scaling=scaling,
    )
    return attended[None], None


def attend_by_length(
    vectors: tuple[Tensor, Tensor, Tensor],
    bounds: Tensor,
    longest: int,
    *,
    causal: bool,
    window: int | None,
    dropout: float,
    scaling: float | None,
) -> Tensor:
    """Return attention as ``[T, H, D]``, computed in one call for all texts of the same length.

    No text is padded. The arguments are those of :func:`attend_padded`.
    """
    lengths = bounds.diff()
    sizes, counts = torch.unique_consecutive(lengths, return_counts=True)
    order = None  # [T], the token at each position once the texts are sorted
    if len(sizes) > _MOST_RUNS * len(set(sizes.tolist())):
        order = _tokens_by_length(bounds, vectors[0].shape[2])
        query, key, value = (packed.index_select(2, order) for packed in vectors)
        vectors = query, key, value
        sizes, counts = torch.unique_consecutive(lengths.sort().values, return_counts=True)
    parts = [torch.split(packed[0], (sizes * counts).tolist(), dim=1) for packed in vectors]
    attended = []
    for size, n_texts, *group in zip(sizes.tolist(), counts.tolist(), *parts, strict=True):
        if size == 0:
            continue
        query, key, value = (
            part.reshape(part.shape[0], n_texts, size, part.shape[2]).transpose(0, 1)
            for part in group
        )  # [n, H, L, D]
        masked = (window is not None and window < size) or (causal and dropout > 0)
        visible = _visible(size, causal, window, query.device) if masked else None
        if dropout:
            found = attend_with_dropout(
                query, key, value, visible=visible, dropout=dropout, scaling=scaling
            )
        else:
            found = F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=visible,
                is_causal=causal and not masked,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        attended.append(found.transpose(1, 2).flatten(0, 1))  # [n*L, H, D]
    joined = torch.cat(attended)
    return joined if order is None else joined.index_select(0, order.argsort())


def attend_padded(
    vectors: tuple[Tensor, Tensor, Tensor],
    bounds: Tensor,
    longest: int,
    *,
    causal: bool,
    window: int | None,
    dropout: float,
    scaling: float | None,
) -> Tensor:
    """Return attention as ``[T, H, D]``, computed for all texts at once, padded to the longest.

    Args:
        vectors: query, key and value, ``[1, H, T, D]`` each; the last two may have fewer heads.
        bounds: ``[N+1]`` int32, the index of the first token of each text, then T.
        longest: number of tokens of the longest text.
        causal: whether a token attends only to itself and earlier tokens.
        window: attend only to tokens at a distance below this; None: at any distance.
        dropout: probability of dropping an attention weight.
        scaling: multiplies the scores; None: ``1 / sqrt(D)``.
    """
    n_tokens, device = vectors[0].shape[2], bounds.device
    text = text_of_token(bounds, n_tokens)
    position = torch.arange(n_tokens, device=device) - bounds[text]

    def padded(packed: Tensor) -> Tensor:  # [N, H, L, D]
        n_heads, width = packed.shape[1], packed.shape[3]
        out = packed.new_zeros(len(bounds) - 1, longest, n_heads, width)
        return out.index_put((text, position), packed[0].transpose(0, 1)).transpose(1, 2)

    query, key, value = map(padded, vectors)
    column = torch.arange(longest, device=device)
    visible = (column < bounds.diff()[:, None])[:, None, None]  # [N, 1, 1, L]
    attended = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=visible & _visible(longest, causal, window, device),
        dropout_p=dropout,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended.transpose(1, 2)[text, position]


def _tokens_by_length(bounds: Tensor, n_tokens: int) -> Tensor:
    """Return the tokens of a packed row, ``[T]`` int64, ordered by the length of their texts."""
    lengths = bounds.diff()
    order = lengths.argsort(stable=True)
    lengths = lengths[order]
    begins = lengths.cumsum(0) - lengths
    shift = (bounds[:-1][order] - begins).repeat_interleave(lengths, output_size=n_tokens)
    return torch.arange(n_tokens) + shift


def _visible(size: int, causal: bool, window: int | None, device: torch.device) -> Tensor:
    """Return whether token i of a text attends to token j, ``[L, L]`` bool."""
    column = torch.arange(size, device=device)
    distance = column[:, None] - column
    visible = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    return visible if window is None else visible & (distance.abs() < window)


AttentionInterface.register(NAME, packed_attention)
