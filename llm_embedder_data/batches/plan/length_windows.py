"""Length windows: deal the rows of several global batches anew, so that each has similar lengths.

Batches of rows of similar length need less padding.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm_embedder_data.batches.plan.permutation import permute
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.hashing import stream_seed, stream_seeds

# Cache dealt windows of up to this many rows in all (8 MiB). The batches of a window are far apart
# in an epoch, and without the cache each of them would deal the whole window again.
_ROWS_KEPT = 1 << 20


class LengthWindows:
    """Deals the rows of each length window anew, sorted by length.

    A length window is several consecutive global batches of a pass over one dataset.

    Args:
        size: global batches in a window; the last window of a pass may have fewer.
        lengths: ``[rows]``, the length of each row, by dataset name.
        sizes: number of rows, by dataset name.
        seed: seed of the run.

    Raises:
        ConfigError: ``size`` is below 2, or a dataset does not have one length per row.
    """

    def __init__(
        self, size: int, lengths: Mapping[str, ArrayLike], sizes: Mapping[str, int], seed: int
    ) -> None:
        if size < 2:
            raise ConfigError(
                f"data.length_window={size}: expected at least 2 global batches, or null"
            )
        self.size, self._seed = size, seed
        self._lengths = {name: np.asarray(lengths.get(name)) for name in sizes}
        for name, n_rows in sizes.items():
            shape = self._lengths[name].shape
            if shape != (n_rows,):
                raise ConfigError(
                    f"data.length_window={size}: the lengths of dataset {name!r} have the shape "
                    f"{shape}, expected {(n_rows,)} (give one length per row)"
                )
        self._kept: OrderedDict[tuple[str | int, ...], NDArray[np.int64]] = OrderedDict()

    def rows(
        self,
        name: str,
        pass_number: int,
        block: int,
        *,
        per_pass: int,
        positions: NDArray[np.int64],
        planned: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    ) -> NDArray[np.int64]:
        """Return some rows of a global batch, ``[m]`` int64.

        Costs O(rows of a window) time if the window was not dealt recently.

        Args:
            name: name of the dataset.
            pass_number: the pass over the dataset, counted from the start of the fit.
            block: index of the global batch within the pass.
            per_pass: number of global batches in a pass.
            positions: ``[m]`` int64, consecutive positions in the global batch.
            planned: returns the rows of ``[w]`` blocks of the pass as they are before dealing by
                length, ``[w, global batch]``.
        """
        window, block_of_window = divmod(block, self.size)
        request = (name, pass_number, window, int(positions[0]), len(positions))
        if request in self._kept:
            self._kept.move_to_end(request)
        else:
            start = window * self.size
            whole = planned(np.arange(start, min(start + self.size, per_pass)))
            seed = stream_seed(self._seed, "length window", name, pass_number, window)
            dealt = deal_by_length(whole, self._lengths[name][whole], seed, positions)
            while self._kept and (len(self._kept) + 1) * dealt.size > _ROWS_KEPT:
                self._kept.popitem(last=False)
            self._kept[request] = dealt
        rows: NDArray[np.int64] = self._kept[request][block_of_window]
        return rows.copy()


def deal_by_length(
    planned: NDArray[np.int64], lengths: ArrayLike, seed: int, positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Deal the rows of W global batches anew, so that each batch holds rows of similar length.

    Sort all rows by length (stable, so equal lengths keep their planned order) and cut them into W
    batches. Then shuffle the batches, so that training does not go from short to long, and the rows
    within each batch, so that no rank always gets the longest rows.

    Args:
        planned: ``[W, global batch]`` int64, the rows of the global batches.
        lengths: ``[W, global batch]``, the lengths of these rows.
        seed: from :func:`~llm_embedder_data.core.hashing.stream_seed`.
        positions: ``[m]`` int64, the positions within a global batch to return.

    Returns:
        ``[W, m]`` int64, the rows at these positions in each new batch.

    >>> import numpy as np
    >>> rows = np.arange(6).reshape(3, 2)
    >>> deal_by_length(rows, [[5, 1], [9, 5], [1, 9]], seed=1, positions=np.arange(2)).tolist()
    [[0, 3], [2, 5], [1, 4]]
    """
    n_batches, global_batch = planned.shape
    order = np.argsort(np.ravel(lengths), kind="stable")
    batches = planned.ravel()[order].reshape(planned.shape)
    batch_order = permute(np.arange(n_batches), n_batches, stream_seed(seed, "turns"))
    seeds = stream_seeds(np.array([seed], np.uint64), np.arange(n_batches))
    wanted = np.broadcast_to(positions, (n_batches, len(positions)))
    within = permute(wanted, global_batch, seeds[:, None])
    dealt: NDArray[np.int64] = batches[batch_order[:, None], within]
    return dealt
