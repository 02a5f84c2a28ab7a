"""Measures commands and processes: peaks of memory, processor time, open files."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

_POLL_SECONDS = 0.02


def run(command: list[str], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a script of this folder; return the JSON of its last line, with its memory peaks.

    Args:
        command: arguments of this Python interpreter.
        environment: variables to add to this process's environment.

    Returns:
        The result with two more entries, in MB: ``resident`` (VmHWM: anonymous memory and touched
        pages of mapped files, which the system reclaims when it needs memory) and ``anonymous``
        (without mapped files). Both are of this process only, without its children.
    """
    with subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # The output is short and fits into the pipes, so it can be read after the process ended.
        anonymous = resident = 0.0
        while process.poll() is None:
            status = _status(process.pid)
            anonymous = max(anonymous, status.get("RssAnon", 0.0))
            resident = max(resident, status.get("VmHWM", 0.0))
            time.sleep(_POLL_SECONDS)
        out, error = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{error}")
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return {**result, "resident": resident, "anonymous": anonymous}


def anonymous_mb(pid: int | None = None) -> float:
    """The anonymous memory of a process now, in MB; of this process by default."""
    return _status(pid or os.getpid()).get("RssAnon", 0.0)


class Seconds:
    """A sum of processor time, in seconds."""

    value = 0.0


@contextmanager
def linear_layers() -> Iterator[Seconds]:
    """Measure the processor time of all torch.nn.Linear layers inside the block."""
    import torch

    counted, forward = Seconds(), torch.nn.Linear.forward

    def timed(self: torch.nn.Linear, input: torch.Tensor) -> torch.Tensor:
        began = time.thread_time()
        found = forward(self, input)
        counted.value += time.thread_time() - began
        return found

    torch.nn.Linear.forward = timed  # type: ignore[method-assign]
    try:
        yield counted
    finally:
        torch.nn.Linear.forward = forward  # type: ignore[method-assign]


def open_files(pid: int | None = None) -> int:
    """The number of open files, sockets and pipes of a process; of this process by default."""
    return len(os.listdir(f"/proc/{pid or os.getpid()}/fd"))


def children() -> list[int]:
    """The ids of this process's running child processes."""
    files = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(pid) for file in files for pid in file.read_text().split()]


def size_mb(folder: Path) -> float:
    """The disk space of all files below a folder, in MB."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) / 1e6


def _status(pid: int) -> dict[str, float]:
    """The memory lines of /proc, in MB; empty if the process has ended or there is no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {f[0].rstrip(":"): int(f[1]) * 1024 / 1e6 for f in fields if f[-1:] == ["kB"]}


def machine(packages: Iterable[str]) -> str:
    """A Markdown paragraph with processor, memory, system, versions and today's date."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores ({_processor()}), "
        f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB memory, "
        f"{platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {versions}."
    )


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
