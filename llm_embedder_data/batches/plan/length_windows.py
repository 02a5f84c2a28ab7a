"""Global batches of rows of like length, made of a few planned ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm_embedder_data.batches.plan.permutation import permute
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.hashing import stream_seed, stream_seeds

# Rows of dealt windows that are kept, 8 MiB: a window's batches are far apart in an epoch.
_ROWS_KEPT = 1 << 20


class LengthWindows:
    """Deals the rows of each window, some consecutive global batches of a pass, by length.

    Args:
        size: global batches of a window; the last one of a pass may have fewer.
        lengths: of the rows of each dataset, by name.
        sizes: rows of each dataset, by name.
        seed: of the run.

    Raises:
        ConfigError: a window of one batch, or lengths that are not one a row.
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
                    f"{shape}, expected {(n_rows,)} (give one a row)"
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
        """Rows ``[m]`` of a global batch; O(window) time where its window was not dealt lately.

        Args:
            name: of the dataset.
            pass_number: of the dataset.
            block: the global batch's number in the pass.
            per_pass: global batches of the pass.
            positions: ``[m]`` int64, consecutive positions in the global batch.
            planned: rows ``[w, G]`` of ``[w]`` global batches of the pass as they were planned.
        """
        window, turn = divmod(block, self.size)
        at = (name, pass_number, window, int(positions[0]), len(positions))
        if at in self._kept:
            self._kept.move_to_end(at)
        else:
            first = window * self.size
            whole = planned(np.arange(first, min(first + self.size, per_pass)))
            seed = stream_seed(self._seed, "length window", name, pass_number, window)
            rows = deal_by_length(whole, self._lengths[name][whole], seed, positions)
            while self._kept and (len(self._kept) + 1) * rows.size > _ROWS_KEPT:
                self._kept.popitem(last=False)
            self._kept[at] = rows
        own: NDArray[np.int64] = self._kept[at][turn]
        return own.copy()


def deal_by_length(
    planned: NDArray[np.int64], lengths: ArrayLike, seed: int, positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Deal the rows of W global batches anew, so that rows of like length meet in one.

    All rows are sorted by length, those of one length in their planned order, and cut into W
    batches, which are shuffled, and each of them within itself: the lengths of a batch say nothing
    of its turn, and those of a row nothing of its rank.

    Args:
        planned: ``[W, G]`` int64, rows of the global batches.
        lengths: ``[W, G]``, of these rows.
        seed: from :func:`~llm_embedder_data.core.hashing.stream_seed`.
        positions: ``[m]`` int64, the positions in a global batch that are asked for.

    Returns:
        ``[W, m]`` int64.

    >>> import numpy as np
    >>> rows = np.arange(6).reshape(3, 2)
    >>> deal_by_length(rows, [[5, 1], [9, 5], [1, 9]], seed=1, positions=np.arange(2)).tolist()
    [[0, 3], [2, 5], [1, 4]]
    """
    n_batches, global_batch = planned.shape
    order = np.argsort(np.ravel(lengths), kind="stable")
    batches = planned.ravel()[order].reshape(planned.shape)
    turn = permute(np.arange(n_batches), n_batches, stream_seed(seed, "turns"))
    seeds = stream_seeds(np.array([seed], np.uint64), np.arange(n_batches))
    asked = np.broadcast_to(positions, (n_batches, len(positions)))
    within = permute(asked, global_batch, seeds[:, None])
    dealt: NDArray[np.int64] = batches[turn[:, None], within]
    return dealt
