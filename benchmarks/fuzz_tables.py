"""Reads mutated Arrow and Parquet files: each must give rows or one DataError.

    python benchmarks/fuzz_tables.py --n 20000

The originals are small files of several column types and compressions, in both Arrow formats and
Parquet. Some bytes of a copy are changed, or its end is cut off, and a child process reads it
through ``read_file``. The output counts the files that are read, those that are refused with a
DataError, and the failures: other exceptions, crashes of the child, files that take longer than the
limit, and files that make the child or its reader grow. The exit code is 1 if there is a failure.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.schema.reading import read_file
from llm_embedder_data.rows.schema.train import TRAIN_ROWS

MOST_SECONDS = 20.0
MOST_GROWTH = 1 << 30  # bytes of resident memory, above those for an intact file


def tables() -> dict[str, pa.Table]:
    """Tables of training rows, with columns of several types, by name."""
    n = 60
    texts = [f"query number {i} " + "x" * (i % 7) for i in range(n)]
    pos, neg = [[f"right {i}"] for i in range(n)], [[f"wrong {i}", f"other {i}"] for i in range(n)]
    scores = [[1.0, 0.5, 0.25]] * n
    plain = {"query": texts, "pos": pos, "neg": neg, "teacher_scores": scores, "query_id": range(n)}
    arrays = {name: pa.array(list(values)) for name, values in plain.items()}
    large = arrays | {
        "query": arrays["query"].cast(pa.large_string()),
        "pos": arrays["pos"].cast(pa.large_list(pa.large_string())),
    }
    coded = arrays | {
        "query": pa.array([texts[i % 9] if i % 5 else None for i in range(n)]).dictionary_encode(),
        "pos": pa.array(pos, pa.list_(pa.string(), 1)),
        "task": pa.array(["qa"] * n).dictionary_encode(),
    }
    odd = arrays | {
        "other": pa.array([{"a": i, "b": [None, str(i)]} for i in range(n)]),
        "when": pa.array(range(n), pa.timestamp("us", "Europe/Berlin")),
        "task": pa.nulls(n),
    }
    view = arrays | {"query": arrays["query"].cast(pa.string_view())}
    every = {"plain": arrays, "large": large, "coded": coded, "odd": odd, "view": view}
    return {name: pa.table(columns) for name, columns in every.items()}


def write_seeds(folder: Path) -> list[Path]:
    for name, table in tables().items():
        for compression in (None, "lz4", "zstd"):
            for kind, new in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
                options = pa.ipc.IpcWriteOptions(compression=compression)
                with (
                    pa.OSFile(str(folder / f"{name}-{kind}-{compression}.arrow"), "wb") as file,
                    new(file, table.schema, options=options) as writer,
                ):
                    writer.write_table(table, max_chunksize=25)
        if name == "view":
            continue
        for compression in ("none", "snappy", "zstd", "gzip"):
            pq.write_table(
                table,
                folder / f"{name}-{compression}.parquet",
                compression=compression,
                row_group_size=25,
                data_page_version="2.0" if compression == "zstd" else "1.0",
            )
    return sorted(folder.iterdir())


def mutated(content: bytes, dice: random.Random) -> bytes:
    """A copy with some bytes changed; more often near the end, where Parquet's metadata are."""
    out = bytearray(content)
    for _ in range(dice.choice([1, 1, 2, 3, 10, 40])):
        if dice.random() < 0.3:
            at = max(0, len(out) - 1 - int(dice.expovariate(1 / 300)))
        else:
            at = dice.randrange(len(out))
        out[at] = dice.choice([out[at] ^ 1 << dice.randrange(8), dice.randrange(256), 0, 255])
    if dice.random() < 0.05:
        del out[dice.randrange(len(out)) :]
    return bytes(out)


def read_many(pipe: Any, cache: str) -> None:
    """In the child process: read each file whose path comes through the pipe; send the outcome."""
    pipe.send("ready")  # so that imports do not count as time
    while True:
        path = pipe.recv()
        before = memory()
        try:
            outcome = "rows"
            len(read_file(path, TRAIN_ROWS, cache_dir=Path(cache)))
        except DataError as error:
            outcome = "DataError"
            if str(error).count(path) != 1 or not str(error).isprintable():
                outcome = f"a bad sentence: {error!r}"
        except Exception as error:  # any other exception is a failure, which is counted
            outcome = f"{type(error).__name__}: {error}"
        pipe.send((outcome, memory() - before))
        for file in os.scandir(cache):
            os.unlink(file.path)


def memory() -> int:
    """The peak of memory of this process and of its ended child processes, in bytes."""
    peaks = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            peak = next((x for x in status.splitlines() if x.startswith("VmHWM")), "VmHWM: 0 kB")
            return max(max(p.ru_maxrss for p in peaks), int(peak.split()[1])) << 10
    return max(p.ru_maxrss for p in peaks) << 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20000, help="files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first file's mutation")
    parser.add_argument("--keep", type=Path, help="folder for files that fail")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-tables-"))
    (folder / "seeds").mkdir()
    (folder / "cache").mkdir()
    seeds = write_seeds(folder / "seeds")
    counts: collections.Counter[str] = collections.Counter()
    context = multiprocessing.get_context("spawn")
    child, pipe = None, None
    slowest, start = 0.0, time.monotonic()
    try:
        for number in itertools.count(arguments.seed):
            if number == arguments.seed + arguments.n:
                break
            if child is None:
                pipe, other = context.Pipe()
                child = context.Process(target=read_many, args=(other, str(folder / "cache")))
                child.start()
                other.close()
                pipe.recv()
            dice = random.Random(number)
            seed = dice.choice(seeds)
            path = folder / f"{number}{seed.suffix}"
            path.write_bytes(mutated(seed.read_bytes(), dice))
            pipe.send(str(path))
            began = time.monotonic()
            try:
                outcome, growth = pipe.recv() if pipe.poll(MOST_SECONDS * 3) else ("no answer", 0)
            except EOFError:
                outcome, growth = "crash", 0
            seconds = time.monotonic() - began
            slowest = max(slowest, seconds)
            if outcome in ("no answer", "crash"):
                child.kill()
                child.join()
                child = None
            elif seconds > MOST_SECONDS:
                outcome = "time-out"
            elif growth > MOST_GROWTH:
                outcome = "growth"
            kind = outcome.split(":")[0]
            counts[kind] += 1
            if kind not in ("rows", "DataError"):
                print(f"file {number}, of {seed.name}: {outcome}", flush=True)
                if arguments.keep is not None:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, arguments.keep)
            path.unlink()
    finally:
        if child is not None:
            child.kill()
            child.join()
        shutil.rmtree(folder, ignore_errors=True)
    minutes = (time.monotonic() - start) / 60
    print(json.dumps(dict(counts)), f"in {minutes:.1f} min, {slowest:.1f} s for the slowest")
    return 0 if set(counts) <= {"rows", "DataError"} else 1


if __name__ == "__main__":
    sys.exit(main())
