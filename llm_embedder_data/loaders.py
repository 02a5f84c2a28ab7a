"""Whole batches through torch's DataLoader, as Lightning is to see it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Sampler, SequentialSampler

from llm_embedder_data.batches.sampler import ShardSampler
from llm_embedder_data.ranks import Ranks

Auto = Literal["auto"]


class BatchLoader(DataLoader[Any]):
    """A DataLoader that Lightning takes for resumable, as it is: the state is the data module's.

    What Lightning saves of it is empty. Lightning 2.6 restores a loader's own state only where
    nothing asked for the loader earlier, and a learning-rate schedule does
    (``trainer.estimated_stepping_batches``).
    """

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take nothing."""


class SequentialShardSampler(ShardSampler, SequentialSampler):  # type: ignore[misc]
    """A ShardSampler that ``Trainer(overfit_batches=...)`` leaves in place: it is sequential."""


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """How batches come to the process that trains.

    Attributes:
        num_workers: processes that make batches; auto: none without an accelerator, else the spare
            cores.
        pin_memory: auto: where CUDA is.
        prefetch_factor: batches that each worker keeps ready; auto: 4.
    """

    num_workers: int | Auto = "auto"
    pin_memory: bool | Auto = "auto"
    prefetch_factor: int | Auto = "auto"

    def loader(
        self,
        dataset: Any,
        sampler: Sampler[Any],
        collate: Callable[[Any], Any],
        *,
        ranks: Ranks,
        persistent: bool = False,
    ) -> BatchLoader:
        """Batches of ``dataset``, one for each index of ``sampler``.

        Args:
            dataset: gives a batch's rows for an index.
            sampler: of whole batches.
            collate: makes the rows a batch.
            ranks: who share this machine's cores.
            persistent: keep the workers from epoch to epoch.
        """
        workers, prefetch = self.num_workers, self.prefetch_factor
        if workers == "auto":
            workers = ranks.spare_cores() if torch.accelerator.is_available() else 0
        return BatchLoader(
            dataset,
            sampler=sampler,
            batch_size=None,  # an index is a whole batch: see SameTaskSampler
            collate_fn=collate,
            num_workers=workers,
            pin_memory=torch.cuda.is_available() if self.pin_memory == "auto" else self.pin_memory,
            prefetch_factor=None if not workers else 4 if prefetch == "auto" else prefetch,
            persistent_workers=persistent and workers > 0,
            worker_init_fn=_tokenize_in_one_thread,
        )


def _tokenize_in_one_thread(worker: int) -> None:
    # A tokenizer that the parent used before the fork deadlocks in a worker that asks for threads.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
