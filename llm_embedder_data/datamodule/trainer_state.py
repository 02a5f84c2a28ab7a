"""What a data module asks of its trainer; the answers without a trainer are None and False."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer


def stage_of(trainer: Any) -> str | None:
    """Return what the trainer is called for: fit, validate, test or predict; None if nothing is."""
    state = getattr(trainer, "state", None)
    return None if state is None or state.fn is None else str(state.fn.value)


def is_running(trainer: Any) -> bool:
    """Return whether a trainer is running. If so, it will call teardown() or on_exception()."""
    state = getattr(trainer, "state", None)
    return getattr(state, "status", None) == "running"


def fitting_trainer(trainer: Any) -> Trainer | None:
    """Return the trainer if it is one of Lightning, with a fit loop; stand-ins have none."""
    return trainer if trainer is not None and hasattr(trainer, "fit_loop") else None
