"""Checks, before training starts, that an encoder has positions for the longest texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from llm_embedder_data.core.errors import ConfigError

# Names of position embedding tables in transformers models.
_TABLE_NAMES = {"position_embeddings", "position_embedding", "embed_positions", "wpe"}


def check_positions(encoder: nn.Module, longest: Mapping[str, tuple[int, int]]) -> list[str]:
    """Check that texts fit the positions of an encoder.

    Args:
        encoder: a transformers model, possibly wrapped.
        longest: the maximum number of tokens of a text, and of columns of a batch, by the setting
            that determines them.

    Returns:
        Warnings about texts that the encoder accepts although it was trained on shorter ones.

    Raises:
        ConfigError: a text can be longer than the encoder's table of position embeddings.
    """
    kind = type(encoder).__name__
    tables = _tables(encoder)
    for table in tables:
        skipped, limit = _skipped(table), _limit(table)
        for setting, (n_tokens, n_columns) in longest.items():
            needed = n_tokens if skipped else n_columns
            if needed > limit:
                padded = "" if needed == n_tokens else f", padded to {n_columns}"
                raise ConfigError(
                    f"{setting}={n_tokens}{padded}: the encoder {kind} has positions for {limit} "
                    f"tokens (set {setting} to at most {limit}"
                    + (", and data.pad_to_multiple_of to a divisor of it)" if padded else ")")
                )
    trained_for: Any = getattr(getattr(encoder, "config", None), "max_position_embeddings", None)
    if tables or not isinstance(trained_for, int) or trained_for < 1:
        return []
    return [
        f"{setting}={n_tokens}: the encoder {kind} was made for {trained_for} tokens at most "
        f"(max_position_embeddings); set {setting} to that or less, unless you know that the "
        "encoder works with more"
        for setting, (n_tokens, _) in longest.items()
        if n_tokens > trained_for
    ]


def most_positions(encoder: nn.Module) -> int | None:
    """Return the number of tokens that an encoder has positions for; None if unknown."""
    limits = [_limit(table) for table in _tables(encoder)]
    stated: Any = getattr(getattr(encoder, "config", None), "max_position_embeddings", None)
    if not limits and isinstance(stated, int) and stated > 0:
        limits.append(stated)
    return min(limits, default=None)


def _tables(encoder: nn.Module) -> list[nn.Embedding]:
    return [
        module
        for name, module in encoder.named_modules()
        if name.rpartition(".")[2] in _TABLE_NAMES and isinstance(module, nn.Embedding)
    ]


def _skipped(table: nn.Embedding) -> int:
    """Return the number of positions at the start of a table that are not used for tokens.

    In RoBERTa-like models all padding tokens get the position of the padding index, and other
    tokens the positions after it. So in these models padding uses up no positions.
    """
    return 0 if table.padding_idx is None else table.padding_idx + 1


def _limit(table: nn.Embedding) -> int:
    return table.num_embeddings - _skipped(table) - int(getattr(table, "offset", 0))
