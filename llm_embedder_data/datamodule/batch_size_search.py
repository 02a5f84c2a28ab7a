"""Which sizes Lightning's batch-size finder may try, and how its search ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BatchSizeFinder
from lightning.pytorch.utilities import rank_zero_warn

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.open_data.open_data import OpenData
from llm_embedder_data.rows.train_set import TrainSet

# The finder tries a smaller batch only after an out-of-memory error, which it recognizes by the
# quoted words.
_WORDS = (
    'reported to Lightning\'s batch-size finder as "CUDA out of memory", so that it goes back to a '
    "smaller size"
)


class SizeRefused(RuntimeError):
    """A search must not try a size; its message makes the finder try a smaller one."""


class BatchSizeSearch:
    """Decides which sizes of a training batch a search may try.

    A trial trains only on the datasets that follow ``data.batch_size``, not on datasets that set a
    size themselves. A size is refused if it would make a dataset smaller than one global batch that
    was not so before, whatever ``data.small_datasets`` says: otherwise the search would change the
    training data.

    Args:
        train_sets: the training sets by name.
        plan_of: returns the plan of some datasets, given their batch sizes by name.
        batch_size: the batch size before the search.
        say: called with a warning when the search reaches its largest size, or skips datasets.
    """

    def __init__(
        self,
        train_sets: Mapping[str, TrainSet],
        plan_of: Callable[[Mapping[str, int]], EpochPlan],
        batch_size: int,
        say: Callable[[str], None],
    ) -> None:
        self._sets = train_sets
        self._plan_of = plan_of
        self._say = say
        self._followers = [
            name for name, train_set in train_sets.items() if train_set.batch_size is None
        ]
        self._small = self._too_small(batch_size)
        self._first_tried: int | None = None
        self._has_ended = False

    @property
    def has_begun(self) -> bool:
        """Whether a size has been tried."""
        return self._first_tried is not None

    def plan(self, batch_size: int) -> EpochPlan:
        """Return the plan of a trial.

        Raises:
            SizeRefused: the size is too large for the data.
        """
        if self._first_tried is None:
            self._first_tried = batch_size
            self._say_who_does_not_follow()
        if not self._followers:
            if batch_size > self._first_tried:
                raise self._refusal(batch_size, "no dataset would have other batches")
            return self._plan_of(
                {name: train_set.batch_size or 1 for name, train_set in self._sets.items()}
            )
        smaller = [name for name in self._too_small(batch_size) if name not in self._small]
        if smaller:
            rows = ", ".join(f"{name!r} has {len(self._sets[name].kept)} rows" for name in smaller)
            raise self._refusal(batch_size, f"dataset {rows}, fewer than one global batch")
        try:
            return self._plan_of(dict.fromkeys(self._followers, batch_size))
        except ConfigError as error:
            raise self._refusal(batch_size, str(error)) from error

    def _too_small(self, batch_size: int) -> list[str]:
        return [name for name in self._followers if len(self._sets[name].kept) < batch_size]

    def _refusal(self, batch_size: int, reason: str) -> SizeRefused:
        text = f"data.batch_size={batch_size} is too large for these data: {reason}"
        if not self._has_ended:
            self._has_ended = True
            self._say(f"{text}; the search for a batch size tries no larger size")
        return SizeRefused(f"{text} ({_WORDS})")

    def _say_who_does_not_follow(self) -> None:
        others = [name for name in self._sets if name not in self._followers]
        if not others:
            return
        sizes = ", ".join(f"{name!r} ({self._sets[name].batch_size})" for name in others)
        consequence = (
            "its trials train only on the other datasets"
            if self._followers
            else "it has nothing to search for, and ends after one trial"
        )
        self._say(
            "Lightning's batch-size finder sets data.batch_size, but some datasets have a "
            f"batch_size of their own, which does not change: {sizes}; {consequence} (take "
            "batch_size out of a source to let the finder set it)"
        )


# The finder is among the trainer's callbacks when a data module is set up. While it searches, it
# removes all callbacks from the trainer: that is how a search is recognized.


def search_to_come(
    trainer: Any, stage: str | None, data: OpenData, batch_size: int
) -> BatchSizeSearch | None:
    """Return the search that a trainer's batch-size finder will make in this stage; None if none.

    Args:
        trainer: the trainer, if there is one.
        stage: the stage that is set up.
        data: the open data.
        batch_size: the batch size before the search.

    Raises:
        ConfigError: the stage is not fit, and the finder searches for the size of training batches.
    """
    finders = _finders(trainer)
    if stage == "fit":
        if not data.train or not finders:
            return None
        return BatchSizeSearch(data.train, data.plan, batch_size, rank_zero_warn)
    if finders and getattr(finders[0], "_batch_arg_name", None) == "batch_size":
        raise ConfigError(
            f"the batch-size finder searches for data.batch_size, the size of training batches, "
            f"but the trainer is to {stage} (give the finder batch_arg_name='eval_batch_size')"
        )
    return None


def plan_of_trial(
    search: BatchSizeSearch | None, trainer: Trainer | None, batch_size: int, *, resumes: bool
) -> EpochPlan | None:
    """Return the plan of a trial, for the training loader; None if no search is being made.

    Args:
        search: the search that :func:`search_to_come` returned.
        trainer: the trainer that fits.
        batch_size: the size that the finder tries.
        resumes: whether the fit resumes a checkpoint.

    Raises:
        SizeRefused: the size is too large for the data.
        ConfigError: a search cannot be made at this point of the fit.
    """
    if search is None or trainer is None or _finders(trainer):
        return None
    if resumes:
        raise ConfigError(
            "a search for a batch size must begin with a new fit, but this fit resumes a "
            "checkpoint (search first, then resume without the finder)"
        )
    n_steps, n_tried = trainer.global_step, trainer.fit_loop.epoch_loop.max_steps
    if not search.has_begun and 0 < n_tried < n_steps:
        # In Lightning 2.6 the steps of the fit count towards the limit of a trial, which then ends
        # before its first step.
        raise ConfigError(
            f"Lightning's batch-size finder cannot try a size after step {n_steps} of a fit, "
            f"because its trials end at step {n_tried} (search before the first step: give "
            "BatchSizeFinder as a callback, unchanged, or call Tuner.scale_batch_size)"
        )
    return search.plan(batch_size)


def _finders(trainer: Any) -> list[BatchSizeFinder]:
    """Return the batch-size finders among a trainer's callbacks."""
    callbacks = getattr(trainer, "callbacks", ())
    return [callback for callback in callbacks if isinstance(callback, BatchSizeFinder)]
