"""Whole batches through torch's DataLoader, as Lightning is to see it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.sampler import BatchIndex, SameTaskSampler, ShardSampler
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.datamodule.ranks import Ranks
from llm_embedder_data.datamodule.worker_transfer import parcelled

Auto = Literal["auto"]

_BUS_ERROR = -getattr(signal, "SIGBUS", 7)  # as the exit code of a process

# How far ahead a dataset's other steps are looked for, in rows, of which only numbers are kept.
_ROWS_AHEAD = 8192

_LOST = "A process that makes batches is gone:"


class BatchLoader(DataLoader[Any]):
    """A DataLoader of whole batches."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self.num_workers == 0 and not self.pin_memory:
            # torch's own iterator of one process makes each by itself: twice as long, where cached.
            assert isinstance(self.dataset, _Batches)
            return self.dataset.in_turn(iter(self.sampler))
        return _Pass(super().__iter__, self.sampler)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.dataset!r}, sampler={self.sampler!r}, "
            f"num_workers={self.num_workers}, pin_memory={self.pin_memory})"
        )


class ResumedByModule(BatchLoader):
    """A loader that Lightning takes for resumable, as it is: the state is the data module's.

    What Lightning saves of it is empty. Lightning 2.6 restores a loader's own state only where
    nothing asked for the loader earlier, and a learning-rate schedule does
    (``trainer.estimated_stepping_batches``). A loader that is given to ``trainer.fit`` without its
    data module is not resumed by it, and Lightning is to say so.
    """

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take nothing."""


def explain_lost_worker(error: BaseException, *, by_bus_error: bool = False) -> None:
    """Add to torch's error about a worker that died what that means; nothing to another error.

    torch raises it in the process that trains wherever that stands, so not every such error comes
    from a loader.

    Args:
        error: any.
        by_bus_error: whether that is known otherwise. torch does not always say which signal it
            was: a Lightning fit takes torch's own handler away for later ones.
    """
    lost = re.search(r"DataLoader worker \(pid.*\) (is killed by signal|exited)", str(error))
    if lost is None or not isinstance(error, RuntimeError) or _LOST in str(error):
        return
    reason = (
        "it read a cache file that was cut off meanwhile, or /dev/shm is full (start again, which "
        "mends the cache in data.cache_dir; give shared memory more room)"
        if by_bus_error or "Bus error" in f"{error} {error.__cause__}"
        else "most likely there was no memory left for it (give data.num_workers or "
        "data.prefetch_factor a smaller value)"
    )
    error.args = (f"{str(error).strip()}\n{_LOST} {reason}",)


class RefusingSampler(SequentialSampler):
    """One batch, in whose place an error comes.

    Args:
        error: to be raised.
    """

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        raise self._error
        yield

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._error!r})"


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
        collate: RetrievalDataCollator,
        *,
        ranks: Ranks,
        persistent: bool = False,
        resumed_by_module: bool = False,
        sized: bool = True,
    ) -> BatchLoader:
        """Batches of ``dataset``, one for each index of ``sampler``.

        Args:
            dataset: gives a batch's rows for an index.
            sampler: of whole batches.
            collate: makes the rows a batch.
            ranks: who share this machine's cores.
            persistent: keep the workers from epoch to epoch.
            resumed_by_module: see :class:`ResumedByModule`.
            sized: whether the loader tells how many rows its dataset has.
        """
        workers, prefetch = self.num_workers, self.prefetch_factor
        if workers == "auto":
            workers = ranks.spare_cores() if torch.accelerator.is_available() else 0
        if isinstance(sampler, RefusingSampler):
            workers = 0  # they would draw from it as soon as the loader is looked at
        kind = ResumedByModule if resumed_by_module else BatchLoader
        return kind(
            (_SizedBatches if sized else _Batches)(dataset, collate),
            sampler=sampler,
            batch_size=None,  # an index is a whole batch: see SameTaskSampler
            collate_fn=parcelled,
            num_workers=workers,
            pin_memory=torch.cuda.is_available() if self.pin_memory == "auto" else self.pin_memory,
            prefetch_factor=None if not workers else 4 if prefetch == "auto" else prefetch,
            persistent_workers=persistent and workers > 0,
            worker_init_fn=_tokenize_in_one_thread,
            generator=torch.Generator(),  # else each pass would draw from torch's global one
        )


class _Batches(Dataset[Any]):
    """Whole batches by index; what fails in making one says which."""

    def __init__(self, dataset: Any, collate: RetrievalDataCollator) -> None:
        self.dataset, self.collate = dataset, collate

    def __repr__(self) -> str:
        return f"{self.dataset!r}"

    def __getitem__(self, index: Any) -> Any:
        try:
            batch = self.collate(self.dataset[index])
        except Exception as error:
            self._refuse_cut_off_files(index)  # whatever the error is, that is its cause
            # A note, for it leaves a worker with the message and changes no type.
            error.add_note(f"(in making the batch of {_place(index)})")
            raise
        self._refuse_cut_off_files(index)
        return batch

    def in_turn(self, indices: Iterator[Any]) -> Iterator[Any]:
        """The batches of indices; those of one dataset are made together, some steps ahead."""
        if not isinstance(self.dataset, TrainGroups):
            yield from map(self.__getitem__, indices)
            return
        n_ahead = 1  # whoever wants the first batch is not to wait for others
        while ahead := list(islice(indices, n_ahead)):
            n_ahead = max(1, _ROWS_AHEAD // len(ahead[0].rows))
            alike: dict[Any, list[BatchIndex]] = {}
            for index in ahead:
                alike.setdefault(_pass(index), []).append(index)
            batches = {one: self._together(own) for one, own in alike.items()}
            for index in ahead:
                yield next(batches[_pass(index)])

    def _together(self, indices: Sequence[BatchIndex]) -> Iterator[Any]:
        batches = self.collate.several(self.dataset.several(indices))
        made = []  # a name for the batch would keep its memory until the next of the dataset
        for place, index in enumerate(indices):
            try:
                made.append(next(batches))
                self._refuse_cut_off_files(index)
            except Exception:
                # Maybe of a later batch: made one by one, those before it come, and it says which.
                yield from map(self.__getitem__, indices[place:])
                return
            yield made.pop()

    def _refuse_cut_off_files(self, index: Any) -> None:
        if (path := self.dataset.cut_off(index)) is not None:
            raise DataError.at(
                path,
                "the cache was cut off while it was in use, so what was read of it for the batch "
                f"of {_place(index)} may be wrong (start again, which writes it anew)",
            )


class _SizedBatches(_Batches):
    def __len__(self) -> int:
        """Rows, not batches."""
        return len(self.dataset)


def _pass(index: BatchIndex) -> tuple[str, int, int]:
    return index.dataset, index.epoch, index.repeat


def _place(index: Any) -> str:
    if isinstance(index, BatchIndex):
        return f"dataset {index.dataset!r}, epoch {index.epoch}, step {index.step}"
    return f"rows {index[0]} to {index[-1]}" if len(index) else "no row"


class _Pass:
    """The batches of a pass, which workers make ahead.

    Lightning makes the iterator, and the workers begin, before it announces the epoch. Where the
    sampler stands elsewhere when the first batch is asked for, the pass begins anew.

    Args:
        begin: gives the batches.
        sampler: of the loader.
    """

    def __init__(self, begin: Callable[[], Iterator[Any]], sampler: Any) -> None:
        self._begin = begin
        self._sampler = sampler if isinstance(sampler, SameTaskSampler) else None
        self._place = self._sampler and self._sampler.place
        self._batches = begin()

    def __iter__(self) -> _Pass:
        return self

    def __next__(self) -> Any:
        if self._sampler is not None:
            if self._sampler.place != self._place:
                self._batches = self._begin()
            self._sampler = None
        try:
            return next(self._batches)
        except RuntimeError as error:
            self._explain(error)
            raise
        except (ConnectionError, EOFError, FileNotFoundError) as error:
            # Of a batch that a worker was sending when it died; torch may not know of that yet.
            workers = getattr(self._batches, "_workers", ())
            if not wait([worker.sentinel for worker in workers], timeout=1.0):
                raise
            pids = ", ".join(str(worker.pid) for worker in workers if not worker.is_alive())
            lost = RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly")
            self._explain(lost)
            raise lost from error

    def _explain(self, error: RuntimeError) -> None:
        codes = [worker.exitcode for worker in getattr(self._batches, "_workers", ())]
        explain_lost_worker(error, by_bus_error=_BUS_ERROR in codes)


def _tokenize_in_one_thread(worker: int) -> None:
    # A tokenizer that the parent used before the fork deadlocks in a worker that asks for threads.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
