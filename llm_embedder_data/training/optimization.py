"""AdamW, and a learning rate that warms up and then follows a schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from llm_embedder_data.core.errors import ConfigError

Schedule = Literal["linear", "cosine", "constant"]


def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    weight_decay: float,
    may_fuse: bool = False,
) -> torch.optim.AdamW:
    """Return AdamW for the trainable parameters, without weight decay for biases and norms.

    Args:
        parameters: the model's parameters.
        learning_rate: peak learning rate.
        weight_decay: weight decay of all trained weights except biases and norms.
        may_fuse: whether to use torch's fused optimizer step if all weights are on a CPU, where it
            takes a third of the time. Leave it off with mixed precision, because Lightning then
            cannot clip gradients.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},  # biases, norms
    ]
    on_cpu = all(parameter.device.type == "cpu" for parameter in trained)
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True if may_fuse and on_cpu else None)


def warmup_schedule(
    optimizer: torch.optim.Optimizer, n_steps: float, *, warmup_ratio: float, schedule: Schedule
) -> LRScheduler:
    """Return a scheduler to step after every optimizer step.

    Args:
        optimizer: the optimizer; its learning rate is the highest that the schedule reaches.
        n_steps: number of optimizer steps of the fit; infinite if the fit has no limit.
        warmup_ratio: share of the steps in which the learning rate rises from 0, in [0, 1].
        schedule: how the learning rate falls to 0 after the warmup, or ``constant``.

    Raises:
        ConfigError: ``n_steps`` is infinite.
    """
    if math.isinf(n_steps):
        raise ConfigError(
            f"model.schedule={schedule!r} with model.warmup_ratio={warmup_ratio}: "
            "the schedule needs the number of steps, but the run has no end (set "
            "trainer.max_steps or trainer.max_epochs, or model.schedule=constant and "
            "model.warmup_ratio=0)"
        )
    scheduler: LRScheduler = get_scheduler(
        "constant_with_warmup" if schedule == "constant" else schedule,
        optimizer,
        num_warmup_steps=math.ceil(n_steps * warmup_ratio),
        num_training_steps=int(n_steps),
    )
    return scheduler
