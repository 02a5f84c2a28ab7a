"""In which order an epoch trains on its batches.

Batches are numbered as a list that holds all batches of dataset 0, then all of dataset 1, and so
on. The order maps each step to a number in this list.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.permutation import permute, unpermute


class BatchOrder:
    """Maps steps to batches in the list of an epoch, and back.

    Args:
        ends: ``[d]`` int64, the end of each dataset's part of the list.
        in_turn: keep the batches of each dataset in the order of the list; otherwise they are
            shuffled. Which dataset a step trains on is the same either way. With ``in_turn``, the
            orders of the last two epochs are kept in memory, 16 bytes a step; otherwise each step
            is computed when it is needed.
    """

    def __init__(self, ends: NDArray[np.int64], in_turn: bool) -> None:
        self._ends = tuple(ends.tolist())
        self._in_turn = in_turn

    def batches(self, steps: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        """Return the batch of each step, ``[k]`` int64, as its number in the list."""
        if self._in_turn:
            return _in_turn(self._ends, seed)[0][steps]
        return permute(steps, self._ends[-1], seed)

    def steps(self, batches: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        """Return the step of each batch, ``[k]`` int64; batches are numbers in the list."""
        if self._in_turn:
            return _in_turn(self._ends, seed)[1][batches]
        return unpermute(batches, self._ends[-1], seed)


@lru_cache(maxsize=2)
def _in_turn(ends: tuple[int, ...], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the batch of each step, and the step of each batch, both ``[steps]`` int64."""
    shuffled = permute(np.arange(ends[-1]), ends[-1], seed)
    dataset = np.searchsorted(np.array(ends), shuffled, side="right")
    step_of_batch = np.argsort(dataset, kind="stable")
    batch_of_step = np.empty_like(step_of_batch)
    batch_of_step[step_of_batch] = np.arange(ends[-1])
    return batch_of_step, step_of_batch
