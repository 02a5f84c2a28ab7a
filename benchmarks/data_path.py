"""Measures how fast batches come and what they cost: this package, its peers, and the limits.

    make bench                                 # in an environment with the peers; ARGS=--quick
    make bench ARGS='--data FOLDER'            # the same on real rows, beside the made-up ones
    python benchmarks/data_path.py [--rows 2000] [--data FOLDER] [--quick] ...

Each system runs in separate processes, in turn, ``repeats`` times; the figures are medians. A cold
process starts with empty caches; a warm one finds the caches of the cold one. Both are timed from
the files to the first batch ("ready"), without imports, the tokenizer and the peer's model. The
warm process then times steps for batches of 32 and 128 and for 0 and 2 worker processes: steps of
the first pass (the first 3,200 queries of a new loader) and of a later pass, after all rows have
come once. Padding does not count as tokens. A page, a plot and every figure as JSON go to
benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain, cycle, groupby, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from data_path_page import write_page
from feeds import FEEDS, GROUP_SIZE, MAX_LENGTH, WITHOUT_WORKERS, Ours, OursCached
from loads import SAMPLE, copy_load, make_load
from measuring import run, size_mb

RESULTS = Path(__file__).parent / "results"
BATCH_SIZES = (32, 128)
LAYOUTS = ("padded", "chunked", "packed")
LENGTH_WINDOWS = (None, 32)
PLANNED_ROWS = (10**3, 10**5, 10**7, 10**9)
CURVE = (10**3, 10**4, 10**5, 10**6)
TURNS = 10
FIRST_PASS = 3200  # queries: a hundred steps of 32

Figures = dict[str, Any]


# -- what runs in a separate process --------------------------------------------------------------


def time_to_first(feed: str, folder: Path, cache: Path) -> Figures:
    """Seconds from the files to the first batch."""
    system = FEEDS[feed](folder, cache, _model())
    begin = time.perf_counter()
    next(system.batches(32, 0))
    figures = {"ready": time.perf_counter() - begin}
    if isinstance(system, OursCached):
        figures["tokens"] = system.cached_tokens()
    return figures


def rates(feed: str, folder: Path, cache: Path, seconds: float, cases: str) -> Figures:
    """Time to the first batch with existing caches, then the rates of both passes of each case.

    A case is a batch size and a number of workers; each case gets a new loader. The later pass is
    measured after all texts have come once, unless the system remembers nothing of texts.
    """
    system = FEEDS[feed](folder, cache, _model())
    n_rows = sum(file.read_bytes().count(b"\n") for file in _files(folder))
    figures: Figures = {"cases": {}}
    for case in cases.split(","):
        batch_size, workers = map(int, case.split("/"))
        begin = time.perf_counter()
        batches = system.batches(batch_size, workers)
        next(batches)
        figures.setdefault("ready", time.perf_counter() - begin)
        n_steps = max(2, min(FIRST_PASS, n_rows) // batch_size)
        passes = {"first": _rate(islice(batches, n_steps - 1), system.masks)}
        if system.remembers:
            deque(islice(batches, max(0, -(-n_rows // batch_size) - n_steps)), maxlen=0)
        passes["later"] = _rate(batches, system.masks, seconds)
        figures["cases"][case] = passes
        batches.close()  # type: ignore[attr-defined]
    return figures


def limits(folder: Path, cache: Path, seconds: float, batch_sizes: str) -> Figures:
    """Upper limits of any loader: the bare tokenizer on the same texts, and a copy of tensors."""
    import torch

    torch.set_num_threads(1)  # as in a worker of a loader
    system, figures = Ours(folder, cache, _model()), {}
    lines = {file.parent.name: file.read_bytes().splitlines() for file in _files(folder)}
    for batch_size in map(int, batch_sizes.split(",")):
        loader = system.loader(batch_size, 0, select_negative="first")
        batches = list(islice(loader, 20))
        texts = [_texts(lines[batch["dataset"]], batch["row"].tolist()) for batch in batches]
        backend = system.tokenizer.backend_tokenizer
        backend.no_padding()
        backend.enable_truncation(MAX_LENGTH)
        per_step = statistics.mean(map(_counted, batches))
        encoded = _steps(map(backend.encode_batch_fast, cycle(texts)), seconds)
        copied = _steps((_counted(_copy(batch)) for batch in cycle(batches)), seconds)
        figures[batch_size] = {
            "tokenizer": {"steps/s": encoded, "tokens/s": encoded * per_step},
            "copy": {"steps/s": copied, "tokens/s": copied * per_step},
        }
    return {"limits": figures}


def beside_copy(folder: Path, cache: Path, seconds: float, batch_sizes: str) -> Figures:
    """Seconds of a cached step without workers, and of the copy of its tensors, taken in turn.

    They alternate because a machine's speed changes from minute to minute.
    """
    import torch

    torch.set_num_threads(1)
    system, figures = OursCached(folder, cache, _model()), {}
    for batch_size in map(int, batch_sizes.split(",")):
        steps = system.batches(batch_size, 0)
        copies = map(_copy, cycle(list(islice(steps, 20))))
        works = (steps, copies)
        turns = [[1 / _steps(one, seconds / TURNS) for one in works] for _ in range(1 + TURNS)]
        del turns[0]  # the files were not in the page cache
        step, copy = map(statistics.median, zip(*turns, strict=True))
        times = statistics.median(step / copy for step, copy in turns)
        figures[batch_size] = {"step": step, "copy": copy, "times": times}
    return {"beside copy": figures}


def bare_start(folder: Path, cache: Path) -> Figures:
    """Seconds of the least work with which pyarrow could make memory-mapped rows and a batch.

    All files are hashed, parsed by pyarrow and written as Arrow, one file per core. Then the texts
    of one batch are tokenized. Rows are not checked.
    """
    import pyarrow.json
    import xxhash
    from transformers import AutoTokenizer

    backend = AutoTokenizer.from_pretrained(_model()).backend_tokenizer
    backend.enable_truncation(MAX_LENGTH)

    def rows_of(file: Path) -> Any:
        digest = xxhash.xxh3_128()
        with open(file, "rb") as content:
            while block := content.read(1 << 18):
                digest.update(block)
        rows = _parsed(file)
        with pyarrow.ipc.new_stream(str(cache / file.parent.name), rows.schema) as writer:
            writer.write_table(rows)
        return rows

    cache.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    with ThreadPoolExecutor() as threads:
        first, *_ = threads.map(rows_of, _files(folder))
    rows = first.slice(0, 32).to_pylist()
    keys = [text for row in rows for text in [row["pos"][0], *row["neg"][: GROUP_SIZE - 1]]]
    backend.encode_batch_fast([*(row["query"] for row in rows), *keys])
    return {"ready": time.perf_counter() - begin}


def profile(folder: Path, cache: Path) -> Figures:
    """Seconds of each part of the time to the first batch, and of a cached step of 32 queries."""
    import torch

    from llm_embedder_data.rows.files.content_digest import content_digest

    def seconds(work: Callable[[], Any]) -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    def parse() -> None:
        for file in _files(folder):
            _parsed(file)

    parse()  # do not count what only a first call costs
    figures = {"bare JSON parser, all cores": seconds(parse)}
    figures["files hashed"] = seconds(
        lambda: [content_digest(str(file), cache / "digests") for file in _files(folder)]
    )
    datamodule = Ours(folder, cache, _model()).datamodule(32, 0)
    figures["prepare_data()"] = seconds(datamodule.prepare_data)
    figures["setup()"] = seconds(lambda: datamodule.setup("fit"))
    figures["first batch"] = seconds(lambda: next(iter(datamodule.train_dataloader())))

    torch.set_num_threads(1)
    loader = OursCached(folder, cache, _model()).loader(32, 0)
    groups, collate = loader.dataset.dataset, loader.dataset.collate
    steps = sorted(loader.sampler, key=lambda index: index.dataset)
    of_one = [list(own) for _, own in groupby(steps, key=lambda index: index.dataset)]
    chosen = [list(groups.several(own)) for own in of_one]
    each = [one for own in chosen for one in own]
    made = list(islice(loader, 20))
    works: dict[str, Callable[[], Iterable[Any]]] = {
        "keys chosen": lambda: chain.from_iterable(map(groups.several, of_one)),
        "tensors made": lambda: chain.from_iterable(map(collate.several, chosen)),
        "bare gather of its keys' tokens": lambda: map(_gathered, each),
        "copy of the tensors": lambda: map(_copy, islice(cycle(made), len(steps))),
        "all": lambda: loader,
    }
    for name, work in works.items():
        times = [seconds(lambda work=work: deque(work(), maxlen=0)) for _ in range(5)]
        figures[f"step: {name}"] = statistics.median(times) / len(steps)
    return {"profile": figures}


def padding(folder: Path, cache: Path, batch_size: int) -> Figures:
    """The share of padded tokens of an epoch, by dataset, layout and planning by length."""
    system = Ours(folder, cache, _model())
    shares: Figures = {}
    for window in LENGTH_WINDOWS:
        for layout in LAYOUTS:
            real: dict[str, int] = {}
            given: dict[str, int] = {}
            for batch in system.loader(batch_size, 0, layout=layout, length_window=window):
                name = batch["dataset"]
                for side in ("query", "key"):
                    n_real, n_given = _tokens(batch[side])
                    real[name] = real.get(name, 0) + n_real
                    given[name] = given.get(name, 0) + n_given
            plan = "by chance" if window is None else f"length_window={window}"
            shares[f"{layout}, {plan}"] = {name: 1 - real[name] / given[name] for name in real}
    return {"padding": shares}


def planning(n_rows: int) -> Figures:
    """Seconds to make an epoch's plan, and steps/s of any of its steps."""
    from llm_embedder_data import EpochPlan

    begin = time.perf_counter()
    plan = EpochPlan({"a": n_rows // 2, "b": n_rows - n_rows // 2}, 32)
    seconds = time.perf_counter() - begin
    steps = np.random.default_rng(0).integers(len(plan), size=500).tolist()
    begin = time.perf_counter()
    for step in steps:
        plan[step]
    return {"ready": seconds, "steps/s": len(steps) / (time.perf_counter() - begin)}


MEASURES: dict[str, Callable[..., Figures]] = {
    "first": lambda feed, folder, cache: time_to_first(feed, Path(folder), Path(cache)),
    "rates": lambda feed, folder, cache, seconds, cases: rates(
        feed, Path(folder), Path(cache), float(seconds), cases
    ),
    "limits": lambda folder, cache, seconds, sizes: limits(
        Path(folder), Path(cache), float(seconds), sizes
    ),
    "beside": lambda folder, cache, seconds, sizes: beside_copy(
        Path(folder), Path(cache), float(seconds), sizes
    ),
    "bare": lambda folder, cache: bare_start(Path(folder), Path(cache)),
    "profile": lambda folder, cache: profile(Path(folder), Path(cache)),
    "padding": lambda folder, cache, size: padding(Path(folder), Path(cache), int(size)),
    "plan": lambda n_rows: planning(int(n_rows)),
}


@lru_cache  # checking the weights takes a while
def _model() -> str:
    from llm_embedder_data.demo import demo_encoder

    return demo_encoder()


def _rate(
    batches: Iterator[Any], masks: Callable[[Any], list[Any]], seconds: float = math.inf
) -> dict[str, float]:
    """Steps/s, real tokens/s and the share of padding. The time includes summing the masks."""
    real = given = done = 0
    begin = time.perf_counter()
    for batch in batches:
        for mask in masks(batch):
            real, given = real + _sum(mask), given + mask.numel()
        done += 1
        if done >= 5 and time.perf_counter() - begin > seconds:
            break
    taken = time.perf_counter() - begin
    return {"steps/s": done / taken, "tokens/s": real / taken, "padding": 1 - real / given}


def _steps(done: Iterable[Any], seconds: float) -> float:
    begin = time.perf_counter()
    for n_done, _ in enumerate(done, start=1):
        taken = time.perf_counter() - begin
        if taken > seconds:
            return n_done / taken
    raise AssertionError("it has no end")


def _parsed(file: Path) -> Any:
    """The columns of queries and texts, parsed by pyarrow on all cores."""
    import pyarrow as pa
    import pyarrow.json

    texts = pa.list_(pa.string())
    schema = pa.schema({"query": pa.string(), "pos": texts, "neg": texts})
    return pyarrow.json.read_json(
        file,
        pyarrow.json.ReadOptions(block_size=4 << 20),
        pyarrow.json.ParseOptions(schema, unexpected_field_behavior="ignore"),
    )


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/train.jsonl"))


def _texts(lines: list[bytes], rows: list[int]) -> list[str]:
    """The queries and keys of a batch, with the first positive and the first negatives of a row."""
    chosen = [json.loads(lines[row]) for row in rows]
    keys = [text for row in chosen for text in (row["pos"][0], *row["neg"][: GROUP_SIZE - 1])]
    return [row["query"] for row in chosen] + keys


def _gathered(groups: Any) -> Any:
    """The token ids of a cached batch's keys, as a slice of the token table for each text."""
    table, numbers = groups["key"].table, groups["key"].numbers
    starts = table.bounds[numbers]
    width = int((table.bounds[numbers + 1] - starts).max())
    windows = np.lib.stride_tricks.sliding_window_view(table.ids, width)
    return windows[np.minimum(starts, len(windows) - 1)]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(one) for name, one in value.items()}
    return value.clone() if hasattr(value, "clone") else value


def _counted(batch: Any) -> int:
    """The number of real tokens of a batch, counted in the same way for every loader."""
    return sum(_sum(batch[side]["attention_mask"]) for side in ("query", "key"))


def _sum(mask: Any) -> int:
    # By default torch would use all cores, and wait while the loader's workers use them.
    return int(mask.numpy().sum())


def _tokens(side: Any) -> tuple[int, int]:
    """The number of real tokens, and of all tokens, of one side in any layout."""
    chunks = side if isinstance(side, list) else [side]
    given = sum(chunk["input_ids"].numel() for chunk in chunks)
    if "attention_mask" not in chunks[0]:
        return given, given
    return sum(_sum(chunk["attention_mask"]) for chunk in chunks), given


# -- the whole comparison -------------------------------------------------------------------------


def compare(arguments: argparse.Namespace, measure: Callable[..., Figures]) -> Figures:
    """All figures: the medians of ``repeats`` interleaved runs.

    Args:
        arguments: the arguments of the command line.
        measure: runs a function of :data:`MEASURES`, and adds its peaks of memory.
    """
    with TemporaryDirectory() as folder:
        made_up, real = Path(folder) / "made up", Path(folder) / "real"
        make_load(
            made_up, rows=arguments.rows, negatives=arguments.negatives, words=arguments.words
        )
        if arguments.data:
            copy_load(Path(arguments.data), real)
        runs, real_runs = [], []
        for _ in range(arguments.repeats):
            runs.append(one_run(made_up, arguments.batch_sizes, arguments, measure))
            if arguments.data:
                real_runs.append(
                    one_run(real, arguments.batch_sizes[:1], arguments, measure, False)
                )
        figures: Figures = median(runs)
        figures |= median([one_profile(made_up, arguments, measure) for _ in runs])
        figures["load"] = _load(made_up)
        figures["real"] = {**median(real_runs), "load": _load(real)} if real_runs else None
    figures["curve"] = [curve(n_rows, arguments, measure) for n_rows in arguments.curve]
    figures["plan"] = {n_rows: measure("plan", n_rows) for n_rows in PLANNED_ROWS}
    with TemporaryDirectory() as folder:
        copy_load(SAMPLE, Path(folder) / "load")
        size = 8  # the sample has about forty rows per task
        padded = measure("padding", Path(folder) / "load", Path(folder) / "cache", size)
        figures["padding"] = {"batch size": size, "shares": padded["padding"]}
    return figures


def _load(folder: Path) -> Figures:
    files = _files(folder)
    n_rows = sum(file.read_bytes().count(b"\n") for file in files)
    return {"files": size_mb(folder), "datasets": len(files), "rows": n_rows}


def one_run(
    load: Path,
    batch_sizes: list[int],
    arguments: argparse.Namespace,
    measure: Callable[..., Figures],
    all_limits: bool = True,
) -> Figures:
    """One run of each system, and the limits: all limits, or only those of all cores."""
    systems = {}
    for name in arguments.systems:
        cases = ",".join(
            f"{size}/{workers}"
            for size in batch_sizes
            for workers in arguments.workers
            if workers == 0 or name not in WITHOUT_WORKERS
        )
        with TemporaryDirectory() as cache:
            cold = measure("first", name, load, cache)
            cold["cache"] = size_mb(Path(cache))
            warm = measure("rates", name, load, cache, arguments.seconds, cases)
        systems[name] = {"cold": cold, "warm": warm}
    sizes = ",".join(map(str, batch_sizes))
    with TemporaryDirectory() as cache:
        asked = ("limits", load, cache, arguments.seconds, sizes)
        limits = {"all cores": measure(*asked)}
        if all_limits:
            limits["bare start"] = measure("bare", load, Path(cache) / "bare")
            limits["one thread"] = measure(*asked, environment={"RAYON_NUM_THREADS": "1"})
    return {"systems": systems, "limits": limits}


def one_profile(
    load: Path, arguments: argparse.Namespace, measure: Callable[..., Figures]
) -> Figures:
    """The profile of a process that finds no cache, and a cached step compared with the copy."""
    sizes = ",".join(map(str, arguments.batch_sizes))
    with TemporaryDirectory() as cache:
        profile = measure("profile", load, cache)["profile"]
        beside = measure("beside", load, cache, arguments.seconds, sizes)["beside copy"]
    return {"profile": profile, "beside copy": beside}


def curve(n_rows: int, arguments: argparse.Namespace, measure: Callable[..., Figures]) -> Figures:
    """One run of each system on small texts: rows of 8 keys of 8 words."""
    systems = {}
    with TemporaryDirectory() as folder:
        load = Path(folder) / "load"
        make_load(load, rows=-(-n_rows // 6), negatives=7, words=8)
        for name in arguments.systems:
            with TemporaryDirectory() as cache:
                cold = measure("first", name, load, cache)
                warm = measure("rates", name, load, cache, arguments.seconds, "32/0")
            systems[name] = {"cold": cold, "warm": warm}
    return {"rows": n_rows, "systems": systems}


def median(runs: list[Any]) -> Any:
    """The median of each number in nested dicts that have the same keys."""
    if isinstance(runs[0], dict):
        return {name: median([one[name] for one in runs]) for name in runs[0]}
    return statistics.median(runs)


def in_a_process(what: str, *arguments: Any, environment: dict[str, str] | None = None) -> Figures:
    """Run a function of :data:`MEASURES` in a new process; its figures and peaks of memory."""
    begin = time.perf_counter()
    command = [__file__, "--one", what, *map(str, arguments)]
    figures = run(command, environment)
    said = " ".join(str(one) for one in arguments if not isinstance(one, Path))
    print(f"{time.perf_counter() - begin:6.1f} s  {what} {said}", file=sys.stderr, flush=True)
    return figures


def parsed(command_line: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000, help="rows of each of the six tasks")
    parser.add_argument("--negatives", type=int, default=30, help="negatives per row")
    parser.add_argument("--words", type=int, help="words per key; default: as in real rows")
    parser.add_argument("--data", help="a folder of train.jsonl files to measure too")
    parser.add_argument(
        "--data-is", default="real rows of a folder", help="what --data holds, for the page"
    )
    parser.add_argument("--systems", nargs="+", default=list(FEEDS), choices=FEEDS)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=list(BATCH_SIZES))
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2], help="processes")
    parser.add_argument("--curve", nargs="*", type=int, default=list(CURVE), help="rows")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="time for which each rate is measured"
    )
    parser.add_argument("--quick", action="store_true", help="one repeat of a smaller load")
    parser.add_argument("--results", default=str(RESULTS), help="folder of the results")
    parser.add_argument("--name", default="data_path", help="name of the result files")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args(command_line)
    if arguments.quick:
        arguments.rows, arguments.repeats, arguments.seconds = 300, 1, 1.0
        arguments.curve = arguments.curve[:2]
    return arguments


def main() -> None:
    arguments = parsed()
    if arguments.one:
        what, *values = arguments.one
        print(json.dumps(MEASURES[what](*values)))
        return
    figures = compare(arguments, in_a_process)
    asked = vars(arguments) | {"data": bool(arguments.data), "results": None, "one": None}
    write_page(figures, asked, Path(arguments.results), arguments.name)


if __name__ == "__main__":
    main()
