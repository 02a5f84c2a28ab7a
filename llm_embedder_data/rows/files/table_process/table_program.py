"""The program that reads tables: answers requests until the asking process closes its pipe."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from llm_embedder_data.rows.files.table_process.checked_slices import checked_slices, row_slices
from llm_embedder_data.rows.files.table_process.file_batches import names_of_columns
from llm_embedder_data.rows.files.table_process.table_messages import (
    BATCH,
    BYTES_PER_SECOND,
    CPU_SECONDS,
    DONE,
    ERROR,
    HEADER_BYTES,
    NAMES,
    PROGRESS,
    READY,
    Unreadable,
    serialized,
)

try:
    import resource
except ImportError:  # Windows: only the asking process can limit the time
    resource = None  # type: ignore[assignment]

# Whether the operating system can kill a process that takes more CPU time than allowed.
BOUNDS_CPU = resource is not None


def main() -> None:
    """Read requests, one JSON line each, from standard input; write answers to standard output."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keep what libraries print out of answers

    def answer(letter: bytes, content: Any = b"") -> None:
        answers.write(letter + len(content).to_bytes(HEADER_BYTES - 1, "little"))
        answers.write(content)
        answers.flush()

    _limit_this_process()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer(READY)
        try:
            _answer_request(answer, request)
        except Unreadable as error:
            answer(ERROR, json.dumps(["unreadable", str(error)]).encode())
        except BrokenPipeError:  # the asking process has ended
            os._exit(0)
        except Exception as error:  # the asking process raises a DataError for any error
            answer(ERROR, json.dumps([type(error).__name__, str(error)]).encode())
        else:
            answer(DONE)


def _answer_request(answer: Callable[[bytes, Any], None], request: Mapping[str, Any]) -> None:
    """Send the batches of a file, or the names of its columns.

    Args:
        answer: sends a letter and content.
        request: ``path`` and ``format``. ``kinds`` asks for columns by name: see
            :func:`.checked_slices`. ``most`` asks for all columns instead: see :func:`.row_slices`.
            If ``kinds`` is None and there is no ``most``, the request is for the columns' names.
    """
    path, file_format, kinds = request["path"], request["format"], request["kinds"]
    seconds = CPU_SECONDS + os.path.getsize(path) // BYTES_PER_SECOND
    _allow_cpu(seconds)

    def progress(share: float) -> None:
        answer(PROGRESS, json.dumps(share).encode())

    if "most" in request:
        batches = row_slices(path, file_format, request["most"], progress)
    elif kinds is None:
        answer(NAMES, json.dumps(names_of_columns(path, file_format)).encode())
        return
    else:
        batches = checked_slices(path, file_format, kinds, progress)
    for batch in batches:
        answer(BATCH, serialized(batch))
        _allow_cpu(seconds)


def _limit_this_process() -> None:
    """Limit this process's memory, let the kernel kill it first, and disable core dumps."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # Linux
        file.write("1000")
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        with open("/proc/meminfo") as file:
            kilobytes = {line.split(":")[0]: line.split()[1] for line in file}
        _limit(resource.RLIMIT_DATA, max(1 << 30, int(kilobytes["MemAvailable"]) * 768))


def _allow_cpu(seconds: int) -> None:
    """Let the system kill this process after this many more seconds of CPU time."""
    if resource is not None:
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)


def _limit(limited: int, value: int) -> None:
    """Set the soft limit of a resource, up to its hard limit (negative: unlimited)."""
    _, hard = resource.getrlimit(limited)
    resource.setrlimit(limited, (value if hard < 0 else min(value, hard), hard))


if __name__ == "__main__":
    main()
