"""Arrow and Parquet files of strangers, read by a process that a damaged file may end.

The process is started once for many files, in a fifth of a second, and goes when it has been idle
for a while. It checks all and sends plain columns; decoding and what is made of it overlap.
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
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows import table_process
from llm_embedder_data.rows.containers import compression_suffix
from llm_embedder_data.rows.sources import Format
from llm_embedder_data.rows.table_process import (
    BOUNDS_CPU,
    BYTES_PER_SECOND,
    CPU_SECONDS,
    Kinds,
    Unreadable,
    checked_slices,
    names_of_columns,
    row_slices,
)

# A process that reads nothing for so long is ended, seconds.
_IDLE_SECONDS = 5.0

# Real time from one answer to the next, beside what the file's size allows, seconds. Processor time
# is bounded more closely, but not on all systems; and a network's disk may keep a reader waiting.
_PATIENCE = 120.0 if BOUNDS_CPU else 30.0

_log = logging.getLogger(__name__)


def table_slices(path: str, file_format: Format, kinds: Kinds) -> Iterator[pa.RecordBatch]:
    """The wanted columns of a file, some rows at a time: see :func:`.checked_slices`.

    Args:
        path: of the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        kinds: of the wanted columns.

    Raises:
        DataError: the file is damaged, or a column cannot be used; it names the file.
    """
    for letter, content in _answers(path, file_format, kinds):
        if letter == b"B":
            yield pa.ipc.open_stream(content).read_next_batch()


def table_columns(path: str, file_format: Format) -> list[str]:
    """The names of a file's columns.

    Raises:
        DataError: the file is damaged.
    """
    names: list[str] = []
    for letter, content in _answers(path, file_format, None):
        if letter == b"N":
            names = json.loads(content.to_pybytes())
    return names


def table_rows(path: str, file_format: Format, most: int | None = None) -> Iterator[pa.RecordBatch]:
    """All columns of a file, some rows at a time: see :func:`.row_slices`.

    Args:
        path: of the file.
        file_format: ``"parquet"`` or ``"arrow"``.
        most: rows that are wanted; None for all.

    Raises:
        DataError: the file is damaged.
    """
    for letter, content in _answers(path, file_format, None, {"most": most}):
        if letter == b"B":
            yield pa.ipc.open_stream(content).read_next_batch()


# --------------------------------------------------------------------------------------------------


def _answers(
    path: str,
    file_format: Format,
    kinds: Kinds | None,
    rows: Mapping[str, int | None] | None = None,
) -> Iterator[tuple[bytes, Any]]:
    if rows is None and (suffix := compression_suffix(path)):
        raise DataError.at(
            path,
            f"a {file_format} file that is compressed as a whole ({suffix}) cannot be read "
            "(decompress it; both formats have a compression of their own)",
        )
    request: dict[str, Any] = {"path": os.path.abspath(path), "format": file_format, "kinds": kinds}
    request |= rows or {}
    reader = _reader(request)
    if reader is None:
        yield from _answers_of_this_process(path, file_format, kinds, rows)
        return
    whole = False
    try:
        patience = _PATIENCE + os.path.getsize(path) / BYTES_PER_SECOND
        while True:
            letter, content = reader.answer(patience)
            whole = letter in (b"D", b"E")
            if letter == b"D":
                return
            if letter == b"E":
                kind, sentence = json.loads(content.to_pybytes())
                raise _error(path, file_format, kind, sentence)
            if letter == b"":
                raise _cannot_be_read(path, file_format, reader.end(path, patience))
            yield letter, content
    finally:
        if whole:
            _idle.append(reader)
            _end_when_idle()
        else:
            reader.kill()


def _answers_of_this_process(
    path: str, file_format: Format, kinds: Kinds | None, rows: Mapping[str, int | None] | None
) -> Iterator[tuple[bytes, Any]]:
    """Where no process can be started: what ends pyarrow ends this one."""
    try:
        if rows is not None:
            for batch in row_slices(path, file_format, rows["most"]):
                yield b"B", table_process.serialized(batch)
            return
        if kinds is None:
            names = json.dumps(names_of_columns(path, file_format))
            yield b"N", pa.py_buffer(names.encode())
            return
        for batch in checked_slices(path, file_format, kinds):
            yield b"B", table_process.serialized(batch)
    except Unreadable as error:
        raise _error(path, file_format, "unreadable", str(error)) from error
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise _error(path, file_format, type(error).__name__, str(error)) from error


def _error(path: str, file_format: Format, kind: str, sentence: str) -> DataError:
    if kind == "unreadable":
        return DataError.at(path, _printable(sentence))
    if kind in ("MemoryError", "ArrowMemoryError"):
        return _cannot_be_read(path, file_format, f"it takes more memory than there is: {sentence}")
    return _cannot_be_read(path, file_format, sentence or kind)


def _cannot_be_read(path: str, file_format: Format, why: str) -> DataError:
    return DataError.at(
        path,
        f"cannot be read as {file_format}: {_printable(why)} (is it whole, and is its ending "
        "right?)",
    )


def _printable(text: str) -> str:
    """On one line, without the control characters that a file may hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# -- the processes ---------------------------------------------------------------------------------


