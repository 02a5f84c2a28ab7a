"""In which global batches of an epoch some rows may come, found without drawing the epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.block_rows import deal_seed
from llm_embedder_data.batches.plan.left_out import block_of_positions
from llm_embedder_data.batches.plan.row_shuffle import RowShuffle


def blocks_with(
    rows: NDArray[np.int64],
    *,
    name: str,
    n_rows: int,
    global_batch: int,
    row_order: int,
    seed: int,
    rotate: bool,
    window: int,
    shuffle: RowShuffle,
    first: int,
    n_blocks: int,
) -> NDArray[np.int64]:
    """Return the blocks of an epoch that may hold any of some rows, ascending.

    Without length windows they are the blocks that hold them. The blocks of a window exchange rows,
    so all of them are returned.

    Args:
        rows: ``[m]`` int64, row numbers within the dataset.
        name: of the dataset.
        n_rows: its rows, at least a global batch.
        global_batch: rows of a global batch.
        row_order: seed of the row order.
        seed: of the run.
        rotate: whether each pass leaves out other rows.
        window: global batches in a length window; 1 without windows.
        shuffle: the order in which a pass takes its rows.
        first: the epoch's first block, counted through all epochs.
        n_blocks: blocks of the epoch.

    Returns:
        int64, numbers within the epoch.
    """
    per_pass = n_rows // global_batch
    positions = shuffle.positions(rows, n_rows, row_order)
    found = []
    for number in range(first // per_pass, (first + n_blocks - 1) // per_pass + 1):
        rotation = number if rotate else 0
        deal = deal_seed(seed, name, number)
        block = block_of_positions(positions, n_rows, global_batch, rotation, deal, shuffle)
        starts = np.unique(block[block >= 0] // window) * window
        exchanging = (starts[:, None] + np.arange(window)).ravel()
        found.append(number * per_pass - first + exchanging[exchanging < per_pass])
    blocks = np.concatenate(found)
    inside: NDArray[np.int64] = blocks[(blocks >= 0) & (blocks < n_blocks)]
    return inside
