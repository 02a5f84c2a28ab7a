"""Exact search on the CPU: time, memory and the metrics' share, compared with other ways.

    python benchmarks/search.py    # peers too; then one million passages and 10,000 queries
    python benchmarks/search.py --passages 20000 --queries 500 --large-passages 0

Vectors are random, normalized, of 384 dimensions, in a memory-mapped file of float32. Each run is a
separate process with one thread. Time is processor time, which other jobs distort less than wall
time. Memory is the peak of a process's anonymous memory, without the mapped file, less what it had
before the search. The page is written to benchmarks/results/search.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import anonymous_mb, machine, run, table

WIDTH, DEPTH = 384, 100
CUTOFFS = (1, 5, 10, 100)
PAGE = Path(__file__).parent / "results" / "search.md"
WAYS = {
    "ours": "`top_k`, reading the mapped file in blocks",
    "torch": "`torch.topk` of blocks of 2,048 queries x 65,536 passages, merged",
    "sentence-transformers": "`util.semantic_search` with its defaults",
}


def make_vectors(path: Path, n_rows: int, seed: int) -> None:
    """Write normalized random vectors, a block at a time."""
    made = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, WIDTH))
    random = np.random.default_rng(seed)
    for start in range(0, n_rows, 50_000):
        block = random.standard_normal((min(50_000, n_rows - start), WIDTH), np.float32)
        made[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    made.flush()


def search(way: str, folder: Path) -> dict[str, Any]:
    """Search once in this process."""
    import torch

    corpus = np.load(folder / "corpus.npy", mmap_mode="r")
    queries = torch.from_numpy(np.load(folder / "queries.npy"))
    torch.ones(512, 512) @ torch.ones(512, 512)
    found, seconds_of_metrics = None, 0.0
    if way == "ours":
        from llm_embedder_data.mining.retrieval_metrics import retrieval_metrics
        from llm_embedder_data.mining.search import top_k

        before, began = anonymous_mb(), time.process_time()
        scores, found = top_k(queries, corpus, torch.arange(len(corpus)), DEPTH)
        seconds = time.process_time() - began
        positives = torch.arange(len(queries))[:, None] * 7 % len(corpus)
        retrieval_metrics(found, positives, CUTOFFS)
        seconds_of_metrics = time.process_time() - began - seconds
    elif way == "torch":
        before, began = anonymous_mb(), time.process_time()
        scores = _with_torch(queries, corpus)
        seconds = time.process_time() - began
    else:
        from sentence_transformers.util import semantic_search

        before = anonymous_mb()
        whole = torch.from_numpy(np.array(corpus))  # this way cannot search a mapped file
        began = time.process_time()
        hits = semantic_search(queries, whole, top_k=DEPTH)
        seconds = time.process_time() - began
        scores = torch.tensor([[hit["score"] for hit in of_query] for of_query in hits])
        before += corpus.nbytes / 1e6  # the vectors themselves are not counted
    return {
        "before": before,
        "seconds": seconds,
        "metrics": seconds_of_metrics,
        "sum": float(scores.double().sum()),
    }


def _with_torch(queries: Any, corpus: Any) -> Any:
    import torch

    best = torch.full((len(queries), DEPTH), -torch.inf)
    for start in range(0, len(corpus), 65_536):
        block = torch.from_numpy(np.array(corpus[start : start + 65_536])).T
        for first in range(0, len(queries), 2048):
            here = slice(first, first + 2048)
            new = (queries[here] @ block).topk(min(DEPTH, block.shape[1])).values
            best[here] = torch.cat([best[here], new], 1).topk(DEPTH).values
    return best


def measured(way: str, folder: Path) -> dict[str, float]:
    found = run([__file__, "--run", way, str(folder)], {"OMP_NUM_THREADS": "1"})
    return {**found, "memory": found["anonymous"] - found["before"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", nargs=2, metavar=("WAY", "FOLDER"))
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--large-passages", type=int, default=1_000_000)
    parser.add_argument("--large-queries", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(search(given.run[0], Path(given.run[1]))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_vectors(folder / "corpus.npy", given.passages, 1)
        make_vectors(folder / "queries.npy", given.queries, 2)
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(given.repeats):
            for way in WAYS:
                found[way].append(measured(way, folder))
        sums = [runs[0]["sum"] for runs in found.values()]
        assert max(sums) - min(sums) < 1e-6 * abs(sums[0]), sums
        large = None
        if given.large_passages:
            make_vectors(folder / "corpus.npy", given.large_passages, 3)
            make_vectors(folder / "queries.npy", given.large_queries, 4)
            large = measured("ours", folder)
    given.page.write_text(page(given, found, large))
    print(given.page.read_text())


def page(given: Any, found: dict[str, list[dict[str, float]]], large: Any) -> str:
    ours = statistics.median(one["seconds"] for one in found["ours"])
    rows = []
    for way, runs in found.items():
        seconds = [one["seconds"] for one in runs]
        median = statistics.median(seconds)
        memory = statistics.median(one["memory"] for one in runs)
        rows.append(
            [
                *(way, WAYS[way], f"{median:.1f}", f"{min(seconds):.1f} to {max(seconds):.1f}"),
                *(f"{median / ours:.2f}", f"{memory:,.0f}"),
            ]
        )
    header = [
        "",
        "how",
        "processor seconds, median",
        "from to",
        "of ours",
        "memory beside the vectors, MB",
    ]
    lines = [
        "# Exact search",
        "",
        f"`python benchmarks/search.py --passages {given.passages} --queries {given.queries} "
        f"--large-passages {given.large_passages} --large-queries {given.large_queries}`",
        "",
        f"The best {DEPTH} of {given.passages:,} passages for {given.queries:,} queries, {WIDTH} "
        f"dimensions, float32, {given.repeats} processes each, in turns, with one "
        "thread; processor time, since other jobs ran beside. All find the same scores.",
        "",
        table(header, rows),
        "",
    ]
    if large is not None:
        share = large["metrics"] / (large["seconds"] + large["metrics"])
        lines += [
            f"Of {given.large_passages:,} passages for {given.large_queries:,} queries: "
            f"{large['seconds']:.0f} s of processor time and {large['memory']:,.0f} MB beside "
            "the mapped file. The "
            f"metrics at {', '.join(map(str, CUTOFFS))} take {large['metrics']:.2f} s more, "
            f"{100 * share:.2f} % of the time.",
            "",
        ]
    return "\n".join([*lines, machine(["torch", "sentence-transformers"]), ""])


if __name__ == "__main__":
    main()
