"""Runs a model in evaluation mode without gradients, and moves its inputs to a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Turn dropout and gradients off, and restore the mode of each module afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def on_device(inputs: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Move the inputs of a model call to a device."""
    return {name: values.to(device) for name, values in inputs.items()}
