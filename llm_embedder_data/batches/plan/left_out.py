"""Which rows an epoch leaves out, computed without drawing the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.block_rows import BlockRows

# Count randomly drawn rows exactly up to this many, which takes about a second. Beyond that, return
# the expected number.
_MOST_COUNTED = 1 << 22


class _Batch(Protocol):
    @property
    def dataset(self) -> str: ...
    @property
    def rows(self) -> NDArray[np.int64]: ...


class _Plan(Protocol):
    def __len__(self) -> int: ...
    def batches(self, steps: Sequence[int]) -> Iterator[_Batch]: ...


def left_out_of_blocks(block_rows: BlockRows, dataset: int, n_blocks: int) -> int:
    """Return how many rows of a dataset come in none of its first ``n_blocks`` blocks.

    The blocks are numbered from pass 0. They form some whole passes and perhaps a part of another.
    If they form at most one pass, no row comes twice, so the count follows from their number.
    Otherwise only the positions that every whole pass leaves out can be missing, which are fewer
    than a global batch. It remains to check which of them the last, partial pass holds.

    Args:
        block_rows: the block rows of the plan.
        dataset: index of the dataset.
        n_blocks: number of blocks, at least 1.
    """
    n_rows, per_pass = int(block_rows.n_rows[dataset]), int(block_rows.per_pass[dataset])
    global_batch = int(block_rows.global_batch[dataset])
    if n_rows < global_batch:
        return 0  # small_datasets="repeat": each batch holds all rows
    if n_blocks <= per_pass:
        return n_rows - n_blocks * global_batch
    n_passes, n_more = divmod(n_blocks, per_pass)
    positions = _left_out_of_passes(n_rows, global_batch, n_passes, block_rows.rotate)
    if not n_more or not len(positions):
        return len(positions)
    block = block_rows.block_of(dataset, positions, n_passes)
    # The blocks of a window exchange rows among themselves. A complete window still holds the rows
    # that were dealt to its blocks. Where the partial pass ends inside a window, look at the actual
    # rows of the blocks before the end.
    [start], _ = block_rows.exchanging(dataset, np.array([n_more]))
    n_exchanging = n_more - int(start)
    missing = positions[(block < 0) | (block >= n_more - n_exchanging)]
    if not n_exchanging or not len(missing):
        return len(missing)
    blocks = np.arange(n_more - n_exchanging, n_more)
    ones = np.ones_like(blocks)
    held = block_rows.of(dataset * ones, blocks, n_passes * ones, rank=None)
    missing_rows = block_rows.rows_at(dataset, missing)
    return int((~np.isin(missing_rows, np.concatenate(list(held)))).sum())


def _left_out_of_passes(
    n_rows: int, global_batch: int, n_passes: int, rotate: bool
) -> NDArray[np.int64]:
    """Return the row-order positions that every one of the first ``n_passes`` passes leaves out.

    Args:
        n_rows: rows of the dataset, at least one global batch.
        global_batch: rows in a global batch.
        n_passes: number of whole passes, at least 1.
        rotate: whether each pass leaves out the next ``n_rows mod global_batch`` positions of the
            row order; otherwise all passes leave out the same positions.

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


def left_out_at_random(
    plan: _Plan, datasets: Mapping[str, tuple[int, int]], shares: NDArray[np.float64]
) -> dict[str, int]:
    """Return how many rows of each dataset are drawn at no step of a plan with ``random`` order.

    Args:
        plan: the plan of one epoch.
        datasets: (number of rows, rows of a global batch), by dataset name.
        shares: the probability that a step draws each dataset, in the order of ``datasets``.

    Returns:
        Exact counts if the plan is short, otherwise the expected numbers, rounded.
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
