"""The position of a fit in the data: its start, its progress, and its state in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.core.printable import printable
from llm_embedder_data.datamodule.resume.checkpoint_state import (
    check_agrees,
    check_same_run,
    continued,
    make_state,
    read_state,
)
from llm_embedder_data.datamodule.resume.fit_progress import FitProgress
from llm_embedder_data.datamodule.resume.run_fingerprint import RunFingerprint
from llm_embedder_data.datamodule.settings.settings import OnOtherGlobalBatch


@dataclass(frozen=True, slots=True)
class FitStart:
    """The start of a fit, for the sampler of its training loader.

    Attributes:
        plan: the plan of the epoch in which the fit begins.
        start: the (epoch, step) of the first batch.
        place_of: maps an epoch of the trainer to the plan's (epoch, first step); None without a
            trainer.
    """

    plan: EpochPlan
    start: tuple[int, int]
    place_of: Callable[[int], tuple[int, int]] | None


class FitPosition:
    """The position of the current fit, and of the checkpoint that it resumes."""

    def __init__(self) -> None:
        self._resumed: dict[str, Any] | None = None
        self._progress: FitProgress | None = None
        self._plan: EpochPlan | None = None
        # How the epoch began, if it began with other global batches; see Continued.
        self._began: dict[str, Any] | None = None
        self._last_state: dict[str, Any] | None = None

    @property
    def resumes(self) -> bool:
        """Whether the fit resumes a checkpoint."""
        return self._resumed is not None

    def forget_finished_fit(self) -> None:
        """Forget the progress of the last fit if it is over, because another one begins."""
        if self._progress is not None and self._progress.is_over:
            self._progress = None

    def forget_checkpoint(self) -> None:
        """Forget the checkpoint's position: it applies to one fit only."""
        self._resumed = None

    def end(self) -> None:
        """End the fit."""
        self._resumed = None
        if self._progress is not None:
            self._progress.is_over = True

    def begin(
        self,
        plan: EpochPlan,
        trainer: Trainer | None,
        *,
        fingerprint: Callable[[EpochPlan], RunFingerprint],
        plan_of: Callable[[Mapping[str, int]], EpochPlan],
        on_other_global_batch: OnOtherGlobalBatch,
    ) -> FitStart:
        """Return where the training loader begins.

        Args:
            plan: the plan of this run.
            trainer: the trainer that fits; None in a custom loop.
            fingerprint: takes the fingerprint of this run under a plan.
            plan_of: returns the plan with other global batches, given by dataset.
            on_other_global_batch: the setting of that name.

        Raises:
            ConfigError: the fit would not continue the checkpoint's batches.
        """
        start, renumber, state, self._began = (0, 0), False, self._resumed, None
        progress = self._progress
        is_new = progress is None or progress.trainer is not trainer or progress.is_over
        if state is not None:
            layout_note = None
            # Compare only at the start of a fit: later, negatives may have been exchanged.
            if is_new or trainer is None:
                layout_note = check_same_run(state, fingerprint(plan), on_other_global_batch)
            limit = trainer.limit_train_batches if trainer else 1.0
            going_on = continued(state, plan, plan_of, limit)
            plan, start, self._began = going_on.plan, going_on.start, going_on.began
            renumber = going_on.note is not None
            for note in (layout_note, going_on.note):
                if note is not None:
                    rank_zero_warn(printable(note))
        self._plan = plan
        if trainer is None:
            return FitStart(plan, start, None)
        if progress is None or is_new:
            progress = self._progress = FitProgress(
                trainer,
                None if state is None else start,
                check=partial(check_agrees, state),
                renumber=renumber,
            )
            self._last_state = None
        return FitStart(plan, progress.position(), progress.begin)

    def state(
        self,
        plan: Callable[[], EpochPlan],
        fingerprint: Callable[[EpochPlan], RunFingerprint],
        exchanged: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the state for a checkpoint; empty outside of a fit.

        Args:
            plan: returns the plan of this run; called if the fit has no training loader yet.
            fingerprint: takes the fingerprint of this run under a plan.
            exchanged: files of negatives that this fit has exchanged.
        """
        progress = self._progress
        if progress is None:
            return {}
        found = fingerprint(self._plan or plan())
        self._last_state = make_state(
            progress.position(), progress.trained, found, self._began, exchanged
        )
        return self._last_state

    def load(self, state: Any) -> bool:
        """Keep a checkpoint's state for the fit; return whether the loader must be made again.

        Tools such as the batch-size finder save and restore a state inside a fit. There is nothing
        to do then, because the progress of the fit follows the trainer's own counts.

        Raises:
            ConfigError: the state is damaged, or a later version wrote it.
        """
        if self._was_written_in_this_fit(state):
            return False
        self._resumed, self._progress = read_state(state), None
        return True

    def _was_written_in_this_fit(self, state: Any) -> bool:
        if self._progress is None or self._progress.is_over or self._last_state is None:
            return False
        digest = state.get("digest") if isinstance(state, Mapping) else None
        return isinstance(digest, str) and digest == self._last_state["digest"]
