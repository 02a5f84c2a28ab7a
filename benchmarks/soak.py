"""Checks every batch of several ranks for hours, and that neither memory nor open files grow.

    make soak                                  # an hour; ARGS='--minutes 600'
    python benchmarks/soak.py [--minutes 60] [--ranks 2] [--workers 1] [--epochs-per-worker 3] ...

Each rank is a process in a gloo group, with worker processes that are replaced every few epochs. At
every step the ranks exchange their batches. Together these must come from one dataset, have no row
twice, have the right id for each row, and equal, in order, the global batch that a plan for one
rank has at that step. Just before its workers are replaced, a rank records the anonymous memory of
itself and its workers, and the open files of all. The output has one line a minute, then the
verdict. The exit code is 1 if a batch was wrong or something has grown.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import warnings
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp
from loads import TASKS, make_load
from measuring import anonymous_mb, children, machine, open_files

from llm_embedder_data import EpochPlan, RetrievalDataModule
from llm_embedder_data.demo import demo_encoder

# Allowed growth from beginning to end, which Python and the allocator cause.
_MEMORY_SLACK = 1.03
_NOTED = ("rank MB", "workers MB", "open files")

Notes = dict[str, float]


def make_datamodule(
    folder: Path, arguments: argparse.Namespace, batch_size: int
) -> RetrievalDataModule:
    """The data module of ``folder``. It drops no row, so row numbers equal those of the plan."""
    return RetrievalDataModule(
        demo_encoder(),
        train_data=[str(folder / task / "train.jsonl") for task in TASKS],
        use_train_config=False,
        batch_size=batch_size,
        tokenize=arguments.tokenize,
        length_window=arguments.length_window,
        num_workers=arguments.workers,
        cache_dir=folder / "cache",
    )


def check(step: int, shares: list[dict[str, Any]], plan: EpochPlan) -> None:
    """Raise an error if a global batch differs from the plan.

    Args:
        step: step of the epoch.
        shares: the batch of each rank.
        plan: the epoch's plan for one rank.
    """
    name, rows = plan[step]
    held = [row for share in shares for row in share["row"]]
    where = f"epoch {plan.epoch}, step {step}"
    if {share["dataset"] for share in shares} != {name} or len({s["task"] for s in shares}) > 1:
        raise SystemExit(
            f"{where}: ranks hold {[share['dataset'] for share in shares]}, not {name}"
        )
    if len(set(held)) != len(held):
        raise SystemExit(f"{where}: a row is there twice: {sorted(held)}")
    if held != rows.tolist():
        raise SystemExit(f"{where}: rows {held} of {name}, the plan has {rows.tolist()}")
    if held != [one for share in shares for one in share["query_id"]]:
        raise SystemExit(f"{where}: queries that are not of their rows")


def note() -> Notes:
    """The memory and open files of this rank and of its workers."""
    gc.collect()
    workers = children()
    return {
        "rank MB": anonymous_mb(),
        "workers MB": sum(anonymous_mb(pid) for pid in workers),
        "open files": open_files() + sum(open_files(pid) for pid in workers),
    }


def run_rank(rank: int, folder: Path, arguments: argparse.Namespace) -> None:
    """Run one rank until the time is over."""
    warnings.simplefilter("ignore")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=arguments.ranks
    )
    datamodule = make_datamodule(folder, arguments, arguments.batch_size)
    datamodule.setup("fit")
    alone = make_datamodule(folder, arguments, arguments.batch_size * arguments.ranks)
    alone.setup("fit")
    plan = alone.plan(num_replicas=1)
    began = printed = time.monotonic()
    notes: list[Notes] = []
    n_batches, over, loader = 0, False, None
    for epoch in count():
        if epoch % arguments.epochs_per_worker == 0:
            notes += (
                [] if loader is None else [note()]
            )  # at the end of the workers' life, so that notes compare
            loader = datamodule.train_dataloader()  # the old loader's workers end here
        loader.sampler.set_epoch(epoch)
        for step, batch in enumerate(loader):
            share = {name: batch[name] for name in ("dataset", "task", "query_id")}
            share |= {"row": batch["row"].tolist(), "clock": time.monotonic() - began}
            shares: list[Any] = [None] * arguments.ranks
            dist.all_gather_object(shares, share)
            check(step, shares, plan.at(epoch))
            n_batches += 1
            over = shares[0]["clock"] > 60 * arguments.minutes  # all ranks use the clock of rank 0
            if rank == 0 and (time.monotonic() - printed >= 60 or over):
                printed = time.monotonic()
                last = ", ".join(f"{n:,.0f} {name}" for name, n in (notes or [{}])[-1].items())
                print(
                    f"{shares[0]['clock'] / 60:6.1f} min: {n_batches:,} global batches, epoch "
                    f"{epoch}, {len(notes)} lives of workers; {last}",
                    flush=True,
                )
            if over:
                break
        if over:
            break
    of_ranks: list[Any] = [None] * arguments.ranks
    dist.all_gather_object(of_ranks, notes)
    dist.destroy_process_group()
    if rank == 0:
        judge(of_ranks)


def judge(of_ranks: list[list[Notes]]) -> None:
    """Print memory and open files at the beginning and at the end; exit with 1 if they grew."""
    if len(of_ranks[0]) < 4:
        raise SystemExit(f"{len(of_ranks[0])} lives of workers say nothing: give more --minutes")
    grown = []
    for rank, notes in enumerate(of_ranks):
        later = notes[1:]  # the first workers fill caches that stay
        third = max(1, len(later) // 3)
        for name in _NOTED:
            before = median(one[name] for one in later[:third])
            after = median(one[name] for one in later[-third:])
            print(f"rank {rank}, {len(notes)} lives: {name} {before:,.1f} -> {after:,.1f}")
            if after > before * (1.0 if name == "open files" else _MEMORY_SLACK):
                grown.append(f"rank {rank}: {name}")
    sys.stdout.flush()
    if grown:
        raise SystemExit(f"grown: {', '.join(grown)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="workers per rank")
    parser.add_argument("--epochs-per-worker", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8, help="queries per rank and step")
    parser.add_argument("--rows", type=int, default=400, help="rows of each of the six tasks")
    parser.add_argument("--tokenize", default="on-the-fly")
    parser.add_argument("--length-window", type=int, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        make_load(folder, rows=arguments.rows, negatives=8, words=20)
        make_datamodule(folder, arguments, arguments.batch_size).prepare_data()
        print(machine(["torch", "datasets", "numpy"]), flush=True)
        try:
            mp.spawn(run_rank, (folder, arguments), nprocs=arguments.ranks)
        except mp.ProcessExitedException as error:
            sys.exit(error.exit_code)
    print("Every global batch was the plan's, and nothing has grown.")


if __name__ == "__main__":
    main()
