"""Which dataset and rows make up each step: a pure function of sizes, seed, epoch and step.

How a step finds its rows, unless ``organize_method`` is ``random``:

1. Imagine the global batches of the epoch as a list: all of dataset 0, then all of dataset 1, and
   so on. A pseudo-random permutation of this list gives the order of training: step s trains on
   batch ``permute(s)`` of the list.
2. The index in the list determines the dataset, and which of the dataset's global batches it is.
   The global batches of a dataset are called blocks and are numbered across all epochs. Dividing
   the number by the blocks in a pass gives the pass, with the block within it as the remainder.
3. :class:`~llm_embedder_data.batches.plan.block_rows.BlockRows` gives the rows of that block.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import index as integer
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm_embedder_data.batches.plan.batch_order import BatchOrder
from llm_embedder_data.batches.plan.batch_windows import BatchWindows
from llm_embedder_data.batches.plan.block_rows import BlockRows
from llm_embedder_data.batches.plan.left_out import left_out_at_random, left_out_of_blocks
from llm_embedder_data.batches.plan.mixing import Mixing
from llm_embedder_data.batches.plan.permutation import permute
from llm_embedder_data.batches.plan.plan_checks import (
    TooSmallError,
    batch_size_of_each,
    count_of_ranks,
    rows_of_each,
    too_small,
    weight_of_each,
    whole_number,
)
from llm_embedder_data.batches.plan.plan_html import plan_table_html
from llm_embedder_data.batches.plan.row_shuffle import RowShuffle
from llm_embedder_data.batches.plan.shared_texts import SharedTexts
from llm_embedder_data.batches.plan.steps_of_rows import blocks_with
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.core.hashing import below, hash_rows, stream_seed

OrganizeMethod = Literal["epoch", "epoch-static", "epoch-random", "random"]
Remainder = Literal["rotate", "drop"]
SmallDatasets = Literal["error", "drop", "repeat"]

# Plan about this many rows in one call: enough to amortize the overhead of NumPy calls, few enough
# to fit into a processor's cache.
_ROWS_AHEAD = 4096


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """One global batch, or one rank's share of it.

    Attributes:
        dataset: name of the dataset that all rows come from.
        rows: ``[global batch]`` int64, row numbers within the dataset; ``[batch size]`` for one
            rank's share.
        repeat: 0 in the first pass of the epoch over the dataset, 1 in the second pass, and so on.
            With weight 1 an epoch is one pass, so ``repeat`` is always 0. Random choices for a row
            depend on it: a row that comes again in the epoch gets other keys.
    """

    dataset: str
    rows: NDArray[np.int64]
    repeat: int


class EpochPlan(Sequence[tuple[str, NDArray[np.int64]]]):
    """The global batches of one epoch, each of one dataset, the same on every rank.

    A global batch has ``batch_size * num_replicas`` rows and is split among the ranks, so 8 ranks
    of 32 have the same plan as 4 ranks of 64. The plan stores no list of batches: a step costs
    O(global batch + log datasets) time, whatever the number of rows, and memory is a few numbers
    per dataset.

    A pass over a dataset of n rows has ``floor(n / global batch)`` global batches and holds no row
    twice. The other ``n mod global batch`` rows are left out of the pass. With
    ``remainder="rotate"`` the next pass leaves out other rows, so over n passes all rows are left
    out equally often.

    ``weights`` gives the number of passes in an epoch. With a fractional weight, an epoch ends in
    the middle of a pass, and the next epoch continues that pass: with weight 0.5, two epochs make
    one pass. (With ``epoch-static`` all epochs have the batches of epoch 0.)

    How the batches are ordered:

    - ``epoch``: every epoch deals the rows anew and shuffles the batches of all datasets together.
    - ``epoch-static``: the batches of epoch 0, shuffled as whole batches in each epoch.
    - ``epoch-random``: each step draws its dataset in proportion to the number of batches that the
      dataset has left. This amounts to drawing one of all remaining batches uniformly, so every
      order of the batches is equally likely, as with ``epoch``. The two differ only in their random
      numbers; both names exist for settings written for LLM-Embedder.
    - ``random``: each step draws a dataset in proportion to its rows times its weight (with
      ``mixing``, to its share), and then a global batch without repeated rows. A row may come again
      at another step.

    A length window is ``length_window`` consecutive global batches of a pass. The rows of a window
    are dealt again, so that each batch holds rows of similar length. This changes neither the
    dataset of a step nor the rows of a pass, and global batches still do not depend on the number
    of ranks. A step costs O(rows of a window) time if its window was not dealt recently.

    With ``shared_texts``, rows that share a text are moved into different global batches, within
    the same window (without ``length_window``, one of 64 to 127 global batches, or the whole pass
    if it has fewer). A text that stands in more rows than a window has batches comes more than once
    in some of them.

    With ``shuffle_window``, rows are shuffled only within windows of that many rows, and the
    batches of a dataset come in the order of these windows: see
    :mod:`~llm_embedder_data.batches.plan.row_shuffle`. The window does not change the dataset of
    any step. The orders of the last two epochs are then kept in memory, 16 bytes a step.

    Args:
        sizes: number of rows of each dataset, by name.
        batch_size: queries per rank and step: one number, or one per dataset.
        num_replicas: number of data-parallel ranks.
        seed: seed of the run.
        organize_method: see above.
        epoch: zero-based.
        remainder: ``rotate``, or ``drop`` the same rows in every pass.
        small_datasets: for a dataset smaller than one global batch: ``error``; ``drop`` it; or
            ``repeat`` its rows within the batch, the only case in which a batch holds a row twice.
        weights: passes over each dataset per epoch; 1.0 for a dataset that is not named. The
            attribute of this name holds the actual number of passes, with ``mixing`` as well.
        length_window: global batches in a length window; None ignores length.
        lengths: ``[rows]``, the length of each row of each dataset, needed with ``length_window``.
            Any unit will do, as only their order matters; the data module passes bytes of text.
        shared_texts: the texts that rows of each dataset share; rows with a common text are kept
            apart. None leaves them where chance puts them.
        mixing: the share of the steps that each dataset gets, in place of ``weights``.
        shuffle_window: number of rows that are shuffled together; None shuffles all rows of a
            dataset together.

    Raises:
        ConfigError: a value is not allowed, or a dataset is too small for a global batch.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch_size: int | Mapping[str, int],
        num_replicas: int = 1,
        seed: int = 42,
        organize_method: OrganizeMethod = "epoch",
        epoch: int = 0,
        *,
        remainder: Remainder = "rotate",
        small_datasets: SmallDatasets = "error",
        weights: Mapping[str, float] | None = None,
        length_window: int | None = None,
        lengths: Mapping[str, ArrayLike] | None = None,
        shared_texts: Mapping[str, SharedTexts] | None = None,
        mixing: Mixing | None = None,
        shuffle_window: int | None = None,
    ) -> None:
        self.sizes = sizes = rows_of_each(sizes)
        self.num_replicas = num_replicas = count_of_ranks(num_replicas)
        self.seed = seed = whole_number(seed, "seed", 0)
        self.organize_method = organize_method
        self.epoch = whole_number(epoch, "epoch", 0)
        self.remainder = remainder
        self.small_datasets = small_datasets
        check_choice(organize_method, OrganizeMethod, "data.organize_method")
        check_choice(remainder, Remainder, "data.remainder")
        check_choice(small_datasets, SmallDatasets, "data.small_datasets")

        self.batch_size = batch_size_of_each(batch_size, sizes)
        self.weights = weight_of_each(weights or {}, sizes)
        self.length_window = length_window
        self.shuffle_window = shuffle_window
        self.separates_texts = shared_texts is not None
        self.dropped = too_small(self.sizes, self.batch_size, num_replicas, small_datasets)
        self._names = self._kept_names()

        # From here on, arrays have one number per dataset, in the order of _names.
        self._n_rows = np.array([self.sizes[name] for name in self._names], np.int64)
        self._global_batch = np.array([self.global_batch(name) for name in self._names], np.int64)
        self._blocks = BlockRows(
            self._names,
            self._n_rows,
            self._global_batch,
            num_replicas=num_replicas,
            seed=seed,
            rotate=remainder == "rotate",
            windows=self._made_windows(lengths or {}, shared_texts),
            shuffle=self._made_shuffle(),
        )
        self.mixing = mixing
        if mixing is not None:
            self._mix(mixing)
        weight = np.array([self.weights[name] for name in self._names])
        self._per_epoch = self._blocks_per_epoch(weight)
        self._ends = np.cumsum(self._per_epoch)
        self._order = BatchOrder(self._ends, in_turn=shuffle_window is not None)
        # For "random": cumulative, unnormalized probabilities of the datasets.
        self._chance_ends = np.cumsum(self._per_epoch if mixing else self._n_rows * weight)

    def _mix(self, mixing: Mixing) -> None:
        """Set the weights that give each dataset its share of the steps."""
        mixing.check({name: self.weights[name] for name in self.sizes})
        per_pass = self._blocks.per_pass
        steps = mixing.steps({name: self.sizes[name] for name in self._names}, per_pass)
        self.weights |= dict(zip(self._names, (steps / per_pass).tolist(), strict=True))

    def _kept_names(self) -> list[str]:
        """Return the names of the datasets that are not dropped, at least one."""
        names = [name for name in self.sizes if name not in self.dropped]
        if not names:
            if self.dropped:
                raise TooSmallError(
                    "no dataset is left to train on (data.small_datasets='drop' took all of them "
                    "out)"
                )
            raise ConfigError("no dataset to train on (give data.train_data)")
        return names

    def _blocks_per_epoch(self, weight: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the number of global batches of each dataset in an epoch, at least 1."""
        # The small addend makes up for rounding: 0.29 of 100 batches should be 29, but in floating
        # point the product is 28.999999999999996.
        per_epoch = np.floor(weight * self._blocks.per_pass + 1e-9)
        for name, n_batches, per_pass in zip(
            self._names, per_epoch, self._blocks.per_pass, strict=True
        ):
            if not 1 <= n_batches < np.inf:
                raise ConfigError(
                    f"weight {self.weights[name]:g} of dataset {name!r} gives it {n_batches:g} "
                    f"global batches an epoch: a pass has {per_pass} (give a weight of at least "
                    f"{1 / per_pass:.3g})"
                )
        n_blocks: NDArray[np.int64] = per_epoch.astype(np.int64)
        return n_blocks

    def _made_shuffle(self) -> RowShuffle:
        if self.shuffle_window is not None and self.organize_method == "random":
            raise ConfigError(
                f"data.shuffle_window={self.shuffle_window} with data.organize_method='random', "
                "which draws each global batch from all rows (take another organize_method, or "
                "data.shuffle_window=null)"
            )
        return RowShuffle(self.shuffle_window)

    def _made_windows(
        self, lengths: Mapping[str, ArrayLike], shared_texts: Mapping[str, SharedTexts] | None
    ) -> BatchWindows | None:
        if self.length_window is None and shared_texts is None:
            return None
        if self.organize_method == "random":
            setting, value, off = "no_duplicates", "true", "false"
            if self.length_window is not None:
                setting, value, off = "length_window", str(self.length_window), "null"
            raise ConfigError(
                f"data.{setting}={value} with data.organize_method='random', which draws each "
                "global batch on its own: there is no pass whose batches could exchange rows (take "
                f"another organize_method, or data.{setting}={off})"
            )
        return BatchWindows(self.length_window, lengths, shared_texts, self.sizes, self.seed)

    def global_batch(self, dataset: str) -> int:
        """Return the number of rows in one global batch of a dataset, over all ranks."""
        return self.batch_size[dataset] * self.num_replicas

    def steps_of(self, dataset: str, n: int) -> NDArray[np.int64]:
        """Return up to ``n`` steps that train on a dataset, as int64; not for ``random``."""
        index = self._names.index(dataset)
        end = int(self._ends[index])
        listed = np.arange(end - int(self._per_epoch[index]), end)[:n]
        return self._order.steps(listed, self._order_seed)

    def at(self, epoch: int) -> EpochPlan:
        """Return the plan of another epoch."""
        other = copy.copy(self)
        other.epoch = epoch
        return other

    def __len__(self) -> int:
        """Number of steps, the same for every epoch and rank."""
        return int(self._ends[-1])

    @property
    def steps(self) -> dict[str, int]:
        """Number of global batches of each dataset in an epoch.

        With ``random`` this is the expected number, rounded down.
        """
        return {name: int(n) for name, n in zip(self._names, self._per_epoch, strict=True)}

    def rows_left_out(self) -> dict[str, int]:
        """Return how many rows of each dataset epoch 0 leaves out; all rows of a dropped dataset.

        With a fractional weight, other epochs may leave out a few more or fewer rows. The cost is
        O(global batch) per dataset. For ``random`` the cost is O(rows drawn); if an epoch draws
        more than a few million rows, the expected number is returned instead.
        """
        counts = dict(self.sizes)
        if self.organize_method == "random":
            shapes = zip(self._n_rows.tolist(), self._global_batch.tolist(), strict=True)
            drawn = dict(zip(self._names, shapes, strict=True))
            weights = np.diff(self._chance_ends, prepend=0.0)
            return counts | left_out_at_random(self.at(0), drawn, weights / weights.sum())
        for index, name in enumerate(self._names):
            counts[name] = left_out_of_blocks(self._blocks, index, int(self._per_epoch[index]))
        return counts

    @overload
    def __getitem__(self, step: int) -> tuple[str, NDArray[np.int64]]: ...
    @overload
    def __getitem__(self, step: slice) -> list[tuple[str, NDArray[np.int64]]]: ...
    def __getitem__(
        self, step: int | slice
    ) -> tuple[str, NDArray[np.int64]] | list[tuple[str, NDArray[np.int64]]]:
        """Return (dataset name, row numbers ``[global batch]`` int64) of a step."""
        if isinstance(step, slice):
            steps = range(*step.indices(len(self)))
            return [(batch.dataset, batch.rows) for batch in self.batches(steps)]
        batch = self.batch(step)
        return batch.dataset, batch.rows

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        for batch in self.batches(range(len(self))):
            yield batch.dataset, batch.rows

    def for_rank(self, step: int, rank: int) -> tuple[str, NDArray[np.int64]]:
        """Return (dataset name, row numbers ``[batch size]`` int64) of a rank's share of a step."""
        batch = self.batch(step, rank)
        return batch.dataset, batch.rows

    def batch(self, step: int, rank: int | None = None) -> PlannedBatch:
        """Return the global batch of a step, or one rank's share of it.

        Rank r gets the rows ``r * batch_size`` to ``(r + 1) * batch_size`` of the global batch;
        only these are computed.

        Raises:
            IndexError: a step outside ``[-len, len)``, or a rank outside ``[0, num_replicas)``.
            TypeError: a step or rank that is no integer.
        """
        n_steps, number = len(self), integer(step)
        if not -n_steps <= number < n_steps:  # also a number that has no place in 64 bits
            raise IndexError(f"step must be in [0, {n_steps}), got {number}")
        return next(self.batches([number], None if rank is None else integer(rank)))

    def batches(self, steps: Sequence[int], rank: int | None = None) -> Iterator[PlannedBatch]:
        """Yield the batch of each of ``steps``, whole or one rank's share.

        Several steps are computed together, which takes about a tenth of the time of calling
        :meth:`batch` for each. Their number depends only on the batch size, so memory does not grow
        with the number of steps.

        Raises:
            IndexError: as for :meth:`batch`, when the iteration reaches the step.
        """
        if rank is not None and not 0 <= rank < self.num_replicas:
            raise IndexError(f"rank must be in [0, {self.num_replicas}), got {rank}")
        n_steps = len(self)
        _, share_sizes = self._blocks.share(rank)
        n_together = max(1, _ROWS_AHEAD // int(share_sizes.max()))
        for start in range(0, len(steps), n_together):
            part = np.array(steps[start : start + n_together], np.int64)
            outside = (part < -n_steps) | (part >= n_steps)
            if outside.any():
                raise IndexError(f"step must be in [0, {n_steps}), got {part[outside][0]}")
            yield from self._planned(part % n_steps, rank)

    def steps_with(self, dataset: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the steps that may hold any of the given rows, ascending, as int64.

        No other step holds any of them. Without length windows and shared texts, each returned step
        holds at least one. The cost does not depend on the size of the dataset. If batches are
        drawn at random, or the dataset is smaller than a global batch and repeated, all steps are
        returned.

        Args:
            dataset: name of the dataset.
            rows: ``[m]`` int64, row numbers within the dataset.
        """
        if dataset not in self._names:
            return np.zeros(0, np.int64)
        index = self._names.index(dataset)
        n_rows, global_batch = int(self._n_rows[index]), int(self._global_batch[index])
        if self.organize_method == "random" or n_rows < global_batch:
            return np.arange(len(self))
        n_blocks = int(self._per_epoch[index])
        first = 0 if self.organize_method == "epoch-static" else self.epoch * n_blocks
        blocks = blocks_with(self._blocks, index, rows, first=first, n_blocks=n_blocks)
        listed = blocks + int(self._ends[index]) - n_blocks
        return np.unique(self._order.steps(listed, self._order_seed))

    @property
    def _order_seed(self) -> int:
        return stream_seed(self.seed, "batch order", self.organize_method, self.epoch)

    def listed(self, steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the dataset of each of ``[k]`` steps, and which of its batches the step trains on.

        Both are ``[k]`` int64: the index of the dataset, and the index of the batch among the
        dataset's batches of the epoch. Not for ``random``, whose batches form no list.
        """
        batches = self._order.batches(steps, self._order_seed)  # point 1 of the module docstring
        dataset = np.searchsorted(self._ends, batches, side="right")
        return dataset, batches - (self._ends - self._per_epoch)[dataset]

    def _planned(self, steps: NDArray[np.int64], rank: int | None) -> Iterator[PlannedBatch]:
        """Yield the batches of ``[k]`` steps, all computed together."""
        rows: Sequence[NDArray[np.int64]] | NDArray[np.int64]
        if self.organize_method == "random":
            dataset, rows = self._drawn(steps, rank)
            repeat = np.zeros_like(steps)
        else:
            dataset, batch_of_epoch = self.listed(steps)
            # Blocks are numbered across epochs, so that an epoch continues the pass in which the
            # epoch before it ended.
            epoch = 0 if self.organize_method == "epoch-static" else self.epoch
            n_before = epoch * self._per_epoch[dataset]  # blocks of earlier epochs
            pass_number, block = np.divmod(
                n_before + batch_of_epoch, self._blocks.per_pass[dataset]
            )
            repeat = pass_number - n_before // self._blocks.per_pass[dataset]
            rows = self._blocks.of(dataset, block, pass_number, rank)
        _, share_sizes = self._blocks.share(rank)
        sizes = share_sizes[dataset]  # rows has the width of the largest share
        for index, batch, size, passes in zip(dataset, rows, sizes, repeat.tolist(), strict=True):
            yield PlannedBatch(self._names[index], batch[:size], passes)

    def _drawn(
        self, steps: NDArray[np.int64], rank: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw a dataset for each of ``[k]`` steps, and a rank's rows of one batch of it.

        A batch holds no row twice, unless the dataset is smaller than the batch.
        """
        words = hash_rows(stream_seed(self.seed, "dataset", self.epoch), steps)
        share_of_all = below(words, 1 << 32) / (1 << 32)  # uniform in [0, 1), from 32 random bits
        points = share_of_all * self._chance_ends[-1]
        dataset = np.searchsorted(self._chance_ends, points, side="right")
        dataset = np.minimum(dataset, len(self._names) - 1)
        streams = [
            stream_seed(self.seed, "random rows", self._names[index], self.epoch, step)
            for index, step in zip(dataset.tolist(), steps.tolist(), strict=True)
        ]
        n_rows = self._n_rows[dataset, None]
        rows = permute(
            self._blocks.positions(dataset, rank) % n_rows,
            n_rows,
            np.array(streams, np.uint64)[:, None],
        )
        return dataset, rows

    def _repr_html_(self) -> str:
        """Return the plan as a table for a notebook."""
        title = (
            f"Epoch {self.epoch}: {len(self):,} steps on {self.num_replicas:,} ranks "
            f"({self.organize_method}, seed {self.seed})"
        )
        rows = [
            (name, n_rows, self.global_batch(name), self.steps.get(name, 0))
            for name, n_rows in self.sizes.items()
        ]
        return plan_table_html(title, rows)

    def __repr__(self) -> str:
        return (
            f"EpochPlan({len(self)} steps, datasets={self.steps}, "
            f"num_replicas={self.num_replicas}, "
            f"seed={self.seed}, organize_method={self.organize_method!r}, epoch={self.epoch})"
        )
