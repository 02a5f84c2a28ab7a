"""Activation checkpointing: activations are computed again in the backward pass, not kept."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Let a model keep few activations, which takes less memory and more time."""
    # The method's name before transformers 5.23 is the second one.
    enable: Any = getattr(model, "activation_checkpointing_enable", None)
    if enable is None:
        enable = model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
