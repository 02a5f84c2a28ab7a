"""Loaders of whole batches for Lightning, on top of torch's DataLoader."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, SequentialSampler

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.plan.sampler import ShardSampler
from llm_embedder_data.datamodule.loading.whole_batches import SizedBatches, WholeBatches
from llm_embedder_data.datamodule.loading.worker_failures import WorkerPass
from llm_embedder_data.datamodule.loading.worker_transfer import for_transfer
from llm_embedder_data.datamodule.ranks import Ranks
from llm_embedder_data.datamodule.settings.settings import Auto

# Called with a batch, and with the times (``time.perf_counter``, in seconds) at which it was
# requested and delivered.
Watch = Callable[[Any, float, float], None]


class BatchLoader(DataLoader[Any]):
    """A DataLoader whose dataset gives whole batches, one for each index of its sampler.

    Attributes:
        watch: a function that is called with each batch and its times, see :data:`Watch`; or None.
            It may be set in the middle of a pass.
    """

    watch: Watch | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Return an iterator over the batches of a pass.

        Workers, and the thread that pins memory, need torch's iterator. Without them it is
        bypassed: torch would request one batch at a time, but batches of cached tokens take half
        the time if several are made together (see :meth:`WholeBatches.in_turn`).
        """
        if self.num_workers == 0 and not self.pin_memory:
            assert isinstance(self.dataset, WholeBatches)
            return _WatchedPass(self, self.dataset.in_turn(iter(self.sampler)))
        return _WatchedPass(self, WorkerPass(super().__iter__, self.sampler))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.dataset!r}, sampler={self.sampler!r}, "
            f"num_workers={self.num_workers}, pin_memory={self.pin_memory})"
        )


class _WatchedPass:
    """An iterator over the batches of a loader that calls the loader's ``watch`` for each.

    Args:
        loader: the loader.
        batches: iterator over the loader's batches.
    """

    def __init__(self, loader: BatchLoader, batches: Iterator[Any]) -> None:
        self._loader = loader
        self._batches = batches

    def __iter__(self) -> _WatchedPass:
        return self

    def __next__(self) -> Any:
        asked = time.perf_counter()
        batch = next(self._batches)
        if self._loader.watch is not None:
            self._loader.watch(batch, asked, time.perf_counter())
        return batch


class ResumedByModule(BatchLoader):
    """A loader that RetrievalDataModule resumes.

    Lightning considers a loader resumable if it has ``state_dict`` and ``load_state_dict``. It
    warns about any other loader when a fit is resumed in the middle of an epoch. Here both methods
    do nothing, because the data module keeps the state: it makes a loader that begins at the right
    step.

    The state is not kept here because Lightning 2.6 restores a loader's state only if nothing asked
    for the loader before, and learning-rate schedules ask (``trainer.estimated_stepping_batches``).

    A loader that is made without a trainer cannot be resumed this way. It is a plain
    :class:`BatchLoader`, so Lightning warns as it should.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the data module has the state."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do nothing: the data module has the state."""


class RefusingSampler(SequentialSampler):
    """A sampler that raises an error when its first index is requested.

    It is for a batch size that Lightning's batch-size finder must not use. The finder goes back to
    a smaller size if an error is raised during training, but not if it is raised while the loader
    is made. The length is 1, so that Lightning does not skip the loader as empty.

    Args:
        error: the error to raise.
    """

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        raise self._error
        yield  # makes this a generator: iter() succeeds, and the first next() raises

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._error!r})"


class SequentialShardSampler(ShardSampler, SequentialSampler):  # type: ignore[misc]
    """A ShardSampler that ``Trainer(overfit_batches=...)`` does not replace: see OverfitSampler."""


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """How batches reach the training process.

    Attributes:
        num_workers: number of worker processes; ``auto``: none without an accelerator, otherwise
            the spare cores.
        pin_memory: whether to pin batches; ``auto``: if CUDA is available.
        prefetch_factor: number of batches that each worker keeps ready; ``auto``: 4.
    """

    num_workers: int | Auto = "auto"
    pin_memory: bool | Auto = "auto"
    prefetch_factor: int | Auto = "auto"

    def loader(
        self,
        dataset: Any,
        sampler: Sampler[Any],
        collate: RetrievalDataCollator,
        *,
        ranks: Ranks,
        persistent: bool = False,
        resumed_by_module: bool = False,
        sized: bool = True,
    ) -> BatchLoader:
        """Return a loader of ``dataset``, with a batch for each index of ``sampler``.

        Args:
            dataset: maps an index to the rows of a batch.
            sampler: yields the index of each batch.
            collate: turns the rows into a batch.
            ranks: the ranks, which share this machine's cores.
            persistent: whether workers are kept from epoch to epoch.
            resumed_by_module: whether to return a :class:`ResumedByModule`.
            sized: whether the loader's dataset has a length.
        """
        workers, prefetch = self.num_workers, self.prefetch_factor
        if workers == "auto":
            workers = ranks.spare_cores() if torch.accelerator.is_available() else 0
        if isinstance(sampler, RefusingSampler):
            workers = 0  # workers would draw from it as soon as Lightning inspects the loader
        kind = ResumedByModule if resumed_by_module else BatchLoader
        return kind(
            (SizedBatches if sized else WholeBatches)(dataset, collate),
            sampler=sampler,
            batch_size=None,  # an index is a whole batch: see SameTaskSampler
            collate_fn=for_transfer,
            num_workers=workers,
            pin_memory=torch.cuda.is_available() if self.pin_memory == "auto" else self.pin_memory,
            prefetch_factor=None if not workers else 4 if prefetch == "auto" else prefetch,
            persistent_workers=persistent and workers > 0,
            worker_init_fn=_tokenize_in_one_thread,
            generator=torch.Generator(),  # do not draw from torch's global generator
        )


def _tokenize_in_one_thread(worker: int) -> None:
    # A tokenizer that was used before a fork deadlocks if a worker lets it use threads.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
