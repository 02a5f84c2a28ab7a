"""SameDatasetTrainDataset: a dataset whose items are whole batches, each from a single dataset."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan, OrganizeMethod
from llm_embedder_data.config.recipe_rules import COUNT, WHOLE, check_value
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.shown_values import shown


class SameDatasetTrainDataset(Dataset[dict[str, Any]]):
    """A dataset whose item k is this process's batch of step k, all from one dataset.

    In contrast to the original, an item depends only on its number and the epoch. So items may be
    read in any order, by any number of workers, and again after a restart. To use it with
    transformers' ``Trainer``, set ``per_device_train_batch_size=1`` and pass a
    :class:`RetrievalDataCollator`.

    Accelerate distributes the items of a dataset over processes. So if accelerate runs several
    processes, the length is steps x processes, and item i is the batch of process ``i mod
    processes`` at step ``i // processes``. Set
    ``TrainingArguments(train_sampling_strategy="sequential")``: with shuffled items, processes
    would be at different steps, and so at different tasks. An item of another process is refused.

    Args:
        dataset: the dataset from :meth:`RetrievalDataset.prepare_train_dataset`.
        dataset_indices_range: the second value that this method returns.
        batch_size: queries per process and step.
        seed: seed of the plan.
        organize_method: ``epoch``, ``epoch-static``, ``epoch-random`` or ``random``; see
            :class:`~llm_embedder_data.EpochPlan`.
        process_index: number of this process, from 0.
        num_processes: number of all processes.

    Raises:
        ConfigError: ``process_index`` is out of range, ``dataset_indices_range`` does not belong to
            the dataset, or the plan cannot be made.
    """

    def __init__(
        self,
        dataset: Any,
        dataset_indices_range: Mapping[str, tuple[int, int]],
        batch_size: int,
        seed: int,
        organize_method: OrganizeMethod,
        process_index: int = 0,
        num_processes: int = 1,
    ) -> None:
        check_value(num_processes, COUNT, "num_processes")
        check_value(process_index, WHOLE, "process_index")
        if process_index >= num_processes:
            raise ConfigError(f"process_index must be in [0, {num_processes}), got {process_index}")
        self.dataset = dataset
        self.process_index = process_index
        self.num_processes = num_processes
        self._ranges = _checked_ranges(dataset_indices_range, dataset)
        self._plan = EpochPlan(
            {name: stop - start for name, (start, stop) in self._ranges.items()},
            batch_size,
            num_processes,
            seed,
            organize_method,
        )

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch, in which the order of rows and the choices of keys differ."""
        self._plan = self._plan.at(epoch)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __len__(self) -> int:
        """Return the steps of an epoch; under accelerate, multiplied by the number of processes."""
        return len(self._plan) * (self.num_processes if self._is_distributed() else 1)

    def __getitem__(self, index: int) -> dict[str, Any]:
        step = int(index)
        if self._is_distributed():
            step, process = divmod(step, self.num_processes)
            if process != self.process_index:
                raise ConfigError(
                    f"item {index} belongs to process {process} of {self.num_processes}, and "
                    f"process {self.process_index} asked for it: a shuffling sampler takes "
                    "processes to different tasks (the items are shuffled already: set "
                    "TrainingArguments(train_sampling_strategy='sequential'))"
                )
        name, rows = self._plan.for_rank(step, self.process_index)
        batch: dict[str, Any] = self.dataset[(rows + self._ranges[name][0]).tolist()]
        return batch

    def _is_distributed(self) -> bool:
        """Return whether accelerate runs these processes, and so distributes the items."""
        state = sys.modules.get("accelerate.state")
        if self.num_processes == 1 or state is None:
            return False
        return bool(
            state.is_initialized() and state.AcceleratorState().num_processes == self.num_processes
        )


def _checked_ranges(ranges: Any, dataset: Any) -> dict[str, tuple[int, int]]:
    """Return the ranges of the dataset's parts.

    Raises:
        ConfigError: they are not ``{name: (first row, last row + 1)}``, or end after the dataset.
    """
    hint = "take both values that RetrievalDataset.prepare_train_dataset returns"
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise ConfigError(f"dataset={shown(dataset)}: expected a dataset with rows ({hint})")
    is_good = isinstance(ranges, Mapping) and all(
        isinstance(range_, tuple | list)
        and len(range_) == 2
        and all(isinstance(row, int) for row in range_)
        and 0 <= range_[0] <= range_[1] <= len(dataset)
        for range_ in ranges.values()
    )
    if not is_good:
        raise ConfigError(
            f"dataset_indices_range={shown(ranges)}: expected {{name: (first row, last row + 1)}} "
            f"within the {len(dataset):,} rows of the dataset ({hint})"
        )
    return {name: (first, stop) for name, (first, stop) in ranges.items()}
