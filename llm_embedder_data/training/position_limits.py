"""Texts that may be longer than an encoder takes are refused before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import nn

from llm_embedder_data.core.errors import ConfigError

# What transformers' models call a table of positions.
_TABLES = {"position_embeddings", "position_embedding", "embed_positions", "wpe"}


@runtime_checkable
class GivesLongestInputs(Protocol):
    """A data module that says how long its texts may be, as RetrievalDataModule does."""

    def longest_inputs(self) -> dict[str, tuple[int, int]]:
        """By setting: tokens of a text, and columns of a batch, at most."""


def check_positions(encoder: nn.Module, longest: Mapping[str, tuple[int, int]]) -> list[str]:
    """Compare how long texts may be with the positions that an encoder has.

    Args:
        encoder: of transformers, also wrapped.
        longest: what :class:`GivesLongestInputs` gives.

    Returns:
        Sentences to be said: the encoder takes such texts, but was not made for them.

    Raises:
        ConfigError: a text may be longer than the encoder's table of positions.
    """
    kind = type(encoder).__name__
    tables = [
        one
        for name, one in encoder.named_modules()
        if name.rpartition(".")[2] in _TABLES and isinstance(one, nn.Embedding)
    ]
    for table in tables:
        # RoBERTa and its like count from behind the padding's position, and give padding that one.
        skipped = 0 if table.padding_idx is None else table.padding_idx + 1
        limit = table.num_embeddings - skipped - int(getattr(table, "offset", 0))
        for setting, (n_tokens, n_columns) in longest.items():
            wanted = n_tokens if skipped else n_columns
            if wanted > limit:
                padded = "" if wanted == n_tokens else f", padded to {n_columns}"
                raise ConfigError(
                    f"{setting}={n_tokens}{padded}: the encoder {kind} has positions for {limit} "
                    f"tokens (set {setting} to at most {limit}"
                    + (", and data.pad_to_multiple_of to a divisor of it)" if padded else ")")
                )
    made_for: Any = getattr(getattr(encoder, "config", None), "max_position_embeddings", None)
    if tables or not isinstance(made_for, int) or made_for < 1:
        return []
    return [
        f"{setting}={n_tokens}: the encoder {kind} was made for {made_for} tokens at most "
        f"(max_position_embeddings); set {setting} to that or less, unless it is known to take more"
        for setting, (n_tokens, _) in longest.items()
        if n_tokens > made_for
    ]
