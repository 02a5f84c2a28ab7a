"""Time and memory of reading other people's formats, beside what Hugging Face datasets takes.

Made-up files of about 50 MB each: CSV, JSON Lines of Tevatron, a BEIR folder, MS MARCO's id
triples with collection and queries. Ours ends with canonical rows, joined to their texts; the other
way is ``load_dataset`` of the same files (csv or json), without a join, with its rows as dicts.
Each reading is a process of its own, the two ways take turns, and the cache is empty each time.

    python benchmarks/read_formats.py --mb 50 --repeats 3
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measuring import run

WORDS = [f"{start}{end}" for start in "bcdfghklmnprstvw" for end in ("a", "ent", "ing", "ora", "é")]


def text(random_: random.Random, n_words: int) -> str:
    """Words with a comma now and then."""
    words = random_.choices(WORDS, k=n_words)
    return ", ".join((" ".join(words[: n_words // 2]), " ".join(words[n_words // 2 :])))


def make_csv(folder: Path, n_bytes: int) -> None:
    """query, pos, neg; a tenth of the texts has quotes or a line break."""
    random_ = random.Random(0)
    with open(folder / "train.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "pos", "neg"])
        while file.tell() < n_bytes:
            neg = text(random_, 60)
            if random_.random() < 0.1:
                neg = f'{neg} "quoted"\n{neg}'
            writer.writerow([text(random_, 8), text(random_, 60), neg])


def make_tevatron(folder: Path, n_bytes: int) -> None:
    """One positive passage and seven negative ones a row, with titles."""
    random_ = random.Random(0)

    def passages(n: int) -> list[dict[str, str]]:
        return [
            {"docid": str(random_.randrange(10**7)), "title": text(random_, 4), "text": made}
            for made in (text(random_, 60) for _ in range(n))
        ]

    with open(folder / "train.jsonl", "w") as file:
        row = 0
        while file.tell() < n_bytes:
            record = {
                "query_id": str(row),
                "query": text(random_, 8),
                "positive_passages": passages(1),
                "negative_passages": passages(7),
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            row += 1


def make_beir(folder: Path, n_bytes: int) -> None:
    """A corpus, a query for each tenth passage, and three judgments a query."""
    random_ = random.Random(0)
    n_passages = 0
    with open(folder / "corpus.jsonl", "w") as file:
        while file.tell() < n_bytes:
            record = {
                "_id": f"d{n_passages}",
                "title": text(random_, 4),
                "text": text(random_, 60),
                "metadata": {},
            }
            file.write(json.dumps(record) + "\n")
            n_passages += 1
    (folder / "qrels").mkdir()
    with (
        open(folder / "queries.jsonl", "w") as queries,
        open(folder / "qrels" / "train.tsv", "w") as qrels,
    ):
        qrels.write("query-id\tcorpus-id\tscore\n")
        for number in range(n_passages // 10):
            queries.write(json.dumps({"_id": f"q{number}", "text": text(random_, 8)}) + "\n")
            for _ in range(3):
                qrels.write(f"q{number}\td{random_.randrange(n_passages)}\t1\n")


def make_id_triples(folder: Path, n_bytes: int) -> None:
    """A collection, queries, and triples of their ids."""
    random_ = random.Random(0)
    n_passages = 0
    with open(folder / "collection.tsv", "w") as file:
        while file.tell() < n_bytes:
            file.write(f"{n_passages}\t{text(random_, 60)}\n")
            n_passages += 1
    n_queries = n_passages // 10
    with open(folder / "queries.train.tsv", "w") as file:
        file.writelines(f"{number}\t{text(random_, 8)}\n" for number in range(n_queries))
    with open(folder / "triples.tsv", "w") as file:
        for number in range(n_queries * 10):
            positive, negative = number // 10 * 7 % n_passages, random_.randrange(n_passages)
            file.write(f"{number // 10}\t{positive}\t{negative}\n")


MAKERS: dict[str, Callable[[Path, int], None]] = {
    "csv": make_csv,
    "tevatron": make_tevatron,
    "beir": make_beir,
    "id triples": make_id_triples,
}


def ours(name: str, folder: Path) -> Iterator[Any]:
    """Canonical rows."""
    from llm_embedder_data.rows.read_rows import read_rows

    if name == "csv":
        return read_rows(folder / "train.csv")
    if name == "tevatron":
        return read_rows(folder / "train.jsonl")
    if name == "beir":
        return read_rows(folder)
    return read_rows(
        folder / "triples.tsv",
        corpus=folder / "collection.tsv",
        queries=folder / "queries.train.tsv",
    )


def theirs(name: str, folder: Path) -> Iterator[Any]:
    """Records of load_dataset, from all files of a set."""
    from datasets import load_dataset

    tabs = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    files: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
        "csv": [("csv", "train.csv", {})],
        "tevatron": [("json", "train.jsonl", {})],
        "beir": [
            ("json", "corpus.jsonl", {}),
            ("json", "queries.jsonl", {}),
            ("csv", "qrels/train.tsv", {"delimiter": "\t"}),
        ],
        "id triples": [
            ("csv", "collection.tsv", {**tabs, "names": ["id", "text"]}),
            ("csv", "queries.train.tsv", {**tabs, "names": ["id", "text"]}),
            ("csv", "triples.tsv", {**tabs, "names": ["query", "positive", "negative"]}),
        ],
    }
    with tempfile.TemporaryDirectory() as cache:
        for kind, file, options in files[name]:
            yield from load_dataset(
                kind, data_files=str(folder / file), cache_dir=cache, split="train", **options
            )


def measure(way: str, name: str, folder: Path) -> dict[str, float]:
    """Read once, in this process; imports are not timed."""
    import datasets

    import llm_embedder_data.rows.read_rows  # noqa: F401

    datasets.disable_progress_bars()
    started = time.perf_counter()
    n_rows = sum(1 for _ in {"ours": ours, "theirs": theirs}[way](name, folder))
    return {"seconds": time.perf_counter() - started, "rows": n_rows}


def compare(folder: Path, n_bytes: int, repeats: int) -> None:
    """Print time, memory and ratios of each set."""
    print(
        f"{'':12} {'MB':>5} {'ours s':>8} {'theirs s':>9} {'ratio':>6} {'ours MB':>8} {'theirs':>7}"
    )
    for name, make in MAKERS.items():
        at = folder / name.replace(" ", "_")
        at.mkdir()
        make(at, n_bytes)
        size = sum(file.stat().st_size for file in at.rglob("*") if file.is_file()) / 1e6
        results: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
        for _ in range(repeats):
            for way in results:
                results[way].append(run([__file__, "--way", way, "--set", name, "--at", str(at)]))
        seconds, memory = (
            [statistics.median(r[what] for r in results[way]) for way in results]
            for what in ("seconds", "anonymous")
        )
        print(
            f"{name:12} {size:5.0f} {seconds[0]:8.2f} {seconds[1]:9.2f} "
            f"{seconds[1] / seconds[0]:6.2f} {memory[0]:8.0f} {memory[1]:7.0f}",
            flush=True,
        )


def main() -> None:
    """Compare, or measure one way for a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mb", type=float, default=50, help="size of the main file of a set")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--set", help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.set, options.at)))
        return
    with tempfile.TemporaryDirectory(prefix="read-formats-") as folder:
        compare(Path(folder), int(options.mb * 1e6), options.repeats)


if __name__ == "__main__":
    sys.exit(main())
