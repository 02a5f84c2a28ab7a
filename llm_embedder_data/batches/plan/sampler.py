"""This rank's share of the plan, step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler, SequentialSampler

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan


@dataclass(frozen=True, slots=True)
class BatchIndex:
    """Everything a worker needs to build one rank's batch; equal indices give equal batches.

    Attributes:
        epoch: zero-based.
        step: step within the epoch, zero-based.
        dataset: name of the dataset that the rows come from.
        rows: this rank's rows, as positions among the dataset's kept rows.
        repeat: number of passes over the dataset that the epoch has made before this one.
    """

    epoch: int
    step: int
    dataset: str
    rows: tuple[int, ...]
    repeat: int = 0


class SameTaskSampler(DistributedSampler[BatchIndex]):
    """Yields one :class:`BatchIndex` for each step; at each step all ranks draw from one dataset.

    Pass it to ``DataLoader(..., sampler=sampler, batch_size=None)``. It is a ``DistributedSampler``
    by name only: Lightning 2.6 does not replace a sampler of that type and calls its ``set_epoch``,
    but does neither for a ``batch_sampler``. The sampler never communicates, and does not count the
    indices that it has yielded: workers prefetch, so only the trainer knows how far the run is.

    Args:
        plan: the plan of any epoch; equal on all ranks.
        rank: index of this process among the data-parallel ranks.
        start: (epoch, step) at which the first iteration begins. The start of a resumed run is an
            argument because the loader is made, and its workers prefetch, before the trainer first
            calls ``set_epoch``.
        place_of: maps an epoch of the trainer to the (epoch, first step) of the plan; None if the
            trainer and the plan number epochs alike.
        fetch_ahead: called with the index of each step, ``steps_ahead`` steps before that step is
            yielded. At the start it is called for the first ``steps_ahead + 1`` steps. None turns
            fetching ahead off.
        steps_ahead: see ``fetch_ahead``.
    """

    def __init__(
        self,
        plan: EpochPlan,
        *,
        rank: int = 0,
        start: tuple[int, int] = (0, 0),
        place_of: Callable[[int], tuple[int, int]] | None = None,
        fetch_ahead: Callable[[BatchIndex], None] | None = None,
        steps_ahead: int = 0,
    ) -> None:
        if not 0 <= rank < plan.num_replicas:
            raise ValueError(f"rank must be in [0, {plan.num_replicas}), got {rank}")
        self.plan = plan
        self.rank = rank
        self.num_replicas = plan.num_replicas
        self.epoch, self.first_step = start
        self._place_of = place_of
        self._fetch_ahead, self._steps_ahead = fetch_ahead, steps_ahead

    @property
    def place(self) -> tuple[int, int]:
        """(epoch, step) at which the next iteration begins."""
        return self.epoch, self.first_step

    def set_epoch(self, epoch: int) -> None:
        """Go to the first step of another epoch; the current epoch keeps its start."""
        if self._place_of is not None:
            self.epoch, self.first_step = self._place_of(epoch)
        elif epoch != self.epoch:
            self.epoch, self.first_step = epoch, 0

    def __len__(self) -> int:
        """Number of steps of a whole epoch, even if this iteration begins in the middle of one."""
        return len(self.plan)

    def __iter__(self) -> Iterator[BatchIndex]:
        # Lightning creates the iterator before it calls set_epoch. A generator reads the epoch only
        # when the first index is requested, which is after that call.
        indices = self._from(self.epoch, self.first_step)
        if self._fetch_ahead is None:
            yield from indices
            return
        waiting: deque[BatchIndex] = deque()
        for index in indices:
            self._fetch_ahead(index)
            waiting.append(index)
            if len(waiting) > self._steps_ahead:
                yield waiting.popleft()
        yield from waiting

    def _from(self, epoch: int, first_step: int) -> Iterator[BatchIndex]:
        """Yield this rank's share of the steps of an epoch."""
        steps = range(first_step, len(self))
        batches = self.plan.at(epoch).batches(steps, self.rank)
        for step, batch in zip(steps, batches, strict=True):
            yield BatchIndex(epoch, step, batch.dataset, tuple(batch.rows.tolist()), batch.repeat)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)} steps an epoch, rank={self.rank} of "
            f"{self.num_replicas}, epoch={self.epoch}, first_step={self.first_step})"
        )


class OverfitSampler(SameTaskSampler, SequentialSampler):  # type: ignore[misc]
    """Yields the first batches of epoch 0 in every epoch.

    ``Trainer(overfit_batches=...)`` replaces any sampler that is not a ``SequentialSampler`` with
    one that yields plain integers. This class inherits from ``SequentialSampler`` only to be kept.
    """

    def __init__(self, plan: EpochPlan, **settings: Any) -> None:
        super().__init__(plan, **settings)
        self.epoch = self.first_step = 0

    def set_epoch(self, epoch: int) -> None:
        """Stay at epoch 0; a resumed run continues at its step within epoch 0."""
        if self._place_of is not None:
            self.first_step = self._place_of(epoch)[1]


class ShardSampler(DistributedSampler[NDArray[np.int64]]):
    """Yields batches of row numbers; together, the ranks yield each row exactly once.

    The rows are cut into batches of consecutive rows, as few and as even as ``batch_size`` allows,
    and each rank gets a range of these batches. So a batch holds the same rows on any number of
    ranks, and embeddings are the same to the bit. All ranks yield equally many batches, because a
    rank that stopped early would leave the others waiting; the last batch of a rank may be empty.

    Args:
        n_rows: number of rows, over all ranks.
        batch_size: maximum number of rows in a batch.
        rank: index of this process among the data-parallel ranks.
        num_replicas: number of data-parallel ranks.
    """

    def __init__(
        self, n_rows: int, batch_size: int, *, rank: int = 0, num_replicas: int = 1
    ) -> None:
        if not 0 <= rank < num_replicas:
            raise ValueError(f"rank must be in [0, {num_replicas}), got {rank}")
        self.n_rows, self.batch_size = n_rows, batch_size
        self.rank, self.num_replicas = rank, num_replicas
        self.epoch = 0
        self._n_of_all = -(-n_rows // batch_size)
        self._first = rank * self._n_of_all // num_replicas
        self._last = (rank + 1) * self._n_of_all // num_replicas
        self._n_batches = -(-self._n_of_all // num_replicas)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: every epoch is the same."""

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for batch in range(self._first, self._first + self._n_batches):
            first, last = min(batch, self._last), min(batch + 1, self._last)
            n_of_all = max(1, self._n_of_all)
            yield np.arange(first * self.n_rows // n_of_all, last * self.n_rows // n_of_all)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.n_rows} rows, at most {self.batch_size} a batch, "
            f"rank={self.rank} of {self.num_replicas})"
        )
