"""Iteration over the batches of worker processes, with an explanation if a worker dies."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from typing import Any

from llm_embedder_data.batches.plan.sampler import SameTaskSampler

_BUS_ERROR = -getattr(signal, "SIGBUS", 7)  # exit code of a process that a bus error killed

_LOST = "A process that makes batches has died:"


def explain_lost_worker(error: BaseException, *, by_bus_error: bool = False) -> None:
    """Add an explanation to torch's error about a worker that died; leave other errors alone.

    torch raises this error anywhere in the training process, so it need not come from a loader.

    Args:
        error: any error.
        by_bus_error: whether a bus error is known to have killed the worker. torch does not always
            name the signal, because a Lightning fit removes torch's signal handler.
    """
    lost = re.search(r"DataLoader worker \(pid.*\) (is killed by signal|exited)", str(error))
    if lost is None or not isinstance(error, RuntimeError) or _LOST in str(error):
        return
    reason = (
        "it read a cache file that was truncated meanwhile, or /dev/shm is full (start again, "
        "which repairs the cache in data.cache_dir; or give shared memory more room)"
        if by_bus_error or "Bus error" in f"{error} {error.__cause__}"
        else "most likely it ran out of memory (give data.num_workers or data.prefetch_factor a "
        "smaller value)"
    )
    error.args = (f"{str(error).strip()}\n{_LOST} {reason}",)


class WorkerPass:
    """An iterator over the batches of one pass through a loader, made ahead of time by workers.

    Lightning makes the iterator, and so starts the workers, before it calls the sampler's
    ``set_epoch``. So when the first batch is requested, the iteration is started again if the
    sampler's position has changed since.

    Args:
        begin: starts an iteration over the batches.
        sampler: the sampler of the loader.
    """

    def __init__(self, begin: Callable[[], Iterator[Any]], sampler: Any) -> None:
        self._begin = begin
        self._sampler = sampler if isinstance(sampler, SameTaskSampler) else None
        self._position = self._sampler and self._sampler.place
        self._batches = begin()

    def __iter__(self) -> WorkerPass:
        return self

    def __next__(self) -> Any:
        if self._sampler is not None:
            if self._sampler.place != self._position:
                self._batches = self._begin()
            self._sampler = None  # check only once, before the first batch
        try:
            return next(self._batches)
        except RuntimeError as error:
            self._explain(error)
            raise
        except (ConnectionError, EOFError, FileNotFoundError) as error:
            # Probably a worker died while it was sending a batch, and torch has not noticed yet.
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
