"""Whole batches of one dataset as items, for trainers that sample items."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan, OrganizeMethod
from llm_embedder_data.core.errors import ConfigError


class SameDatasetTrainDataset(Dataset[dict[str, Any]]):
    """An item is a whole batch, all of one dataset: item k is this process' share of step k.

    Unlike the original, an item is a function of its number and the epoch: items may be read in any
    order, by any number of workers, again after a restart. For transformers' ``Trainer`` set
    ``per_device_train_batch_size=1`` and give it :class:`RetrievalDataCollator`.

    Accelerate distributes the items of a dataset over processes. Under it, with several processes,
    the length is steps x processes, and item i belongs to process ``i mod processes`` at step ``i
    // processes``: set ``TrainingArguments(train_sampling_strategy="sequential")``, else the
    processes would be at different steps, and so at different tasks, which raises an error.

    Args:
        dataset: from :meth:`RetrievalDataset.prepare_train_dataset`.
        dataset_indices_range: likewise.
        batch_size: queries per process and step.
        seed: of the plan.
        organize_method: epoch, epoch-static, epoch-random, random; see
            :class:`~llm_embedder_data.EpochPlan`.
        process_index: this process.
        num_processes: all processes.
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
        if not 0 <= process_index < num_processes:
            raise ConfigError(f"process_index must be in [0, {num_processes}), got {process_index}")
        self.dataset = dataset
        self.process_index = process_index
        self.num_processes = num_processes
        self._ranges = dict(dataset_indices_range)
        self._plan = EpochPlan(
            {name: stop - start for name, (start, stop) in self._ranges.items()},
            batch_size,
            num_processes,
            seed,
            organize_method,
        )

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch, which has another order and other choices."""
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
        """Return whether accelerate runs these processes, and so deals the items out among them."""
        state = sys.modules.get("accelerate.state")
        if self.num_processes == 1 or state is None:
            return False
        return bool(
            state.is_initialized() and state.AcceleratorState().num_processes == self.num_processes
        )
