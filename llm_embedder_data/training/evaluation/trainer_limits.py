"""The loaders of the running evaluation, and the trainer's limits, such as limit_val_batches."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.trainer.states import TrainerFn


def is_limited(trainer: lightning.Trainer, loader_index: int) -> bool:
    """Return whether the running evaluation takes fewer batches of a loader than it has.

    Args:
        trainer: a trainer that is evaluating.
        loader_index: index of the loader, Lightning's ``dataloader_idx``.
    """
    loop = _running_loop(trainer)
    n_batches = sized_len(running_loaders(trainer)[loader_index])
    return n_batches is not None and loop.max_batches[loader_index] < n_batches


def running_loaders(trainer: lightning.Trainer) -> list[Any]:
    """Return the loaders of the running evaluation, in the order of ``dataloader_idx``."""
    combined = _running_loop(trainer)._combined_loader
    return [] if combined is None else list(combined.flattened)


def limiting_setting(trainer: lightning.Trainer) -> str:
    """Return the setting that limits batches, such as ``trainer.limit_val_batches=2``."""
    name = "limit_test_batches" if trainer.testing else "limit_val_batches"
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        name = "fast_dev_run"
    elif trainer.overfit_batches and not trainer.testing:  # type: ignore[attr-defined]
        name = "overfit_batches"
    return f"trainer.{name}={getattr(trainer, name)}"


def _running_loop(trainer: lightning.Trainer) -> Any:
    if trainer.testing:
        return trainer.test_loop
    if trainer.state.fn == TrainerFn.VALIDATING:
        return trainer.validate_loop
    return trainer.fit_loop.epoch_loop.val_loop
