"""RequeueBetweenSteps: lets a Slurm job write its last checkpoint between two steps."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class RequeueBetweenSteps(Callback):
    """Delays Lightning's handler of Slurm's signal to the end of a step, the same on all ranks.

    Slurm sends a signal before it ends a job. Lightning's handler then saves a checkpoint and
    requeues the job at once. In the middle of a step, the weights may be updated already while the
    batch still counts as not trained on. So the requeued job would train on it twice. Also, ranks
    may receive the signal in different steps.

    This callback calls Lightning's handler only at the end of a step. After each step, the ranks
    exchange whether any of them received the signal, as Lightning does for SIGTERM. During
    validation the handler is called at once. After the handler, all ranks wait for the end of the
    job: if a rank ended in the middle of a step, its closed connections would make others fail.
    Without Slurm, or if no handler is set for the signal, the callback does nothing.

    Args:
        requeue_signal: number of the signal that Slurm sends; None for Lightning's default,
            SIGUSR1.
        patience: seconds to wait for the end of the job. After that, training continues.
    """

    def __init__(self, requeue_signal: int | None = None, patience: float = 60.0) -> None:
        # Windows, which has no Slurm, lacks SIGUSR1.
        default: int = getattr(signal, "SIGUSR1", signal.SIGTERM)
        self._signal = default if requeue_signal is None else requeue_signal
        self._patience = patience
        self._handler: Any = None
        self._is_signalled = False
        self._is_validating = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the handler that Lightning has set."""
        handler = signal.getsignal(self._signal)
        if "SLURM_JOB_ID" in os.environ and callable(handler):
            self._handler = handler
            signal.signal(self._signal, self._on_signal)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Call Lightning's handler if any rank received the signal."""
        if self._handler is None:
            return
        if trainer.strategy.reduce_boolean_decision(self._is_signalled, all=False):
            self._is_signalled = False
            self._handler(self._signal, None)
            until = time.monotonic() + self._patience
            while time.monotonic() < until and not trainer.received_sigterm:
                time.sleep(0.1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that no step is running."""
        self._is_validating = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that steps may be running again."""
        self._is_validating = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore Lightning's handler, if it was replaced."""
        if self._handler is not None and signal.getsignal(self._signal) == self._on_signal:
            signal.signal(self._signal, self._handler)
        self._handler = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_validating:
            self._handler(number, frame)
        else:
            self._is_signalled = True
