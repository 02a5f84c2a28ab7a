"""Time and memory of batches without duplicates, beside sentence-transformers' NO_DUPLICATES.

A made-up file of (query, positive) rows, in which each positive stands in about four rows, some in
hundreds, and one query in ten comes twice. In a process of its own, each way reads the rows and
then makes the batches of an epoch, as row numbers alone:

- ours: the plan of a data module with ``no_duplicates=True``;
- shuffled: the same without it;
- NO_DUPLICATES and NO_DUPLICATES_HASHED: sentence-transformers' batch samplers on the rows that
  ``load_dataset`` gives.

    python benchmarks/no_duplicates.py [--rows 1000000] [--batch-size 256] [--steps 1000] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from measuring import anonymous_mb, machine, run, table

PAGE = Path(__file__).parent / "results" / "no_duplicates.md"
WAYS = ("ours", "shuffled", "NO_DUPLICATES", "NO_DUPLICATES_HASHED")


def make_rows(path: Path, n_rows: int) -> None:
    """Write the rows; the most frequent positive stands in about one row of 2,000."""
    random_ = random.Random(0)
    with open(path, "w") as file:
        for number in range(n_rows):
            query = number - 1 if number % 10 == 9 else number
            answer = int(n_rows / 4 * random_.random() ** 1.2)
            row = {
                "query": f"what do we know about the subject with the number {query}?",
                "pos": [f"what is known of {answer} is told in this passage of some words " * 3],
                "neg": ["something else"],
            }
            file.write(json.dumps(row) + "\n")


def measure(way: str, path: str, batch_size: int, n_steps: int) -> dict[str, float]:
    """Return seconds, milliseconds a step, memory in MB, and the repeated texts of a batch."""
    if way in ("ours", "shuffled"):
        return _ours(path, batch_size, n_steps, no_duplicates=way == "ours")
    return _peer(path, batch_size, n_steps, hashed=way.endswith("HASHED"))


def _ours(path: str, batch_size: int, n_steps: int, *, no_duplicates: bool) -> dict[str, float]:
    from llm_embedder_data import RetrievalDataModule
    from llm_embedder_data.demo import demo_encoder

    with tempfile.TemporaryDirectory() as cache:
        module = RetrievalDataModule(
            demo_encoder(),
            path,
            batch_size=batch_size,
            no_duplicates=no_duplicates,
            cache_dir=cache,
        )
        module.prepare_data()
        begin, before = time.perf_counter(), anonymous_mb()
        module.setup("fit")
        found = time.perf_counter() - begin
        plan = module.plan()
        figures = _steps((rows for _, rows in plan), n_steps)
        growth = anonymous_mb() - before
        [train_set] = module.train_sets().values()
        texts = []
        for _, numbers in islice(plan, 50):
            rows = train_set.rows[numbers.tolist()]
            texts.append([*rows["query"], *(keys[0] for keys in rows["key"])])
        return {"found": found, **figures, "growth": growth, "repeated": _repeated(texts)}


def _peer(path: str, batch_size: int, n_steps: int, *, hashed: bool) -> dict[str, float]:
    from datasets import load_dataset
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

    with tempfile.TemporaryDirectory() as cache:
        rows = load_dataset("json", data_files=path, split="train", cache_dir=cache)
        rows = rows.map(lambda row: {"positive": row["pos"][0]}, remove_columns=["pos", "neg"])
        begin, before = time.perf_counter(), anonymous_mb()
        sampler = NoDuplicatesBatchSampler(
            rows, batch_size, drop_last=True, precompute_hashes=hashed, precompute_num_proc=1
        )
        batches = iter(sampler)
        first = next(batches)
        found = time.perf_counter() - begin
        figures = _steps(batches, n_steps)
        growth = anonymous_mb() - before
        texts = [*rows[first]["query"], *rows[first]["positive"]]
        return {"found": found, **figures, "growth": growth, "repeated": _repeated([texts])}


def _steps(batches: Iterable[Any], n_steps: int) -> dict[str, float]:
    begin = time.perf_counter()
    count = sum(1 for _ in islice(batches, n_steps))
    return {"step": (time.perf_counter() - begin) / count * 1000}


def _repeated(batches: list[list[str]]) -> float:
    """Return how many texts of a batch stand in it before, on average."""
    return float(np.mean([len(texts) - len(set(texts)) for texts in batches]))


def page(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> str:
    """Return the results as Markdown, medians over the repeats."""
    lines = []
    for way, figures in found.items():
        median = {name: statistics.median(one[name] for one in figures) for name in figures[0]}
        lines.append(
            [
                way,
                f"{median['found']:.1f}",
                f"{median['step']:.2f}",
                f"{median['growth']:.0f}",
                f"{median['repeated']:.1f}",
            ]
        )
    header = ["", "before the first batch, s", "ms a step", "memory, MB", "repeated texts a batch"]
    return f"""# Batches without duplicates

{machine(["numpy", "datasets", "sentence-transformers"])}

{options.rows:,} rows of (query, positive), batches of {options.batch_size},
{options.steps:,} steps, medians of {options.repeats} runs in turn, by the clock. Each positive
stands in about four rows; one query in ten comes twice. A step is the row numbers of a batch alone.
Memory is what the process gains from the opened rows to the last step.

{table(header, lines)}

- ours: `no_duplicates=True`; shuffled: the same data module without it.
- NO_DUPLICATES, NO_DUPLICATES_HASHED: sentence-transformers' batch samplers. A batch of theirs is
  that of one rank, and the number of batches of an epoch is known at its end.

`python benchmarks/no_duplicates.py --rows {options.rows} --repeats {options.repeats} --write`
gives this page again.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write the page of results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*json.loads(options.one))))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        make_rows(path, options.rows)
        for _ in range(options.repeats):
            for way, figures in found.items():
                one = json.dumps([way, os.fspath(path), options.batch_size, options.steps])
                figures.append(run([sys.argv[0], "--one", one]))
    text = page(found, options)
    print(text)
    if options.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
