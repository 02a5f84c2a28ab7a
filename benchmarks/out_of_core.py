"""Measures how time, disk and memory grow with data that is far larger than memory.

    python benchmarks/out_of_core.py [--rows 1000000] [--candidates 30] [--passages 5000000]

A generator writes a training set and a corpus of short texts, in growing sizes up to those given.
Each phase runs in a separate process, so that its peak of memory can be measured:

- prepare: read the files and write the caches, into an empty folder;
- train: open the caches (imports not included) and take steps, whose rows are spread over the whole
  file;
- encode: open the caches and take passages of the corpus.

With ``--tokenize cached``, both texts and tokens are cached.

Memory means anonymous memory: its peak, less what imports and the tokenizer take. Pages of the
mapped caches that were touched come on top; the system reclaims them when it needs memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from loads import write_corpus, write_train
from measuring import anonymous_mb, machine, run, size_mb, table

RESULTS = Path(__file__).parent / "results"
PHASES = ("prepare", "train", "encode")


def measure(phase: str, folder: Path, steps: int, tokenize: str) -> dict[str, float]:
    """Measure one phase, in this process."""
    warnings.simplefilter("ignore")
    from llm_embedder_data import RetrievalDataModule
    from llm_embedder_data.demo import demo_encoder

    datamodule = RetrievalDataModule(
        demo_encoder(),
        train_data=str(folder / "train.jsonl"),
        corpus=str(folder / "corpus.jsonl"),
        tokenize=tokenize,
        num_workers=0,
        cache_dir=folder / "cache",
    )
    datamodule.tokenizer  # noqa: B018 (loads it, so that it does not count as data)
    result = {"before": anonymous_mb()}
    begin = time.perf_counter()
    datamodule.prepare_data()
    result["prepare"] = time.perf_counter() - begin
    if phase == "prepare":
        return result
    begin = time.perf_counter()
    datamodule.setup("fit" if phase == "train" else "predict")
    result["open"] = result["prepare"] + time.perf_counter() - begin
    result["opened"] = anonymous_mb()
    make = datamodule.train_dataloader if phase == "train" else datamodule.predict_dataloader
    loader = make()
    begin = time.perf_counter()
    n_done = sum(1 for _ in islice(loader, steps))
    result["per s"] = n_done / (time.perf_counter() - begin)
    result["iterated"] = anonymous_mb()
    return result


def parsed(command_line: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="rows of the largest training set"
    )
    parser.add_argument("--candidates", type=int, default=30, help="keys per row")
    parser.add_argument(
        "--passages", type=int, default=5_000_000, help="passages of the largest corpus"
    )
    parser.add_argument("--words", type=int, default=8, help="words per key")
    parser.add_argument(
        "--steps", type=int, default=2000, help="steps of 32 queries or 256 passages"
    )
    parser.add_argument(
        "--sizes", type=int, default=3, help="number of sizes, each ten times the last"
    )
    parser.add_argument("--tokenize", default="on-the-fly", choices=("on-the-fly", "cached"))
    parser.add_argument("--folder", help="folder for the data; default: a temporary folder")
    parser.add_argument("--results", default=str(RESULTS), help="folder of the results")
    parser.add_argument("--name", default="out_of_core", help="name of the result files")
    parser.add_argument("--one", nargs=2, metavar=("PHASE", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args(command_line)


def main() -> None:
    arguments = parsed()
    if arguments.one:
        phase, folder = arguments.one
        print(json.dumps(measure(phase, Path(folder), arguments.steps, arguments.tokenize)))
        return
    rows: list[dict[str, Any]] = []
    for power in reversed(range(arguments.sizes)):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            rows.append(measure_size(Path(name), arguments, 10**power))
            print(f"{rows[-1]['rows']:,} rows measured", file=sys.stderr, flush=True)
    write(rows, arguments, Path(arguments.results))


def measure_size(folder: Path, arguments: argparse.Namespace, share: int) -> dict[str, Any]:
    n_rows, n_passages = arguments.rows // share, arguments.passages // share
    begin = time.perf_counter()
    write_train(
        folder / "train.jsonl",
        task="qa",
        rows=n_rows,
        negatives=arguments.candidates - 1,
        words=arguments.words,
    )
    write_corpus(folder / "corpus.jsonl", passages=n_passages, words=arguments.words)
    row = {"rows": n_rows, "passages": n_passages, "generate": time.perf_counter() - begin}
    row["files"] = size_mb(folder)
    script = [__file__, "--steps", str(arguments.steps), "--tokenize", arguments.tokenize, "--one"]
    row |= {phase: run([*script, phase, str(folder)]) for phase in PHASES}
    row["cache"] = size_mb(folder / "cache")
    return row


def write(rows: list[dict[str, Any]], arguments: argparse.Namespace, folder: Path) -> None:
    """Write a page with one table, and all figures as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{arguments.name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    parts = [
        "# Out of core, measured",
        machine(["torch", "datasets", "pyarrow", "lightning"]),
        f"A training set of rows of {arguments.candidates} candidates and a corpus of passages, "
        f"texts of {arguments.words} words, in growing sizes, tokenized {arguments.tokenize}. The "
        "last column is the largest size's figure over the smallest size's.",
        table(
            ["", *(f"{row['rows']:,} rows, {row['passages']:,} passages" for row in rows), ""],
            [_line(label, pick, rows) for label, pick in _LINES.items()],
        ),
        "Own memory is a phase's peak of anonymous memory above what imports and tokenizer take; "
        "all of it is the peak of the resident set, which has the touched pages of the mapped "
        "caches too: the system takes these back when it needs them. Opening is prepare_data() and "
        "setup() on caches that are there.",
    ]
    (folder / f"{arguments.name}.md").write_text("\n\n".join(parts) + "\n")


_LINES: dict[str, Callable[[dict[str, Any]], float]] = {
    "files, MB": lambda row: row["files"],
    "caches, MB": lambda row: row["cache"],
    "prepare, s": lambda row: row["prepare"]["prepare"],
    "prepare, thousand rows and passages/s": lambda row: (
        (row["rows"] + row["passages"]) / row["prepare"]["prepare"] / 1e3
    ),
    "prepare, own memory MB": lambda row: _own(row["prepare"]),
    "open to train, s": lambda row: row["train"]["open"],
    "train, steps/s": lambda row: row["train"]["per s"],
    "train, own memory MB": lambda row: _own(row["train"]),
    "train, all resident MB": lambda row: row["train"]["resident"],
    "open to encode, s": lambda row: row["encode"]["open"],
    "encode, batches of 256/s": lambda row: row["encode"]["per s"],
    "encode, own memory MB": lambda row: _own(row["encode"]),
    "encode, all resident MB": lambda row: row["encode"]["resident"],
}


def _own(phase: dict[str, float]) -> float:
    return phase["anonymous"] - phase["before"]


def _line(
    label: str, pick: Callable[[dict[str, Any]], float], rows: list[dict[str, Any]]
) -> list[str]:
    values = [pick(row) for row in rows]
    return [label, *(f"{value:,.4g}" for value in values), f"x {values[-1] / values[0]:.3g}"]


if __name__ == "__main__":
    main()
