"""The rest of an epoch that another run began, cut into this run's global batches.

This is how a run resumes in the middle of an epoch with another batch size or number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan, PlannedBatch


class RestOfEpoch(EpochPlan):
    """A plan for an epoch that another run began; this run alone plans all other epochs.

    For each pass over a dataset, the rows that the other run did not reach are taken in their
    planned order and cut into this run's global batches. Rows at the end of a pass that do not fill
    a global batch are left out. The batches are shuffled (with a shuffle window, the batches of a
    pass stay in order) and become the steps ``first`` to ``first + n_left - 1``, so no row of a
    pass comes twice in the epoch. All other steps of the epoch are those of this run's plan.

    Construction takes O(remaining steps) time and memory. A step costs as much as the old global
    batches that its rows come from.

    Args:
        plan: this run's plan of the epoch.
        before: the other run's plan of the epoch; may be a :class:`RestOfEpoch` itself.
        step: the first step of ``before`` that was not trained on.
        first: step of this run at which the rest begins; None makes the rest end with the epoch.

    Attributes:
        first: the step at which the rest begins.
        n_left: number of steps of the rest; 0 if the remaining rows fill no global batch.
        n_rows: number of rows that the other run did not reach.
        n_left_out: how many of these rows come in no step.
    """

    first: int
    n_left: int

    def __init__(
        self, plan: EpochPlan, before: EpochPlan, step: int, first: int | None = None
    ) -> None:
        vars(self).update(vars(plan))
        self._own, self._before = plan, before
        self._passes = _unreached(plan, before, step)
        # The order of the batches is itself a plan: its "rows" are batches, one per step, and its
        # "datasets" are the passes, named by number. With a shuffle window its "datasets" are the
        # real datasets, so that the batches of a dataset's passes come one after another.
        self._turn_of: dict[str, list[_RestOfPass]] = {}
        for number, rest in enumerate(self._passes):
            if rest.n_batches:
                name = str(number) if plan.shuffle_window is None else rest.dataset
                self._turn_of.setdefault(name, []).append(rest)
        self._turns = (
            EpochPlan(
                {
                    name: sum(rest.n_batches for rest in passes)
                    for name, passes in self._turn_of.items()
                },
                batch_size=1,
                seed=plan.seed,
                epoch=plan.epoch,
                shuffle_window=plan.shuffle_window,
            )
            if self._turn_of
            else None
        )
        # With a fractional weight, more steps may be left than an epoch of this run has.
        self.n_left = min(len(plan), sum(rest.n_batches for rest in self._passes))
        self.first = len(plan) - self.n_left if first is None else first
        self.n_rows = sum(rest.n_rows for rest in self._passes)

    @property
    def n_left_out(self) -> int:
        steps = range(self.first, self.first + self.n_left)
        return self.n_rows - sum(len(batch.rows) for batch in self.batches(steps))

    def at(self, epoch: int) -> EpochPlan:
        """Return the plan of another epoch, made by this run alone."""
        return self if epoch == self.epoch else self._own.at(epoch)

    def steps_with(self, dataset: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return all steps, because the steps of the rest cannot be found by their rows."""
        return np.arange(len(self))

    def batches(self, steps: Sequence[int], rank: int | None = None) -> Iterator[PlannedBatch]:
        """Yield the batches of ``steps``, whole or one rank's share."""
        for step in steps:
            if 0 <= step - self.first < self.n_left:
                yield self._left(step - self.first, rank)
            else:
                yield from self._own.batches([step], rank)

    def _left(self, position: int, rank: int | None) -> PlannedBatch:
        rest, block = self._batch_of_pass(position)
        dataset = rest.dataset
        size, old_size = self.global_batch(dataset), self._before.global_batch(dataset)
        share = slice(None)
        if rank is not None:
            per_rank = self.batch_size[dataset]
            share = slice(rank * per_rank, (rank + 1) * per_rank)
        at, within = np.divmod(block * size + np.arange(size)[share], old_size)
        dealt = range(int(at[0]), int(at[-1]) + 1)
        rows: NDArray[np.int64] = np.stack(
            [batch.rows for batch in self._before.batches([rest.steps[at] for at in dealt])]
        )  # [old global batches, rows of one]
        return PlannedBatch(dataset, rows[at - at[0], within], rest.repeat)

    def _batch_of_pass(self, position: int) -> tuple[_RestOfPass, int]:
        """Return the pass that a step of the rest belongs to, and which of its batches it is.

        Args:
            position: the step, counted from the first step of the rest.
        """
        assert self._turns is not None
        if self.shuffle_window is None:
            name, [block] = self._turns[position]
        else:
            [index], [block] = self._turns.listed(np.array([position]))
            name = list(self._turn_of)[index]
        n_before = 0
        for rest in self._turn_of[name]:
            if block < n_before + rest.n_batches:
                return rest, int(block) - n_before
            n_before += rest.n_batches
        raise AssertionError("the turns have as many batches as the passes")


@dataclass(frozen=True, slots=True)
class _RestOfPass:
    """What the other run did not reach of one pass over a dataset.

    Attributes:
        dataset: the name of the dataset.
        repeat: the number of the pass in the epoch, from 0.
        steps: the steps of the other run's plan that hold its rows, ascending.
        n_rows: the number of its rows.
        n_batches: how many global batches of this run they fill.
    """

    dataset: str
    repeat: int
    steps: Sequence[int]
    n_rows: int
    n_batches: int


def _unreached(plan: EpochPlan, before: EpochPlan, step: int) -> list[_RestOfPass]:
    """Return the passes of which rows are left, in the order of their first step.

    Args:
        plan: this run's plan of the epoch.
        before: the other run's plan of the epoch.
        step: the first step of ``before`` that was not trained on.
    """
    end = before.first + before.n_left if isinstance(before, RestOfEpoch) else len(before)
    steps = range(step, end)
    steps_of: dict[tuple[str, int], list[int]] = {}
    for at, batch in zip(steps, before.batches(steps), strict=True):
        steps_of.setdefault((batch.dataset, batch.repeat), []).append(at)
    found = []
    for (dataset, repeat), of_pass in steps_of.items():
        n_rows = len(of_pass) * before.global_batch(dataset)
        n_batches = n_rows // plan.global_batch(dataset)
        found.append(_RestOfPass(dataset, repeat, of_pass, n_rows, n_batches))
    return found
