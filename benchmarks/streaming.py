"""Training batches from Parquet files on a slow server, compared with the same local files.

    python benchmarks/streaming.py
    python benchmarks/streaming.py --rows 4000 --shards 2

Rows are made up (texts as real ones in words and lengths, see made_up_text.py), in zstd-compressed
Parquet files with row groups of 200 rows. A server in a separate process sends byte ranges, each
after a delay. Each line of the first table is a process: seconds until the files are open and the
first batch is there, and batches per second of the next ones. The second table reads the rows of a
whole epoch, without tokens, with a cache that holds a part of them: bytes fetched as a multiple of
the files' size, and the largest size of the cache folder. The page is written to
benchmarks/results/streaming.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from made_up_text import MadeUpText
from measuring import machine, run, size_mb, table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from streamed_files import served

PAGE = Path(__file__).parent / "results" / "streaming.md"
NEGATIVES, WORDS = 7, 60
BATCH_SIZE = 32

WAYS = {
    "local": "the files on this machine, all rows shuffled",
    "all": "streamed, all rows shuffled",
    "window": "streamed, `shuffle_window` a fifth of the rows",
    "datasets": "`datasets`, streaming, a buffer of a fifth of the rows; rows without tokens",
}


def make_files(folder: Path, n_rows: int, n_shards: int) -> int:
    """Write the rows; return their bytes."""
    made_up = MadeUpText(seed=7)
    per_shard = -(-n_rows // n_shards)
    for shard in range(n_shards):
        n_own = min(per_shard, n_rows - shard * per_shard)
        queries = made_up.texts(made_up.sizes(n_own, 12))
        keys = made_up.texts(made_up.sizes(n_own * (1 + NEGATIVES), WORDS))
        groups = [
            keys[start : start + 1 + NEGATIVES] for start in range(0, len(keys), 1 + NEGATIVES)
        ]
        rows = [
            {"query_id": f"{shard}-{number}", "query": query, "pos": group[:1], "neg": group[1:]}
            for number, (query, group) in enumerate(zip(queries, groups, strict=True))
        ]
        path = folder / f"{shard:03}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=200, compression="zstd")
    return sum(path.stat().st_size for path in folder.glob("*.parquet"))


def serve(folder: Path, delay: float, port: Any, sent: Any, stop: Any) -> None:
    """Serve a folder until told to stop, and count what was sent."""
    with served(folder) as server:
        server.delay = delay
        port.value = server.server_port
        while not stop.wait(0.1):
            sent.value = sum(server.n_bytes.values())


@contextmanager
def serving(folder: Path, delay: float) -> Iterator[tuple[str, Any]]:
    """Serve a folder in another process; yield the address and the number of bytes sent."""
    context = multiprocessing.get_context("spawn")
    port, sent, stop = context.Value("i", 0), context.Value("q", 0), context.Event()
    process = context.Process(target=serve, args=(folder, delay, port, sent, stop))
    process.start()
    while not port.value:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port.value}/", sent
    finally:
        stop.set()
        process.join()


def first_batches(
    way: str, paths: list[str], n_rows: int, cache: str, workers: int, n_batches: int
) -> dict[str, Any]:
    """Draw the first batches of an epoch in this process."""
    began = time.perf_counter()
    if way == "datasets":
        import datasets

        found = datasets.load_dataset("parquet", data_files=paths, split="train", streaming=True)
        batches: Any = found.shuffle(seed=1, buffer_size=n_rows // 5).batch(BATCH_SIZE)
    else:
        window = n_rows // 5 if way == "window" else None
        module = opened(paths, way != "local", cache, window, 1 << 20, num_workers=workers)
        batches = module.train_dataloader()
    ready = time.perf_counter()
    first = last = ready
    for number, _ in enumerate(islice(batches, n_batches)):
        last = time.perf_counter()
        if number == 0:
            first = last
    return {
        "open": ready - began,
        "first": first - ready,
        "per second": (n_batches - 1) / (last - first),
    }


def opened(
    paths: list[str], streaming: bool, cache: str, window: int | None, mib: int, **settings: Any
) -> Any:
    """Return a data module of the files that is set up."""
    from llm_embedder_data import RetrievalDataModule
    from llm_embedder_data.demo import demo_encoder

    module = RetrievalDataModule(
        demo_encoder(),
        train_data={"rows": {"path": paths, "streaming": streaming}},
        cache_dir=cache,
        batch_size=BATCH_SIZE,
        shuffle_window=window,
        stream_cache_mib=mib,
        **settings,
    )
    module.prepare_data()
    module.setup("fit")
    return module


def epoch_of_rows(paths: list[str], cache: str, window: int | None, mib: int) -> dict[str, Any]:
    """Read the rows of an epoch in this process; return the largest size of the cache in MB."""
    module = opened(paths, True, cache, window, mib)
    train_set = module.train_sets()["rows"]
    tables = train_set.tables(["query", "key"])
    pieces = Path(cache) / "streamed" / "pieces"
    most = 0.0
    for number, (_, rows) in enumerate(module.plan()):
        tables.mapped(train_set.kept[rows].tolist())
        if number % 20 == 0:
            most = max(most, size_mb(pieces))
    return {"disk": most}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each answer")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        function = {"batches": first_batches, "rows": epoch_of_rows}[arguments.one[0]]
        print(json.dumps(function(**json.loads(arguments.one[1]))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        files = Path(temporary) / "files"
        files.mkdir()
        n_bytes = make_files(files, arguments.rows, arguments.shards)
        with serving(files, arguments.delay) as (address, sent):
            speeds = speed_lines(arguments, files, address, Path(temporary))
            traffic = traffic_lines(arguments, files, address, Path(temporary), sent)
    PAGE.write_text(
        f"# Streaming\n\n{machine(['pyarrow', 'fsspec', 'aiohttp', 'datasets'])}\n\n"
        f"`python benchmarks/streaming.py --rows {arguments.rows} --shards {arguments.shards} "
        f"--batches {arguments.batches}`: {n_bytes / 1e6:.0f} MB of files, "
        f"{arguments.delay * 1000:.0f} ms before each answer of the server, {arguments.workers} "
        f"worker, batches of {BATCH_SIZE} queries with 8 keys.\n\n"
        f"{table(['', 'start', 'open, s', 'first batch, s', 'batches/s'], speeds)}\n\n"
        "At the first start, opening fetches and checks all files once.\n\n"
        f"{table(['rows of a window', 'cache, MiB', 'fetched / files', 'pieces, MB'], traffic)}\n",
        encoding="utf-8",
    )


def speed_lines(
    arguments: argparse.Namespace, files: Path, address: str, temporary: Path
) -> list[list[str]]:
    lines = []
    names = sorted(path.name for path in files.glob("*.parquet"))
    for way, described in WAYS.items():
        root = f"{files}/" if way == "local" else address
        for start in ("first", "second"):
            given = {
                "way": way,
                "paths": [root + name for name in names],
                "n_rows": arguments.rows,
                "cache": str(temporary / way),
                "workers": arguments.workers,
                "n_batches": arguments.batches,
            }
            found = run([__file__, "--one", "batches", json.dumps(given)])
            shown = [f"{found[name]:.1f}" for name in ("open", "first", "per second")]
            lines.append([described, start, *shown])
            print(lines[-1], flush=True)
    return lines


def traffic_lines(
    arguments: argparse.Namespace, files: Path, address: str, temporary: Path, sent: Any
) -> list[list[str]]:
    lines = []
    paths = [address + path.name for path in sorted(files.glob("*.parquet"))]
    n_bytes = sum(path.stat().st_size for path in files.glob("*.parquet"))
    cache = temporary / "all"  # the files are indexed there
    pieces = cache / "streamed" / "pieces"
    for share in (20, 5):
        for part in (3, 1.5):
            mib = max(1, round(2 * n_bytes / part / (1 << 20)))  # decoded, they take twice as much
            shutil.rmtree(pieces, ignore_errors=True)
            window = arguments.rows // share
            given = {"paths": paths, "cache": str(cache), "window": window, "mib": mib}
            before = sent.value
            found = run([__file__, "--one", "rows", json.dumps(given)])
            time.sleep(0.5)  # until the server has counted
            times = (sent.value - before) / n_bytes
            lines.append([f"{window:,}", str(mib), f"{times:.2f}", f"{found['disk']:.0f}"])
            print(lines[-1], flush=True)
    return lines


if __name__ == "__main__":
    sys.exit(main())