class _Reader:
    """A process that reads tables, as its owner sees it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        # Found as this process finds them. -P: the modules beside the program have names of others.
        known = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", table_process.__file__],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **known},
        )
        self._was_slow = False

    def ask(self, request: Mapping[str, Any]) -> bool:
        """Whether the process took a request up."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except OSError:
            return False
        return self.answer(_PATIENCE)[0] == b"R"

    def answer(self, patience: float) -> tuple[bytes, pa.Buffer]:
        """The letter and the content of the next answer; none when the process has ended."""
        watch = threading.Timer(patience, self._end_slow)
        watch.daemon = True
        watch.start()
        try:
            head = self._read(9).to_pybytes()
            if len(head) < 9:
                return b"", head
            length = int.from_bytes(head[1:], "little")
            content = self._read(length)
            return (head[:1] if len(content) == length else b""), content
        finally:
            watch.cancel()

    def _read(self, length: int) -> pa.Buffer:
        assert self._process.stdout is not None
        buffer = pa.allocate_buffer(length)
        view = memoryview(buffer).cast("B")
        n_read = 0
        while n_read < length:
            if not (more := self._process.stdout.readinto(view[n_read:])):  # type: ignore[attr-defined]
                break
            n_read += more
        return buffer.slice(0, n_read)

    def _end_slow(self) -> None:
        self._was_slow = True
        self._process.kill()

    def end(self, path: str, patience: float) -> str:
        """Why the process ended while it read a file."""
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
            return "its reader was killed, which systems do where memory runs out"
        return f"it is damaged: pyarrow ends with {name} on it"

    def kill(self) -> None:
        """End the process; it leaves nothing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


_idle: list[_Reader] = []
_timer: threading.Timer | None = None
_told = False


def _reader(request: Mapping[str, Any]) -> _Reader | None:
    """A process that has taken a request up; None where none can be started."""
    global _told
    while True:
        try:
            reader = _idle.pop()
        except IndexError:
            break
        if reader.owner != os.getpid():  # forked since
            continue
        if reader.ask(request):
            return reader
        reader.kill()
    why = "it ends at once"
    try:
        reader = _Reader()
        if reader.ask(request):
            return reader
        reader.kill()
    except OSError as error:
        why = str(error)
    if not _told:
        _told = True
        _log.warning(
            "No process to read Arrow and Parquet files can be started (%s): they are read in this "
            "one, which a damaged file may end",
            why,
        )
    return None


def _end_when_idle() -> None:
    global _timer
    if _timer is not None:
        _timer.cancel()
    _timer = threading.Timer(_IDLE_SECONDS, _end_idle)
    _timer.daemon = True
    _timer.start()


@atexit.register
def _end_idle() -> None:
    while _idle:
        with suppress(IndexError):
            reader = _idle.pop()
            if reader.owner == os.getpid():
                reader.kill()
