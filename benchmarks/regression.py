"""Tells whether one checkout is slower than another: warm start, steps on the fly and cached.

    python benchmarks/regression.py --before FOLDER --after FOLDER [--rows 1000000] [--turns 7]

Both checkouts read the same made-up rows, each with separate caches. A turn starts one process of
each and alternates their measurements, so that both run while the machine is equally fast. Times
are processor time, so that other work on the machine counts little. The table shows the medians of
all measurements, and the median and quartiles of the ratios of neighbouring measurements:

- warm start: seconds from the files to the first batch of ``rows`` rows in six datasets, with
  caches in place;
- first steps: milliseconds per step on the fly, over the first 100 steps of a process;
- later steps: the same for later steps, in short stretches;
- cached steps: milliseconds per step with the token cache, in short stretches.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from feeds import FEEDS, Ours
from loads import make_load
from measuring import table

SIDES = ("before", "after")
BATCH_SIZE, SLICES = 32, 5
START, FIRST, LATER, CACHED = "warm start, s", "first steps, ms", "later steps, ms", "cached, ms"
N_STEPS = {FIRST: 100, LATER: 30, CACHED: 500}
SCHEDULE = [START, FIRST, *SLICES * [LATER, CACHED]]

Times = dict[str, dict[str, list[float]]]


# -- what the child process of a checkout measures ------------------------------------------------


class Measures:
    """Runs the measurements of :data:`SCHEDULE` with the package that this process imports.

    Args:
        folder: folder of the rows: ``many`` for the warm start, ``few`` for the steps.
        cache: folder for the caches.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        from llm_embedder_data.demo import demo_encoder

        self._folder, self._cache, self._model = folder, cache, demo_encoder()
        self._batches: dict[str, Iterator[Any]] = {}

    def __call__(self, what: str) -> float:
        """Measure the seconds of a start, or the milliseconds of a step."""
        if what == START:
            system = self._system("ours, on the fly", "many")
            begin = time.process_time()
            next(system.batches(BATCH_SIZE, 0))
            return time.process_time() - begin
        batches, n_steps = self._opened("cached" if what == CACHED else "on the fly"), N_STEPS[what]
        begin = time.process_time()
        for _ in islice(batches, n_steps):
            pass
        return 1000 * (time.process_time() - begin) / n_steps

    def _system(self, name: str, rows: str) -> Ours:
        system = FEEDS[name](self._folder / rows, self._cache / rows, self._model)
        assert isinstance(system, Ours)
        return system

    def _opened(self, kind: str) -> Iterator[Any]:
        """An iterator of batches over all epochs; no batch is made yet."""
        if kind not in self._batches:
            loader = self._system(f"ours, {kind}", "few").loader(BATCH_SIZE, 0)

            def batches() -> Iterator[Any]:
                for epoch in range(sys.maxsize):
                    loader.sampler.set_epoch(epoch)
                    yield from loader

            self._batches[kind] = batches()
        return self._batches[kind]


def answer(folder: Path, cache: Path) -> None:
    """Print the package's folder; then print the result of each measurement named on stdin."""
    import torch

    import llm_embedder_data

    torch.set_num_threads(1)
    measures = Measures(folder, cache)
    print(json.dumps(str(Path(llm_embedder_data.__file__).parent)), flush=True)
    for line in sys.stdin:
        print(json.dumps(measures(line.strip())), flush=True)


# -- the comparison -------------------------------------------------------------------------------


class Side:
    """A child process that measures one checkout.

    Args:
        package: the folder that contains the checkout's package: see :func:`copied`.
        folder: folder of the rows.
        cache: folder of the checkout's caches.

    Raises:
        SystemExit: the process imports another package, or has failed.
    """

    def __init__(self, package: Path, folder: Path, cache: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--answer", str(folder), str(cache)],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(package)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = self._line()
        if Path(found) != package / "llm_embedder_data":
            raise SystemExit(f"{found} was imported in place of {package}/llm_embedder_data")

    def ask(self, what: str) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        self._process.communicate()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of a checkout ended with {self._process.wait()}")
        return json.loads(line)


def copied(checkout: Path, folder: Path) -> Path:
    """Copy a checkout's package and conf/ as a wheel has them, so that no other is imported."""
    shutil.copytree(checkout / "llm_embedder_data", folder / "llm_embedder_data")
    shutil.copytree(checkout / "conf", folder / "llm_embedder_data/conf")
    return folder.resolve()


def compare(checkouts: Mapping[str, Path], arguments: argparse.Namespace) -> Times:
    """All times by measurement and side; times at the same index were measured in succession."""
    times: Times = {what: {side: [] for side in SIDES} for what in SCHEDULE}
    if arguments.folder:
        Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        packages = {side: copied(checkouts[side], folder / side) for side in SIDES}
        make_load(folder / "rows/many", rows=-(-arguments.rows // 6), negatives=7, words=8)
        make_load(folder / "rows/few", rows=arguments.few, negatives=7, words=80)
        for turn in range(-1, arguments.turns):
            order = SIDES if turn % 2 else SIDES[::-1]
            sides = {
                side: Side(packages[side], folder / "rows", folder / f"{side} caches")
                for side in order
            }
            for what in SCHEDULE:
                for side in order:
                    taken = sides[side].ask(what)
                    if turn >= 0:  # turn -1 makes the caches
                        times[what][side].append(taken)
            for one in sides.values():
                one.close()
            print(f"turn {turn + 1} of {arguments.turns}", file=sys.stderr, flush=True)
    return times


def page(times: Times) -> str:
    """The table in Markdown."""
    rows = []
    for what, taken in times.items():
        before, after = (taken[side] for side in SIDES)
        ratios = sorted(b / a for a, b in zip(before, after, strict=True))
        low, middle, high = statistics.quantiles(ratios, method="inclusive")
        medians = [f"{statistics.median(one):.4g}" for one in (before, after)]
        rows.append([what, *medians, f"{middle:.3f}", f"{low:.3f} to {high:.3f}", str(len(ratios))])
    return table(["", *SIDES, "after / before", "its quartiles", "pairs"], rows)


def parsed(command_line: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for side in SIDES:
        parser.add_argument(f"--{side}", help="folder of a checkout")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the warm start")
    parser.add_argument(
        "--few", type=int, default=2000, help="rows of each of six tasks, for steps"
    )
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--folder", help="where rows and caches go; a temporary one if left out")
    parser.add_argument("--answer", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(command_line)
    if not arguments.answer and not (arguments.before and arguments.after):
        parser.error("--before and --after each name the folder of a checkout")
    return arguments


def main() -> None:
    arguments = parsed()
    if arguments.answer:
        folder, cache = map(Path, arguments.answer)
        answer(folder, cache)
        return
    checkouts = {side: Path(getattr(arguments, side)) for side in SIDES}
    print(page(compare(checkouts, arguments)))


if __name__ == "__main__":
    main()
