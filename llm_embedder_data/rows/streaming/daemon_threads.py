"""Threads that do not keep a process from ending, unlike those of concurrent.futures."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any


class DaemonThreads:
    """Runs calls in a few threads, in the order in which they came.

    It can be pickled, and used after a fork: then new threads are started.

    Args:
        n_threads: calls that run at the same time.
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads, self._owner = n_threads, 0
        self._calls: SimpleQueue[tuple[Future[Any], Callable[..., Any], Any]] = SimpleQueue()

    def __reduce__(self) -> tuple[Any, ...]:
        return DaemonThreads, (self._n_threads,)

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        """Return the future result of ``function(argument)``."""
        if self._owner != os.getpid():
            self._owner, self._calls = os.getpid(), SimpleQueue()
            for _ in range(self._n_threads):
                Thread(target=_work, args=(self._calls,), daemon=True).start()
        future: Future[Any] = Future()
        self._calls.put((future, function, argument))
        return future


def _work(calls: SimpleQueue[tuple[Future[Any], Callable[..., Any], Any]]) -> None:
    while True:
        future, function, argument = calls.get()
        try:
            future.set_result(function(argument))
        except BaseException as error:
            future.set_exception(error)
