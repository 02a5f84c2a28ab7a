"""What Lightning's batch-size finder may try, and how its search is brought to an end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.rows.train_sets import TrainSet

# The finder makes a batch smaller on no other error than one of memory, and knows it by its words.
_WORDS = 'said to Lightning\'s batch-size finder as "CUDA out of memory", on which it goes back'


class BatchSizeSearch:
    """Which sizes of a training batch a search may try.

    A trial's batches are of the datasets that follow ``data.batch_size``, for those that have a
    size of their own say nothing about it. A size at which another dataset would be smaller than
    one global batch does not fit, whatever ``data.small_datasets`` says: the search would change
    what is trained on.

    Args:
        train_sets: by name.
        plan_of: the plan of some datasets at a batch size, by name.
        batch_size: in force as the search begins.
        say: told once why the search stops to grow, and whom it does not concern.
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
        self._followers = [name for name, one in train_sets.items() if one.batch_size is None]
        self._small = self._too_small(batch_size)
        self._first_tried: int | None = None
        self._has_ended = False

    @property
    def has_begun(self) -> bool:
        """Whether a size was tried."""
        return self._first_tried is not None

    def plan(self, batch_size: int) -> EpochPlan:
        """Of a trial's batches.

        Raises:
            RuntimeError: the size does not fit, in words on which the finder makes it smaller.
        """
        if self._first_tried is None:
            self._first_tried = batch_size
            self._say_who_does_not_follow()
        if not self._followers:
            if batch_size > self._first_tried:
                raise self._refusal(batch_size, "no dataset would have other batches")
            return self._plan_of({name: one.batch_size or 1 for name, one in self._sets.items()})
        smaller = [one for one in self._too_small(batch_size) if one not in self._small]
        if smaller:
            rows = ", ".join(f"{name!r} has {len(self._sets[name].kept)} rows" for name in smaller)
            raise self._refusal(batch_size, f"dataset {rows}, fewer than one global batch")
        try:
            return self._plan_of(dict.fromkeys(self._followers, batch_size))
        except ConfigError as error:
            raise self._refusal(batch_size, str(error)) from error

    def _too_small(self, batch_size: int) -> list[str]:
        return [name for name in self._followers if len(self._sets[name].kept) < batch_size]

    def _refusal(self, batch_size: int, reason: str) -> RuntimeError:
        text = f"data.batch_size={batch_size} is no size for these data: {reason}"
        if not self._has_ended:
            self._has_ended = True
            self._say(f"{text}; the search for a batch size tries no greater one")
        return RuntimeError(f"{text} ({_WORDS})")

    def _say_who_does_not_follow(self) -> None:
        others = [name for name in self._sets if name not in self._followers]
        if not others:
            return
        sizes = ", ".join(f"{name!r} ({self._sets[name].batch_size})" for name in others)
        what = (
            "its trials train on the other datasets alone"
            if self._followers
            else "it has nothing to search for, and ends after a trial"
        )
        self._say(
            "Lightning's batch-size finder sets data.batch_size, but some datasets have a "
            f"batch_size of their own, which stays: {sizes}; {what} (take batch_size out of a "
            "source to let the finder set it)"
        )
