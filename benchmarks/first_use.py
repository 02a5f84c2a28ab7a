"""From ``pip install`` to the first batch of one's own CSV, by the lines that README prints.

    python benchmarks/first_use.py dist/llm_embedder_data-*.whl

A new environment is made by ``python -m venv``. The wheel is installed there with the extra demo
and all dependencies, from wherever pip is configured to look. Then README's first Python block is
run several times. Wall time and processor time are printed for each.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def timed(what: str, command: list[str], folder: Path) -> None:
    """Run a command in a folder; print the seconds that it took, by the clock and of processors."""
    before, began = os.times(), time.monotonic()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.monotonic() - began, os.times()
    of_processors = sum(after[2:4]) - sum(before[2:4])  # user and system time of children
    print(f"{what}: {seconds:.1f} s, {of_processors:.1f} s of processors", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--runs", type=int, default=3, help="of the five lines")
    parser.add_argument("--environment", type=Path, help="one that is there; nothing is installed")
    given = parser.parse_args()
    readme = README.read_text(encoding="utf-8")
    csv = next(line for line in readme.splitlines() if line.startswith("printf "))
    code = re.search(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert code is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["bash", "-c", csv], cwd=folder, check=True)
        environment = given.environment or folder / "environment"
        python = str(environment.absolute() / "bin/python")
        if given.environment is None:
            timed("python -m venv", [sys.executable, "-m", "venv", str(environment)], folder)
            wheel = f"{given.wheel.absolute()}[demo]"
            timed("pip install", [python, "-m", "pip", "install", "-q", wheel], folder)
        for run in range(1, given.runs + 1):
            timed(f"first batch, run {run}", [python, "-W", "ignore", "-c", code[1]], folder)


if __name__ == "__main__":
    main()
