"""Compares the maximum lengths of texts with what the model takes, according to its tokenizer."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from llm_embedder_data.datamodule.settings.settings import DataSettings


def notes_on_lengths(tokenizer: PreTrainedTokenizerBase, settings: DataSettings) -> list[str]:
    """Return warnings about maximum lengths that exceed the tokenizer's ``model_max_length``."""
    limit = tokenizer.model_max_length
    if not isinstance(limit, int | float):
        return []
    return [
        f"{name}={length}: according to its tokenizer (model_max_length), the model takes "
        f"{limit} tokens; set {name} to that or less, or set the tokenizer's model_max_length "
        "if the model takes more"
        for name, (length, _) in settings.longest_inputs().items()
        if length > limit
    ]
