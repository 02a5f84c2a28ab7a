"""Which rows an epoch leaves out, computed without drawing the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.row_shuffle import RowShuffle

# Count rows drawn at random up to this many, which takes about a second; estimate beyond.
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
    """Return the row-order positions that all of the first ``n_passes`` whole passes leave out.

    Args:
        n_rows: rows of the dataset, at least one global batch.
        global_batch: rows of a global batch.
        n_passes: at least 1.
        rotate: whether each pass leaves out the next ``n_rows mod global_batch`` positions of the
            row order; else all passes leave out the same.

    Returns:
        The positions, int64; fewer than a global batch.
    """
    n_left = n_rows % global_batch
    positions = np.arange(n_left)  # what pass 0 leaves out
    for number in range(1, n_passes if rotate else 1):
        positions = positions[(positions - n_left * number) % n_rows < n_left]
        if not len(positions):
            break
    return positions


def block_of_positions(
    positions: NDArray[np.int64],
    n_rows: int,
    global_batch: int,
    rotation: int,
    seed: int,
    shuffle: RowShuffle,
) -> NDArray[np.int64]:
    """Return the block of a pass that holds each position, ``[m]`` int64; -1 if it is left out.

    Args:
        positions: ``[m]`` int64, positions in the row order.
        n_rows: rows of the dataset.
        global_batch: rows of a global batch.
        rotation: number of the pass; 0 in every pass if the left-out rows do not rotate.
        seed: by which the pass deals its positions into blocks.
        shuffle: that deals them.
    """
    n_left = n_rows % global_batch
    # As in BlockRows: this pass leaves out n_left positions and begins behind them.
    dealt = (positions - n_left * (rotation + 1)) % n_rows
    block = np.full(len(positions), -1, np.int64)
    held = dealt < n_rows - n_left
    block[held] = shuffle.undealt(dealt[held], n_rows - n_left, seed) // global_batch
    return block


def left_out_at_random(
    plan: _Plan, datasets: Mapping[str, tuple[int, int]], shares: NDArray[np.float64]
) -> dict[str, int]:
    """Return how many rows of each dataset no step of a plan draws, with ``random`` order.

    Args:
        plan: of one epoch.
        datasets: (number of rows, rows of a global batch), by dataset name.
        shares: the probability that a step draws each dataset, in the order of ``datasets``.

    Returns:
        Exact counts if the plan is short, else the expected numbers, rounded.
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
