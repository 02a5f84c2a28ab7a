"""Making ``hydra.main`` raise the errors of jobs unchanged."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_VARIABLE = "HYDRA_FULL_ERROR"


class HydraErrorHandling:
    """A context in which ``hydra.main`` raises the error of a job unchanged.

    By default Hydra prints a traceback and ends the process. With the environment variable
    HYDRA_FULL_ERROR=1 it raises the error, but first prints a line with the overrides of the failed
    job. This context sets the variable and suppresses that line. Inside a job
    (:meth:`inside_job`), the variable and standard error are restored.
    """

    def __enter__(self) -> None:
        self._users_value = os.environ.get(_VARIABLE)
        self._stderr = sys.stderr
        self._apply()

    def __exit__(self, *_: object) -> None:
        self._restore()

    @contextmanager
    def inside_job(self) -> Iterator[None]:
        """Restore the user's environment variable and standard error while a job runs."""
        self._restore()
        try:
            yield
        finally:
            self._apply()

    def _apply(self) -> None:
        os.environ[_VARIABLE] = "1"
        sys.stderr = cast(TextIO, _WithoutJobLine(self._stderr))

    def _restore(self) -> None:
        sys.stderr = self._stderr
        if self._users_value is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = self._users_value


class _WithoutJobLine:
    """A text stream that drops Hydra's line about a failed job."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if text.startswith("Error executing job with overrides: "):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
