"""Work of a verb on all ranks of a Trainer, which starts them as it does for a fit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning import LightningModule
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from llm_embedder_data.config.instantiating import build

# What a rank does: called with its device, its number, and the number of ranks.
Work = Callable[[torch.device, int, int], None]


def build_bare_trainer(cfg: DictConfig) -> Trainer:
    """Build the trainer that a configuration names, without callbacks, loggers and files."""
    return build(
        cfg.trainer,
        Trainer,
        "trainer",
        callbacks=[],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )


def is_on_accelerator(trainer: Trainer) -> bool:
    """Return whether a trainer computes on an accelerator."""
    return not isinstance(trainer.accelerator, CPUAccelerator)


def run_on_ranks(trainer: Trainer, work: Work) -> None:
    """Start the ranks of a trainer, and run some work on each of them at the same time.

    All ranks wait for each other before the work and behind it.

    Raises:
        Exception: what the work raised on this rank.
    """
    trainer.predict(_WorkModule(work), DataLoader(range(trainer.world_size)))


class _WorkModule(LightningModule):
    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def predict_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        strategy = self.trainer.strategy
        strategy.barrier("before the work")
        self._work(self.device, self.global_rank, self.trainer.world_size)
        strategy.barrier("behind the work")
