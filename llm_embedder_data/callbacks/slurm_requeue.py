"""Under Slurm, the checkpoint of a job that is about to end is written between two steps."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class RequeueBetweenSteps(Callback):
    """Has Lightning answer Slurm's signal at the end of a step, at the same one on all ranks.

    Lightning writes its checkpoint and requeues the job at once, wherever the signal meets it. If
    that is within a step, its weights are changed already but its batch counts as not trained on:
    the requeued job trains on it twice. And ranks may be met in different steps.

    Without Slurm, or without a handler for the signal, nothing is done. With one, the ranks agree
    once a step whether any of them was met, as Lightning does about SIGTERM. While validation
    runs, the signal is answered at once. After the answer they wait for the end of the job: one
    that is ended within a step breaks the connections of the others.

    Args:
        requeue_signal: that Slurm sends; None for Lightning's default, SIGUSR1.
        patience: seconds to wait for the end of the job; if it does not come, training goes on.
    """

    def __init__(self, requeue_signal: int | None = None, patience: float = 60.0) -> None:
        # Systems on which there is no Slurm may lack SIGUSR1.
        default: int = getattr(signal, "SIGUSR1", signal.SIGTERM)
        self._signal = default if requeue_signal is None else requeue_signal
        self._patience = patience
        self._answer: Any = None
        self._is_asked = False
        self._is_validating = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of the handler that Lightning has set up."""
        handler = signal.getsignal(self._signal)
        if "SLURM_JOB_ID" in os.environ and callable(handler):
            self._answer = handler
            signal.signal(self._signal, self._ask)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Answer, if any rank was asked."""
        if self._answer is None:
            return
        if trainer.strategy.reduce_boolean_decision(self._is_asked, all=False):
            self._is_asked = False
            self._answer(self._signal, None)
            until = time.monotonic() + self._patience
            while time.monotonic() < until and not trainer.received_sigterm:
                time.sleep(0.1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """No step is under way from here on."""
        self._is_validating = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Steps follow."""
        self._is_validating = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the handler its place again, if it was taken."""
        if self._answer is not None and signal.getsignal(self._signal) == self._ask:
            signal.signal(self._signal, self._answer)
        self._answer = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._is_validating:
            self._answer(number, frame)
        else:
            self._is_asked = True
