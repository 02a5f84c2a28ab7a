"""Finds the global batches of an epoch that may hold given rows, without computing the epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.block_rows import BlockRows


def blocks_with(
    block_rows: BlockRows, dataset: int, rows: NDArray[np.int64], *, first: int, n_blocks: int
) -> NDArray[np.int64]:
    """Return the blocks of an epoch that may hold any of the given rows, ascending.

    Without windows each returned block does hold one of the rows. The blocks of a window exchange
    rows, so all blocks of the window are returned.

    Args:
        block_rows: the block rows of the plan.
        dataset: index of a dataset with at least as many rows as a global batch.
        rows: ``[m]`` int64, row numbers within the dataset.
        first: the epoch's first block, numbered across all epochs.
        n_blocks: number of blocks in the epoch.

    Returns:
        int64, block numbers counted from the epoch's first block.
    """
    per_pass = int(block_rows.per_pass[dataset])
    positions = block_rows.positions_of(dataset, rows)
    found = []
    for number in range(first // per_pass, (first + n_blocks - 1) // per_pass + 1):
        block = block_rows.block_of(dataset, positions, number)
        bounds = np.stack(block_rows.exchanging(dataset, block[block >= 0]), axis=1)
        for start, stop in np.unique(bounds, axis=0):
            found.append(number * per_pass - first + np.arange(start, stop))
    blocks = np.concatenate([np.zeros(0, np.int64), *found])
    inside: NDArray[np.int64] = blocks[(blocks >= 0) & (blocks < n_blocks)]
    return inside
