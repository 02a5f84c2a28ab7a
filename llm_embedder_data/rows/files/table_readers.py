"""Starts, asks and ends the processes that read tables.

Starting a process takes a fifth of a second. So it is kept for further files, and ended after it
was idle for some seconds.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from llm_embedder_data.rows.files.table_process import table_program
from llm_embedder_data.rows.files.table_process.table_messages import (
    BYTES_PER_SECOND,
    CPU_SECONDS,
    HEADER_BYTES,
    READY,
)
from llm_embedder_data.rows.files.table_process.table_program import BOUNDS_CPU

# An idle process is ended after this many seconds.
_IDLE_SECONDS = 5.0

# The longest wait for an answer, in seconds; the file's size adds to it. It is long where the
# system limits CPU time as well, because reading from a network disk may take long.
PATIENCE_SECONDS = 120.0 if BOUNDS_CPU else 30.0

_log = logging.getLogger(__name__)


class TableReader:
    """A process that reads tables.

    Attributes:
        owner: the id of the process that started it.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        # The process must import the same pyarrow and package as this one. With -P, modules in the
        # program's folder cannot shadow other modules of the same name.
        beside_package = str(Path(__file__).parents[3])
        paths = [*filter(None, sys.path), beside_package]
        environment = {"PYTHONPATH": os.pathsep.join(paths)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", table_program.__file__],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        self._was_slow = False

    def ask(self, request: Mapping[str, Any]) -> bool:
        """Send a request; return whether the process accepted it.

        The request's keys are those of :mod:`.table_program`.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except OSError:
            return False
        return self.answer(PATIENCE_SECONDS)[0] == READY

    def answer(self, patience: float) -> tuple[bytes, pa.Buffer]:
        """Return the letter and content of the next answer.

        The letter is ``b""`` if the process has ended.

        Args:
            patience: the process is killed if the answer takes more seconds than this.
        """
        watch = threading.Timer(patience, self._kill_slow)
        watch.daemon = True
        watch.start()
        try:
            header = self._read(HEADER_BYTES).to_pybytes()
            if len(header) < HEADER_BYTES:
                return b"", header
            length = int.from_bytes(header[1:], "little")
            content = self._read(length)
            return (header[:1] if len(content) == length else b""), content
        finally:
            watch.cancel()

    def why_ended(self, path: str, patience: float) -> str:
        """Return why the process ended while it read a file.

        Args:
            path: the file.
            patience: what :meth:`answer` was called with.
        """
        code = self._process.wait()
        if self._was_slow:
            return f"it is damaged: pyarrow took more than {patience:.0f} s for a part of it"
        name = str(code)
        with suppress(ValueError):
            name = signal.Signals(-code).name
        if name == "SIGXCPU":
            seconds = CPU_SECONDS + os.path.getsize(path) // BYTES_PER_SECOND
            return f"it is damaged: pyarrow took more than {seconds} s for a part of it"
        if name == "SIGKILL":
            return "the process that reads it was killed, probably because memory ran out"
        return f"it is damaged: pyarrow crashed with {name}"

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self, length: int) -> pa.Buffer:
        assert self._process.stdout is not None
        buffer = pa.allocate_buffer(length)
        view = memoryview(buffer).cast("B")
        n_bytes = 0
        while n_bytes < length:
            n_read = self._process.stdout.readinto(view[n_bytes:])  # type: ignore[attr-defined]
            if not n_read:
                break
            n_bytes += n_read
        return buffer.slice(0, n_bytes)

    def _kill_slow(self) -> None:
        self._was_slow = True
        self._process.kill()


_idle: list[TableReader] = []
_timer: threading.Timer | None = None
_has_warned = False


def take_reader(request: Mapping[str, Any]) -> TableReader | None:
    """Return an idle or new process that accepted a request; None if no process can be started."""
    global _has_warned
    while True:
        try:
            reader = _idle.pop()
        except IndexError:
            break
        if reader.owner != os.getpid():  # the reader belongs to the process that forked this one
            continue
        if reader.ask(request):
            return reader
        reader.kill()
    why = "it ended at once"
    try:
        reader = TableReader()
        if reader.ask(request):
            return reader
        reader.kill()
    except OSError as error:
        why = str(error)
    if not _has_warned:
        _has_warned = True
        _log.warning(
            "Cannot start a process to read Arrow and Parquet files (%s): this process reads them, "
            "and a damaged file may crash it",
            why,
        )
    return None


def give_back(reader: TableReader) -> None:
    """Keep a process for the next file, until it has been idle for some seconds."""
    global _timer
    _idle.append(reader)
    if _timer is not None:
        _timer.cancel()
    _timer = threading.Timer(_IDLE_SECONDS, end_idle_readers)
    _timer.daemon = True
    _timer.start()


@atexit.register
def end_idle_readers() -> None:
    """End all processes that wait for further files."""
    while _idle:
        with suppress(IndexError):
            reader = _idle.pop()
            if reader.owner == os.getpid():
                reader.kill()
