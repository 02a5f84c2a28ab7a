"""Which rows make up each global batch: a pure function of sizes, seed, epoch and step."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.permutation import permute
from llm_embedder_data.config import ConfigError, check_choice, did_you_mean
from llm_embedder_data.hashing import below, derive_key, hash_rows

OrganizeMethod = Literal["epoch", "epoch-static", "epoch-random", "random"]
Remainder = Literal["rotate", "drop"]
SmallDatasets = Literal["error", "drop", "repeat"]


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
        self.left_out = self._too_small()

        self._names = [name for name in sizes if name not in self.left_out]
        if not self._names:
            raise ConfigError(
                "no dataset is left to train on (data.small_datasets='drop' took all of them out)"
                if self.left_out
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

    @overload
    def __getitem__(self, step: int) -> tuple[str, NDArray[np.int64]]: ...
    @overload
    def __getitem__(self, step: slice) -> list[tuple[str, NDArray[np.int64]]]: ...
    def __getitem__(
        self, step: int | slice
    ) -> tuple[str, NDArray[np.int64]] | list[tuple[str, NDArray[np.int64]]]:
        """(dataset name, row numbers ``[global batch]`` int64) of a step."""
        if isinstance(step, slice):
            return [self[k] for k in range(*step.indices(len(self)))]
        batch = self.batch(step)
        return batch.dataset, batch.rows

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
        if rank is not None and not 0 <= rank < self.num_replicas:
            raise IndexError(f"rank must be in [0, {self.num_replicas}), got {rank}")
        n_steps = len(self)
        if not -n_steps <= step < n_steps:
            raise IndexError(f"step must be in [0, {n_steps}), got {step}")
        step = int(step) % n_steps
        if self.organize_method == "random":
            return self._drawn(step, rank)
        order = derive_key(self.seed, "batch order", self.organize_method, self.epoch)
        place = int(permute(np.array([step]), n_steps, order)[0])
        dataset = int(np.searchsorted(self._ends, place, side="right"))
        block = place - int(self._ends[dataset] - self._per_epoch[dataset])
        # Blocks are counted through all epochs, so that a broken pass goes on in the next one.
        first = (
            0
            if self.organize_method == "epoch-static"
            else self.epoch * int(self._per_epoch[dataset])
        )
        per_pass = int(self._per_pass[dataset])
        pass_number, block = divmod(first + block, per_pass)
        rows = self._rows_of_block(dataset, block, pass_number, self._share(dataset, rank))
        return PlannedBatch(self._names[dataset], rows, pass_number - first // per_pass)

    def _share(self, dataset: int, rank: int | None) -> NDArray[np.int64]:
        """The places within a global batch that a rank has; all for None."""
        if rank is None:
            return np.arange(int(self._global_batch[dataset]))
        share = self.batch_size[self._names[dataset]]
        return np.arange(rank * share, (rank + 1) * share)

    def _rows_of_block(
        self, dataset: int, block: int, pass_number: int, share: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The rows at the places ``share`` of the ``block``-th global batch of a pass.

        The dataset has one fixed order. Each pass leaves out ``n mod global batch`` consecutive
        places of it, with ``rotate`` the next ones each time, and deals the others into blocks
        anew.
        """
        n_rows, global_batch = int(self._n_rows[dataset]), int(self._global_batch[dataset])
        name = self._names[dataset]
        fixed_order = derive_key(self.seed, "row order", name)
        if n_rows < global_batch:  # repeat: over the passes every row comes equally often
            places = (pass_number * global_batch + share) % n_rows
            return permute(places, n_rows, fixed_order)
        left_out = n_rows % global_batch
        deal = derive_key(self.seed, "block order", name, pass_number)
        dealt = permute(block * global_batch + share, n_rows - left_out, deal)
        turn = pass_number if self.remainder == "rotate" else 0
        places = (left_out * (turn + 1) + dealt) % n_rows
        return permute(places, n_rows, fixed_order)

    def _drawn(self, step: int, rank: int | None) -> PlannedBatch:
        """A dataset in proportion to its rows, then a global batch of it without repeats."""
        word = hash_rows(derive_key(self.seed, "dataset", self.epoch), np.array([step]))
        point = float(below(word, 1 << 32)[0]) / (1 << 32) * self._row_ends[-1]
        dataset = min(
            int(np.searchsorted(self._row_ends, point, side="right")), len(self._names) - 1
        )
        name, n_rows = self._names[dataset], int(self._n_rows[dataset])
        places = self._share(dataset, rank) % n_rows
        key = derive_key(self.seed, "random rows", name, self.epoch, step)
        return PlannedBatch(name, permute(places, n_rows, key), 0)

    def __repr__(self) -> str:
        return (
            f"EpochPlan({len(self)} steps, datasets={self.steps}, "
            f"num_replicas={self.num_replicas}, "
            f"seed={self.seed}, organize_method={self.organize_method!r}, epoch={self.epoch})"
        )


def _check_names(setting: str, given: Mapping[str, object], sizes: Mapping[str, int]) -> None:
    for name in given:
        if name not in sizes:
            raise ConfigError(
                f"{setting} names dataset {name!r}, expected one of {', '.join(sizes)}"
                f"{did_you_mean(name, sizes)}"
            )
