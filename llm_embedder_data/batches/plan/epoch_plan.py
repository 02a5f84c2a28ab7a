"""Which rows make up each global batch: a pure function of sizes, seed, epoch and step."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm_embedder_data.batches.plan.left_out import (
    block_of_places,
    left_out_at_random,
    left_out_of_passes,
)
from llm_embedder_data.batches.plan.length_windows import LengthWindows
from llm_embedder_data.batches.plan.permutation import permute
from llm_embedder_data.core.errors import ConfigError, check_choice, did_you_mean
from llm_embedder_data.core.hashing import below, hash_rows, stream_seed
from llm_embedder_data.core.printable import one_line

OrganizeMethod = Literal["epoch", "epoch-static", "epoch-random", "random"]
Remainder = Literal["rotate", "drop"]
SmallDatasets = Literal["error", "drop", "repeat"]

# So many rows are planned at once: enough that NumPy's cost a call is shared, few enough to stay in
# a processor's cache.
_ROWS_AHEAD = 4096


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """One global batch, or one rank's share of it.

    Attributes:
        dataset: that all its rows come from.
        rows: ``[global batch]`` int64, row numbers within the dataset; ``[batch size]`` for one
            rank's share.
        repeat: how many whole passes over the dataset went before in this epoch; above 0 only for
            weights above 1. Choices drawn for a row differ between passes.
    """

    dataset: str
    rows: NDArray[np.int64]
    repeat: int


class EpochPlan(Sequence[tuple[str, NDArray[np.int64]]]):
    """The global batches of one epoch, each of one dataset, the same on every rank.

    A global batch has ``batch_size * num_replicas`` rows; how ranks share it changes nothing else,
    so 8 ranks of 32 plan as 4 ranks of 64 do. No list of the epoch is kept: any step costs O(global
    batch + log datasets) time, whatever the number of rows, and the plan's memory is a few words a
    dataset.

    A pass over a dataset of n rows has ``floor(n / global batch)`` global batches, without a row
    twice. The ``n mod global batch`` rows that fill none sit the pass out, and
    ``remainder="rotate"`` lets others sit out in the next pass, so that over n passes all rows are
    left out equally often. ``weights`` says how many passes an epoch makes; a broken pass goes on
    in the next epoch.

    How the batches are ordered:

    - ``epoch``: every epoch deals the rows anew and shuffles the batches of all datasets together.
    - ``epoch-static``: the batches of epoch 0, shuffled as whole batches in each epoch.
    - ``epoch-random``: the dataset of each step is drawn in proportion to the batches that are left
      of it, without replacement. (Such draws are a uniformly random order of all batches; hence no
      list.)
    - ``random``: the dataset of each step is drawn in proportion to its rows (times its weight),
      then a global batch without repeats; rows may come again at another step of the epoch.

    With ``length_window``, so many consecutive global batches of a pass are dealt anew among
    themselves, so that each holds rows of like length. All else stays: the dataset of each step,
    what a pass holds, the same global batch on any number of ranks. A step whose window was not
    dealt lately costs O(window) time.

    Args:
        sizes: rows of each dataset, by name.
        batch_size: queries per rank and step, one for all or one a dataset.
        num_replicas: data-parallel ranks.
        seed: of the run.
        organize_method: see above.
        epoch: zero-based.
        remainder: ``rotate``, or ``drop`` the same rows in every pass.
        small_datasets: what becomes of a dataset smaller than one global batch: ``error``; ``drop``
            it; or ``repeat`` its rows within the batch, the one case in which a batch holds a row
            twice.
        weights: passes over each dataset per epoch, 1.0 where left out.
        length_window: global batches that are dealt by length together; None for no such rule.
        lengths: ``[rows]`` numbers a dataset, one for each row, where there is a ``length_window``.

    Raises:
        ConfigError: an impossible value, or datasets too small for a global batch.
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
    ) -> None:
        check_choice(organize_method, OrganizeMethod, "data.organize_method")
        check_choice(remainder, Remainder, "data.remainder")
        check_choice(small_datasets, SmallDatasets, "data.small_datasets")
        if num_replicas < 1:
            raise ConfigError(f"num_replicas={num_replicas}: expected at least 1")
        if epoch < 0:
            raise ConfigError(f"epoch={epoch}: expected at least 0")
        self.sizes = dict(sizes)
        self.num_replicas = num_replicas
        self.seed = seed
        self.organize_method = organize_method
        self.epoch = epoch
        self.remainder = remainder
        self.small_datasets = small_datasets
        if isinstance(batch_size, int):
            batch_size = dict.fromkeys(sizes, batch_size)
        _check_names("batch_size", batch_size, sizes)
        _check_names("weights", weights or {}, sizes)
        if missing := [name for name in sizes if name not in batch_size]:
            raise ConfigError(f"batch_size names no {missing[0]!r} (give one for each dataset)")
        self.batch_size = {name: batch_size[name] for name in sizes}
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in sizes}
        self.length_window = length_window
        self._windows = self._made_windows(lengths or {})
        self.dropped = self._too_small()

        self._names = [name for name in sizes if name not in self.dropped]
        if not self._names:
            raise ConfigError(
                "no dataset is left to train on (data.small_datasets='drop' took all of them out)"
                if self.dropped
                else "no dataset to train on (give data.train_data)"
            )
        self._n_rows = np.array([self.sizes[name] for name in self._names], np.int64)
        self._global_batch = np.array(
            [self.batch_size[name] * num_replicas for name in self._names], np.int64
        )
        # A repeated small dataset makes one batch a pass.
        self._per_pass = np.maximum(self._n_rows // self._global_batch, 1)
        weight = np.array([self.weights[name] for name in self._names])
        per_epoch = np.floor(weight * self._per_pass + 1e-9)
        for name, n_batches, per_pass in zip(self._names, per_epoch, self._per_pass, strict=True):
            if not 1 <= n_batches < np.inf:
                raise ConfigError(
                    f"weight {self.weights[name]:g} of dataset {name!r} gives it {n_batches:g} "
                    f"global batches an epoch: a pass has {per_pass} (give a weight of at least "
                    f"{1 / per_pass:.3g})"
                )
        self._per_epoch = per_epoch.astype(np.int64)
        self._ends = np.cumsum(self._per_epoch)
        self._row_ends = np.cumsum(self._n_rows * weight)
        self._row_order = np.array(
            [stream_seed(seed, "row order", name) for name in self._names], np.uint64
        )

    def _too_small(self) -> dict[str, int]:
        """Datasets that fill no global batch and are dropped for it, with their rows."""
        faults, small = [], {}
        for name, n_rows in self.sizes.items():
            batch_size = self.batch_size[name]
            if batch_size < 1:
                raise ConfigError(
                    f"batch_size={batch_size} of dataset {name!r}: expected at least 1"
                )
            if n_rows >= batch_size * self.num_replicas and n_rows > 0:
                continue
            if n_rows > 0 and self.small_datasets == "repeat":
                continue
            small[name] = n_rows
            faults.append(
                f"dataset {name!r} has {n_rows} rows, fewer than one global batch of "
                f"{batch_size * self.num_replicas} ({batch_size} per rank x {self.num_replicas} "
                "ranks)"
            )
        if faults and self.small_datasets != "drop":
            raise ConfigError(
                "\n".join(faults)
                + "\n(make data.batch_size smaller, or set data.small_datasets to drop or repeat)"
            )
        return small

    def _made_windows(self, lengths: Mapping[str, ArrayLike]) -> LengthWindows | None:
        if self.length_window is None:
            return None
        if self.organize_method == "random":
            raise ConfigError(
                f"data.length_window={self.length_window} with data.organize_method='random', "
                "which draws each global batch on its own and has no pass to sort (take another "
                "organize_method, or data.length_window=null)"
            )
        return LengthWindows(self.length_window, lengths, self.sizes, self.seed)

    def at(self, epoch: int) -> EpochPlan:
        """The plan of another epoch."""
        other = copy.copy(self)
        other.epoch = epoch
        return other

    def __len__(self) -> int:
        """Steps of the epoch, the same for every epoch and rank."""
        return int(self._ends[-1])

    @property
    def steps(self) -> dict[str, int]:
        """Global batches of each dataset in an epoch (for ``random``: expected, rounded down)."""
        return {name: int(n) for name, n in zip(self._names, self._per_epoch, strict=True)}

    def rows_left_out(self) -> dict[str, int]:
        """Rows of each dataset that no batch of epoch 0 holds; all rows of a dropped one.

        Where a weight breaks a pass, another epoch may hold some more or fewer. Costs O(global
        batch) a dataset; for ``random`` O(rows drawn), and beyond some million of these it is the
        number to be expected.
        """
        counts = dict(self.sizes)
        if self.organize_method == "random":
            own = zip(self._names, self._n_rows.tolist(), self._global_batch.tolist(), strict=True)
            drawn = {name: (n_rows, size) for name, n_rows, size in own}
            weights = np.diff(self._row_ends, prepend=0.0)
            return counts | left_out_at_random(self.at(0), drawn, weights / weights.sum())
        for place, name in enumerate(self._names):
            counts[name] = self._left_out_of(place)
        return counts

    def _left_out_of(self, place: int) -> int:
        """Rows of one dataset that epoch 0, which goes pass by pass, does not hold."""
        name, n_rows = self._names[place], int(self._n_rows[place])
        n_blocks, per_pass = int(self._per_epoch[place]), int(self._per_pass[place])
        global_batch = int(self._global_batch[place])
        if n_rows < global_batch:
            return 0  # repeated: each batch holds all
        if n_blocks <= per_pass:
            return n_rows - n_blocks * global_batch
        whole, n_broken = divmod(n_blocks, per_pass)
        places = left_out_of_passes(n_rows, global_batch, whole, self.remainder == "rotate")
        if not n_broken or not len(places):
            return len(places)
        deal_seed = _deal_seed(self.seed, name, whole)
        turn = whole if self.remainder == "rotate" else 0
        block = block_of_places(places, n_rows, global_batch, turn, deal_seed)
        n_sure = n_broken
        if self._windows is not None:
            n_sure -= n_broken % self._windows.size
        missing = places[(block < 0) | (block >= n_sure)]
        if n_sure == n_broken or not len(missing):
            return len(missing)
        # The broken pass ends within a window, whose rows were dealt by length.
        rows = permute(missing, n_rows, int(self._row_order[place]))
        held = [
            self._rows_by_length(self._windows, place, block, whole, None)
            for block in range(n_sure, n_broken)
            if self._windows is not None
        ]
        return int((~np.isin(rows, np.concatenate(held))).sum())

    @overload
    def __getitem__(self, step: int) -> tuple[str, NDArray[np.int64]]: ...
    @overload
    def __getitem__(self, step: slice) -> list[tuple[str, NDArray[np.int64]]]: ...
    def __getitem__(
        self, step: int | slice
    ) -> tuple[str, NDArray[np.int64]] | list[tuple[str, NDArray[np.int64]]]:
        """(dataset name, row numbers ``[global batch]`` int64) of a step."""
        if isinstance(step, slice):
            steps = range(*step.indices(len(self)))
            return [(batch.dataset, batch.rows) for batch in self.batches(steps)]
        batch = self.batch(step)
        return batch.dataset, batch.rows

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        for batch in self.batches(range(len(self))):
            yield batch.dataset, batch.rows

    def for_rank(self, step: int, rank: int) -> tuple[str, NDArray[np.int64]]:
        """(dataset name, row numbers ``[batch size]`` int64) of one rank's share of a step."""
        batch = self.batch(step, rank)
        return batch.dataset, batch.rows

    def batch(self, step: int, rank: int | None = None) -> PlannedBatch:
        """The global batch of a step, or the share of it that one rank has.

        The r-th rank has the r-th run of ``batch_size`` rows, and only these are computed.

        Raises:
            IndexError: a step outside ``[-len, len)``, or a rank outside ``[0, num_replicas)``.
        """
        return next(self.batches([step], rank))

    def batches(self, steps: Sequence[int], rank: int | None = None) -> Iterator[PlannedBatch]:
        """:meth:`batch` of each of ``steps``, computed some steps ahead: a tenth of the time.

        How many depends on the batch size only, so memory stays the same however many steps there
        are.

        Raises:
            IndexError: as :meth:`batch`, when it comes to the step.
        """
        if rank is not None and not 0 <= rank < self.num_replicas:
            raise IndexError(f"rank must be in [0, {self.num_replicas}), got {rank}")
        n_steps = len(self)
        ahead = max(1, _ROWS_AHEAD // int(self._share(rank)[1].max()))
        for start in range(0, len(steps), ahead):
            some = np.array(steps[start : start + ahead], np.int64)
            outside = (some < -n_steps) | (some >= n_steps)
            if outside.any():
                raise IndexError(f"step must be in [0, {n_steps}), got {some[outside][0]}")
            yield from self._planned(some % n_steps, rank)

    def _planned(self, steps: NDArray[np.int64], rank: int | None) -> Iterator[PlannedBatch]:
        """The batches of ``[k]`` steps, all computed together."""
        rows: Sequence[NDArray[np.int64]] | NDArray[np.int64]
        if self.organize_method == "random":
            dataset, rows = self._drawn(steps, rank)
            repeat = np.zeros_like(steps)
        else:
            order = stream_seed(self.seed, "batch order", self.organize_method, self.epoch)
            place = permute(steps, len(self), order)
            dataset = np.searchsorted(self._ends, place, side="right")
            # Blocks are counted through all epochs, so that a broken pass goes on in the next one.
            epoch = 0 if self.organize_method == "epoch-static" else self.epoch
            first = epoch * self._per_epoch[dataset]
            block = first + place - (self._ends - self._per_epoch)[dataset]
            pass_number, block = np.divmod(block, self._per_pass[dataset])
            repeat = pass_number - first // self._per_pass[dataset]
            if self._windows is None:
                rows = self._rows_of_blocks(dataset, block, pass_number, rank)
            else:
                asked = zip(dataset.tolist(), block.tolist(), pass_number.tolist(), strict=True)
                rows = [self._rows_by_length(self._windows, *one, rank) for one in asked]
        sizes = self._share(rank)[1][dataset]
        for one, own, size, number in zip(dataset, rows, sizes, repeat.tolist(), strict=True):
            yield PlannedBatch(self._names[one], own[:size], number)

    def _share(self, rank: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each dataset, the first place of a global batch that a rank has, and how many it has.

        All of them for None.
        """
        if rank is None:
            return np.zeros_like(self._global_batch), self._global_batch
        own = self._global_batch // self.num_replicas
        return rank * own, own

    def _places(self, dataset: NDArray[np.int64], rank: int | None) -> NDArray[np.int64]:
        """``[k, largest share]``: the places within a global batch of each of ``[k]`` datasets.

        A smaller share is filled up with its last place.
        """
        first, size = (one[dataset, None] for one in self._share(rank))
        return first + np.minimum(np.arange(size.max()), size - 1)

    def _rows_of_blocks(
        self,
        dataset: NDArray[np.int64],
        block: NDArray[np.int64],
        pass_number: NDArray[np.int64],
        rank: int | None,
    ) -> NDArray[np.int64]:
        """A rank's rows, ``[k, largest share]``, of global batches named by ``[k]`` numbers each.

        A dataset has one fixed order. Each pass leaves out ``n mod global batch`` consecutive
        places of it, with ``rotate`` the next ones each time, and deals the others into blocks
        anew.
        """
        deal = np.array(
            [
                _deal_seed(self.seed, self._names[one], number)
                for one, number in zip(dataset.tolist(), pass_number.tolist(), strict=True)
            ],
            np.uint64,
        )
        places = self._places(dataset, rank)
        n_rows, global_batch = self._n_rows[dataset, None], self._global_batch[dataset, None]
        block, pass_number = block[:, None], pass_number[:, None]
        left_out = n_rows % global_batch
        repeated = n_rows < global_batch  # over the passes every row comes equally often
        dealt = permute(
            np.where(repeated, 0, block * global_batch + places),
            np.where(repeated, 1, n_rows - left_out),
            deal[:, None],
        )
        turn = pass_number if self.remainder == "rotate" else 0
        places = np.where(
            repeated, pass_number * global_batch + places, left_out * (turn + 1) + dealt
        )
        return permute(places % n_rows, n_rows, self._row_order[dataset, None])

    def _rows_by_length(
        self, windows: LengthWindows, dataset: int, block: int, pass_number: int, rank: int | None
    ) -> NDArray[np.int64]:
        """The same for one global batch, where rows of like length meet."""

        def planned(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
            same = np.ones_like(blocks)
            return self._rows_of_blocks(dataset * same, blocks, pass_number * same, None)

        first, size = self._share(rank)
        return windows.rows(
            self._names[dataset],
            pass_number,
            block,
            per_pass=int(self._per_pass[dataset]),
            places=np.arange(first[dataset], first[dataset] + size[dataset]),
            planned=planned,
        )

    def _drawn(
        self, steps: NDArray[np.int64], rank: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``[k]`` datasets in proportion to their rows, and a rank's rows of a global batch each.

        Rows come once in a batch, unless the dataset is smaller.
        """
        words = hash_rows(stream_seed(self.seed, "dataset", self.epoch), steps)
        points = below(words, 1 << 32) / (1 << 32) * self._row_ends[-1]
        dataset = np.searchsorted(self._row_ends, points, side="right")
        dataset = np.minimum(dataset, len(self._names) - 1)
        keys = [
            stream_seed(self.seed, "random rows", self._names[one], self.epoch, step)
            for one, step in zip(dataset.tolist(), steps.tolist(), strict=True)
        ]
        n_rows = self._n_rows[dataset, None]
        rows = permute(
            self._places(dataset, rank) % n_rows, n_rows, np.array(keys, np.uint64)[:, None]
        )
        return dataset, rows

    def __repr__(self) -> str:
        return (
            f"EpochPlan({len(self)} steps, datasets={self.steps}, "
            f"num_replicas={self.num_replicas}, "
            f"seed={self.seed}, organize_method={self.organize_method!r}, epoch={self.epoch})"
        )


@lru_cache(maxsize=4096)
def _deal_seed(seed: int, name: str, pass_number: int) -> int:
    """The seed by which one pass deals a dataset's rows into global batches."""
    return stream_seed(seed, "block order", name, pass_number)


def _check_names(setting: str, given: Mapping[str, object], sizes: Mapping[str, int]) -> None:
    for name in given:
        if name not in sizes:
            raise ConfigError(
                f"{setting} names dataset {name!r}, expected one of "
                f"{', '.join(map(one_line, sizes))}{did_you_mean(name, sizes)}"
            )
