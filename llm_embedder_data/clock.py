"""Where a Lightning fit stands in the plan: the epoch and step of its next batch."""

from __future__ import annotations

from typing import Any


class EpochClock:
    """Where a Lightning fit stands in the plan, whatever Lightning counts.

    Lightning 2.6.6 miscounts in two cases. A fit that resumes at an epoch's end with ``max_steps``
    and no ``max_epochs`` passes through an epoch without a batch, and counts one too many from then
    on. One that resumes from an epoch's last step, before the epoch's end, counts one too few, and
    a later resume begins its epoch at step 0 once more. Here an epoch counts only when something
    was trained on in it, and its steps are the batches trained on since it was announced.

    Args:
        trainer: that fits.
        start: (epoch, step) at which it begins.
        renumber: whether Lightning, too, is to count the batches of the first epoch from there: the
            checkpoint's count is of other batches.
    """

    def __init__(
        self, trainer: Any, start: tuple[int, int] = (0, 0), *, renumber: bool = False
    ) -> None:
        self.trainer = trainer
        self.is_over = False
        self._renumber = renumber
        self._start = start
        self._epoch = start[0]
        self._announced: int | None = None
        self._n_trained = 0

    def epoch_of(self, announced: int) -> int:
        """The plan's epoch, as the trainer announces one of its own."""
        if self._renumber:
            self._renumber = False
            self._set_lightnings_count(self._start[1])
        n_trained = self._total_trained()
        if self._announced not in (None, announced) and n_trained != self._n_trained:
            self._epoch += 1
        self._announced, self._n_trained = announced, n_trained
        return self._epoch

    def position(self) -> tuple[int, int]:
        """(epoch, step) of the first batch that was not trained on.

        A batch whose training step did not end is not counted, as Lightning does not count it when
        it restarts. The end of an epoch, which ``limit_train_batches`` may bring forward, is the
        beginning of the next; where ``max_steps`` ended a run inside an epoch, a longer run goes on
        inside it.
        """
        first = self._start[1] if self._epoch == self._start[0] else 0
        if self._announced is None or self._total_trained() == self._n_trained:
            return self._epoch, first
        step = first + self._total_trained() - self._n_trained
        return (
            (self._epoch + 1, 0)
            if step >= self.trainer.num_training_batches
            else (self._epoch, step)
        )

    def _set_lightnings_count(self, step: int) -> None:
        loop = self.trainer.fit_loop.epoch_loop
        current = loop.batch_progress.current
        current.ready = current.started = current.processed = step
        # The batch at whose end the checkpoint was written is counted as completed at the restart.
        current.completed = step - loop.restarted_on_train_batch_end

    def _total_trained(self) -> int:
        total: int = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed
        return total
