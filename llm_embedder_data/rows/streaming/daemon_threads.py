"""Threads that do not keep a process alive, unlike those of concurrent.futures."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any


class DaemonThreads:
    """Runs calls in a few threads, in the order of submission.

    It can be pickled, and used after a fork; new threads are started then.

    Args:
        n_threads: the number of threads.
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads, self._owner = n_threads, 0
        self._calls: SimpleQueue[tuple[Future[Any], Callable[..., Any], Any]] = SimpleQueue()

    def __reduce__(self) -> tuple[Any, ...]:
        return DaemonThreads, (self._n_threads,)

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        """Call ``function(argument)`` in a thread; return the future of its result."""
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
