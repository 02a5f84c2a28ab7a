"""Measures what a new user waits for: installation, first batch, first training steps.

The first batch is made from a CSV, with the lines in README; the training steps are on data of five
kinds.

    python benchmarks/first_use.py dist/llm_embedder_data-*.whl

``python -m venv`` makes a new environment. The wheel is installed there with the extra demo
and all dependencies, from wherever pip is configured to look. Then README's first Python block is
run several times, and each first use of docs/first-use.md once, with two steps of training. Wall
time and processor time are printed for each.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
FIRST_USE = README.parent / "docs/first-use.md"
N_PAIRS = 200


def write_data(folder: Path) -> None:
    """Write made-up pairs as a CSV, as a folder in BEIR's layout, and as scored JSON Lines."""
    topics = ["ferry", "bus", "tram", "train", "plane", "bike", "canoe", "rocket", "taxi", "metro"]
    pairs = [
        (f"When does {topic} {n} leave?", f"{topic.title()} {n} leaves at {n}:10 from pier {n}.")
        for n in range(N_PAIRS // len(topics))
        for topic in topics
    ]
    with open(folder / "faq.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *pairs])
    scored = [
        {
            "query": question,
            "pos": [answer],
            "neg": [pairs[(i + k) % N_PAIRS][1] for k in (1, 10, 17)],
            "pos_scores": [0.9],
            "neg_scores": [0.5, 0.3, 0.1],
        }
        for i, (question, answer) in enumerate(pairs)
    ]
    write_lines(folder / "scored.jsonl", scored)
    beir = folder / "beir"
    (beir / "qrels").mkdir(parents=True)
    write_lines(
        beir / "corpus.jsonl", [{"_id": f"d{i}", "text": a} for i, (_, a) in enumerate(pairs)]
    )
    write_lines(
        beir / "queries.jsonl", [{"_id": f"q{i}", "text": q} for i, (q, _) in enumerate(pairs)]
    )
    for split, numbers in (("train", range(150)), ("test", range(150, N_PAIRS))):
        judged = "".join(f"q{i}\td{i}\t1\n" for i in numbers)
        (beir / f"qrels/{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")


def write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def first_uses() -> dict[str, str]:
    """The block of shell or Python code under each heading of docs/first-use.md, by heading."""
    found = re.findall(
        r"^## (.+?)\n.*?^```(bash|python)\n(.*?)^```$",
        FIRST_USE.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    return {heading: code for heading, _, code in found}


def timed(what: str, command: list[str], folder: Path, program_folder: Path) -> None:
    """Run a command in a folder; print its wall time and processor time in seconds."""
    path = f"{program_folder}{os.pathsep}{os.environ['PATH']}"
    before, began = os.times(), time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{what}: {done.stdout}{done.stderr}")
    seconds, after = time.monotonic() - began, os.times()
    of_processors = sum(after[2:4]) - sum(before[2:4])  # user and system time of children
    print(f"{what}: {seconds:.1f} s, {of_processors:.1f} s of processors", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--runs", type=int, default=3, help="number of runs of the five lines")
    parser.add_argument(
        "--environment", type=Path, help="an existing environment; nothing is installed"
    )
    given = parser.parse_args()
    readme = README.read_text(encoding="utf-8")
    line = next(line for line in readme.splitlines() if line.startswith("printf "))
    code = re.search(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert code is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["bash", "-c", line], cwd=folder, check=True)
        write_data(folder)
        environment = given.environment or folder / "environment"
        programs = environment.absolute() / "bin"
        python = str(programs / "python")
        if given.environment is None:
            made = [sys.executable, "-m", "venv", str(environment)]
            timed("python -m venv", made, folder, programs)
            wheel = f"{given.wheel.absolute()}[demo]"
            timed("pip install", [python, "-m", "pip", "install", "-q", wheel], folder, programs)
        for run in range(1, given.runs + 1):
            what = f"first batch, run {run}"
            timed(what, [python, "-W", "ignore", "-c", code[1]], folder, programs)
        for heading, block in first_uses().items():
            is_python = "import " in block
            timed(heading, [python if is_python else "bash", "-c", block], folder, programs)


if __name__ == "__main__":
    main()
