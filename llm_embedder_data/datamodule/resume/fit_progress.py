"""The position of a Lightning fit in the plan: the epoch and step of its next batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llm_embedder_data.datamodule.resume.lightning_internals import check_lightning


@dataclass(frozen=True, slots=True)
class TrainerCounts:
    """The trainer's own position when it announces its first epoch, by ``set_epoch``.

    Attributes:
        epoch: the announced epoch.
        step: the next step inside that epoch.
        trained: number of batches trained on so far.
        processed: number of batches counted in the last epoch, even if that epoch is over.
        n_steps: number of steps of an epoch.
    """

    epoch: int
    step: int
    trained: int
    processed: int
    n_steps: float


@dataclass(slots=True)
class _Begun:
    """An epoch that has begun.

    Attributes:
        announced: the number that the trainer gives it.
        trained: number of batches trained on before it.
        epoch: its number in the plan.
        first: the step of the plan at which it began.
    """

    announced: int
    trained: int
    epoch: int
    first: int


class FitProgress:
    """Tracks the position of a Lightning fit in the plan, even where Lightning miscounts.

    Lightning 2.6.6 miscounts epochs in two cases. A fit that resumes at an epoch's end with
    ``max_steps`` and no ``max_epochs`` passes through an epoch without a batch, and counts one
    epoch too many from then on. So an epoch counts here only if a batch was trained on in it, and
    its steps are the batches trained on since it was announced. A fit that resumes from an epoch's
    last step, before the epoch's end, would count one epoch too few; this is corrected in
    Lightning's own counts.

    Some tools reset Lightning's counts: the batch-size finder in each trial, and the learning-rate
    finder at its end. So this class remembers the count at which each epoch began, and derives the
    position from the current count.

    Args:
        trainer: the trainer that fits.
        start: the (epoch, step) at which the fit begins; None for step 0 of the first epoch that
            the trainer announces.
        check: called once with the trainer's counts, before the first batch.
        renumber: whether to set Lightning's count of the first epoch's batches to the step of
            ``start``, because the checkpoint counted batches of another size.
    """

    def __init__(
        self,
        trainer: Any,
        start: tuple[int, int] | None = None,
        *,
        check: Callable[[TrainerCounts], None] | None = None,
        renumber: bool = False,
    ) -> None:
        check_lightning(trainer)
        self.trainer = trainer
        self.is_over = False
        self._start = start
        self._check = check
        self._renumber = renumber
        self._begun: list[_Begun] = []

    def begin(self, announced: int) -> tuple[int, int]:
        """Return the plan's (epoch, step) at which an announced epoch begins."""
        trained = self.trained
        if not self._begun:
            if self._check is not None:
                self._check(self._counts(announced))
            epoch, first = self._start or (announced, 0)
            if self._renumber:
                self._set_lightnings_count(first)
            self._begin_new_epoch()
            self._begun = [_Begun(announced, trained, epoch, first)]
            return epoch, first
        while len(self._begun) > 1 and self._begun[-1].trained > trained:
            self._begun.pop()  # a tool reset the trainer to a point before that epoch
        last = self._begun[-1]
        if trained > last.trained and announced != last.announced:
            last = _Begun(announced, trained, last.epoch + 1, 0)
            self._begun.append(last)
        last.announced, last.trained = announced, trained
        return last.epoch, last.first

    def position(self) -> tuple[int, int]:
        """Return the (epoch, step) of the next batch to train on.

        Like Lightning, this does not count a batch whose training step did not finish. At the end
        of an epoch, which ``limit_train_batches`` or the model may bring forward, the position is
        the beginning of the next epoch. If ``max_steps`` ended a run inside an epoch, a longer run
        continues inside it.
        """
        if not self._begun:
            return self._start or (self.trainer.current_epoch, 0)
        trained = self.trained
        begun = next((epoch for epoch in reversed(self._begun) if epoch.trained <= trained), None)
        if begun is None or begun.trained == trained:
            begun = begun or self._begun[0]
            return begun.epoch, begun.first
        step = begun.first + trained - begun.trained
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        is_over = progress.is_last_batch and progress.current.processed >= progress.current.ready
        if step >= self.trainer.num_training_batches or is_over:
            return begun.epoch + 1, 0
        return begun.epoch, step

    @property
    def trained(self) -> int:
        """The number of batches trained on so far, as the trainer counts them."""
        total: int = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed
        return total

    def _counts(self, announced: int) -> TrainerCounts:
        loop = self.trainer.fit_loop.epoch_loop
        progress, n_steps = loop.batch_progress, self.trainer.num_training_batches
        processed = progress.current.processed
        is_over = progress.is_last_batch and processed >= progress.current.ready
        goes_on = loop.restarting and not is_over and processed < n_steps
        return TrainerCounts(
            announced, processed if goes_on else 0, self.trained, processed, n_steps
        )

    def _begin_new_epoch(self) -> None:
        """Let Lightning begin an epoch if it resumed from the last step of one that is over.

        Lightning 2.6.6 takes the new epoch for the rest of the old one: it would skip
        ``on_train_epoch_start``, and from then on count one epoch too few.
        """
        loop = self.trainer.fit_loop
        current = loop.epoch_progress.current
        if loop.restarted_mid_epoch and current.processed >= current.ready:
            loop.reset_restart_stage()

    def _set_lightnings_count(self, step: int) -> None:
        loop = self.trainer.fit_loop.epoch_loop
        current = loop.batch_progress.current
        current.ready = current.started = current.processed = step
        # If the checkpoint was written at the end of a batch, Lightning counts that batch as
        # completed when it restarts.
        current.completed = step - loop.restarted_on_train_batch_end
