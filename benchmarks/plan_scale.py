"""Measures what a step of the plan costs, for 10^3 to 10^9 rows and for 1 to 4,096 ranks.

    python benchmarks/plan_scale.py [--steps 2000] [--datasets 200]

The figures are for one rank with 32 queries per step: milliseconds per step in sequence, as a
sampler takes them; milliseconds for a step anywhere in the epoch; and the growth of the process's
memory. Each is the best of five rounds, with its ratio to the first line. Rows are counted over all
datasets.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
from measuring import anonymous_mb, machine, run, table

ROUNDS = 5
BATCH_SIZE = 32

# (rows, datasets, ranks): more rows, more ranks, and both with many datasets.
ROWS = [(10**power, 1, 1) for power in range(3, 10)]
RANKS = [(10**9, 1, ranks) for ranks in (8, 64, 512, 4096)]


def measure(rows: int, datasets: int, ranks: int, method: str, steps: int) -> dict[str, float]:
    """Measure one plan, in this process."""
    from llm_embedder_data import EpochPlan
    from llm_embedder_data.batches.plan.sampler import SameTaskSampler

    sizes = {f"dataset {i}": rows // datasets for i in range(datasets)}
    plan = EpochPlan(sizes, BATCH_SIZE, ranks, organize_method=method)  # type: ignore[arg-type]
    anywhere = np.random.default_rng(0).integers(len(plan), size=200).tolist()
    sampler = SameTaskSampler(plan, rank=ranks - 1)

    def in_sequence() -> int:
        return sum(1 for _ in islice(sampler, steps))

    def one_by_one() -> int:
        return sum(plan.batch(step, ranks - 1) is not None for step in anywhere)

    in_sequence()
    before = anonymous_mb()
    sequence, alone = best(in_sequence), best(one_by_one)
    return {"sequence": sequence, "alone": alone, "growth": anonymous_mb() - before}


def best(steps: Callable[[], int]) -> float:
    """Milliseconds of one step."""
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        n_steps = steps()
        seconds.append((time.perf_counter() - begin) / n_steps)
    return min(seconds) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--datasets", type=int, default=200)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*json.loads(arguments.one))))
        return
    plans = [(*one, "epoch") for one in (*ROWS, *RANKS)]
    plans += [(10**9, arguments.datasets, 4096, m) for m in ("epoch", "epoch-static", "random")]
    lines = []
    first: dict[str, Any] | None = None
    for rows, datasets, ranks, method in plans:
        one = json.dumps([rows, datasets, ranks, method, arguments.steps])
        result = run([sys.argv[0], "--one", one])
        first = first or result
        lines.append(
            [f"{rows:,}", f"{datasets}", f"{ranks:,}", method]
            + [
                f"{result[name]:.4f} ({result[name] / first[name]:.2f} x)"
                for name in ("sequence", "alone")
            ]
            + [f"{result['growth']:.1f}"]
        )
    header = ["rows", "datasets", "ranks", "organize_method"]
    header += ["ms a step in sequence", "ms a step anywhere", "memory growth, MB"]
    print(machine(["numpy"]) + "\n")
    print(table(header, lines))


if __name__ == "__main__":
    main()
