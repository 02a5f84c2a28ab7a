"""Which rows of a dataset an epoch does not hold, without going through the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.permutation import unpermute

# Up to so many rows drawn at random are counted one by one, in about a second.
_MOST_COUNTED = 1 << 22


class _Batch(Protocol):
    @property
    def dataset(self) -> str: ...
    @property
    def rows(self) -> NDArray[np.int64]: ...


class _Plan(Protocol):
    def __len__(self) -> int: ...
    def batches(self, steps: Sequence[int]) -> Iterator[_Batch]: ...


def left_out_of_passes(
    n_rows: int, global_batch: int, n_passes: int, rotate: bool
) -> NDArray[np.int64]:
    """The positions of a dataset's fixed order that none of its first whole passes holds.

    Args:
        n_rows: of the dataset, at least a global batch.
        global_batch: rows of one.
        n_passes: at least 1.
        rotate: whether each pass leaves out the next ``n_rows mod global_batch`` positions.

    Returns:
        Places, fewer than a global batch, int64.
    """
    n_left = n_rows % global_batch
    positions = np.arange(n_left)  # what pass 0 leaves out
    for number in range(1, n_passes if rotate else 1):
        positions = positions[(positions - n_left * number) % n_rows < n_left]
        if not len(positions):
            break
    return positions


def block_of_places(
    positions: NDArray[np.int64], n_rows: int, global_batch: int, turn: int, seed: int
) -> NDArray[np.int64]:
    """The global batch of a pass in which each position comes, -1 for one that is left out.

    Args:
        positions: ``[m]`` int64, of the dataset's fixed order.
        n_rows: of the dataset.
        global_batch: rows of one.
        turn: how many passes' share of positions was left out before.
        seed: by which the pass deals its positions into global batches.
    """
    n_left = n_rows % global_batch
    dealt = (positions - n_left * (turn + 1)) % n_rows
    block = np.full(len(positions), -1, np.int64)
    held = dealt < n_rows - n_left
    block[held] = unpermute(dealt[held], n_rows - n_left, seed) // global_batch
    return block


def left_out_at_random(
    plan: _Plan, datasets: Mapping[str, tuple[int, int]], shares: NDArray[np.float64]
) -> dict[str, int]:
    """The rows of each dataset that a plan does not hold whose steps are drawn at random.

    Args:
        plan: of the epoch.
        datasets: rows and global batch of each, by name.
        shares: the probability of each dataset at a step, in the same order.
    """
    n_steps = len(plan)
    largest = max(global_batch for _, global_batch in datasets.values())
    if n_steps * largest <= _MOST_COUNTED:
        drawn: dict[str, list[NDArray[np.int64]]] = {name: [] for name in datasets}
        for batch in plan.batches(range(n_steps)):
            drawn[batch.dataset].append(batch.rows)
        return {
            name: n_rows - (len(np.unique(np.concatenate(drawn[name]))) if drawn[name] else 0)
            for name, (n_rows, _) in datasets.items()
        }
    return {
        name: round(n_rows * (1 - share * min(1.0, global_batch / n_rows)) ** n_steps)
        for (name, (n_rows, global_batch)), share in zip(
            datasets.items(), shares.tolist(), strict=True
        )
    }
