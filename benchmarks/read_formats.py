"""Time and memory of reading common formats, also with datasets and sentence-transformers.

Made-up files of about 50 MB each: CSV, JSON Lines of Tevatron, a BEIR folder, MS MARCO's id
triples, and distillation rows of 16 ids, each with collection and queries. Each way reads all rows
once, in a separate process with empty caches:

- ours: ``read_rows``, which ends with canonical rows, joined to their texts;
- datasets: ``load_dataset`` of the same files (csv or json), its rows as dicts, without a join;
- resolve_ids: ``load_dataset``, and sentence-transformers' ``resolve_ids``, which joins the texts.

The ways alternate. Time is processor time; memory is anonymous memory. Imports are not included.

    python benchmarks/read_formats.py --mb 50 --repeats 3
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import os
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measuring import anonymous_mb, machine, run, table

WORDS = [f"{start}{end}" for start in "bcdfghklmnprstvw" for end in ("a", "ent", "ing", "ora", "é")]

RESULTS = Path(__file__).parent / "results"
IDS_A_ROW = 16


def text(random_: random.Random, n_words: int) -> str:
    """Random words with a few commas."""
    words = random_.choices(WORDS, k=n_words)
    return ", ".join((" ".join(words[: n_words // 2]), " ".join(words[n_words // 2 :])))


def make_csv(folder: Path, n_bytes: int) -> None:
    """Write query, pos and neg; a tenth of the texts has quotes or a line break."""
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
    """Write rows with one positive and seven negative passages, with titles."""
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
    """Write a corpus, a query for every tenth passage, and three judgments per query."""
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
    """Write a collection, queries, and triples of their ids."""
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


def make_id_lists(folder: Path, n_bytes: int) -> None:
    """Write a collection, queries, and 16 ids with scores per query."""
    random_ = random.Random(0)
    n_passages = 0
    with open(folder / "documents.jsonl", "w") as file:
        while file.tell() < n_bytes:
            record = {"document_id": n_passages, "text": text(random_, 60)}
            file.write(json.dumps(record) + "\n")
            n_passages += 1
    with (
        open(folder / "queries.jsonl", "w") as queries,
        open(folder / "train.jsonl", "w") as rows,
    ):
        for number in range(n_passages // 10):
            queries.write(json.dumps({"query_id": number, "text": text(random_, 8)}) + "\n")
            ids = random_.sample(range(n_passages), IDS_A_ROW)
            scores = [round(random_.gauss(0, 3), 3) for _ in ids]
            record = {"query_id": number, "document_ids": ids, "scores": scores}
            rows.write(json.dumps(record) + "\n")


MAKERS: dict[str, Callable[[Path, int], None]] = {
    "csv": make_csv,
    "tevatron": make_tevatron,
    "beir": make_beir,
    "id triples": make_id_triples,
    "id lists": make_id_lists,
}


def ours(name: str, folder: Path) -> Iterator[Any]:
    """Yield canonical rows, read by this package."""
    from llm_embedder_data.rows.read_rows import read_rows

    settings: dict[str, Any] = {"cache_dir": folder / "cache"}
    if name == "csv":
        return read_rows(folder / "train.csv", **settings)
    if name == "tevatron":
        return read_rows(folder / "train.jsonl", **settings)
    if name == "beir":
        return read_rows(folder, **settings)
    if name == "id lists":
        return read_rows(
            folder / "train.jsonl",
            corpus=folder / "documents.jsonl",
            queries=folder / "queries.jsonl",
            **settings,
        )
    return read_rows(
        folder / "triples.tsv",
        corpus=folder / "collection.tsv",
        queries=folder / "queries.train.tsv",
        **settings,
    )


_TABS = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}

# The files of each set, as load_dataset reads them; the file of rows is last.
_FILES: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "csv": [("csv", "train.csv", {})],
    "tevatron": [("json", "train.jsonl", {})],
    "beir": [
        ("json", "corpus.jsonl", {}),
        ("json", "queries.jsonl", {}),
        ("csv", "qrels/train.tsv", {"delimiter": "\t"}),
    ],
    "id triples": [
        ("csv", "collection.tsv", {**_TABS, "names": ["id", "text"]}),
        ("csv", "queries.train.tsv", {**_TABS, "names": ["id", "text"]}),
        ("csv", "triples.tsv", {**_TABS, "names": ["query", "positive", "negative"]}),
    ],
    "id lists": [
        ("json", "documents.jsonl", {}),
        ("json", "queries.jsonl", {}),
        ("json", "train.jsonl", {}),
    ],
}

# The column of ids of the corpus and of the queries, and the columns of the rows that name them.
_JOINS: dict[str, tuple[str, str, str, list[str]]] = {
    "beir": ("_id", "_id", "query-id", ["corpus-id"]),
    "id triples": ("id", "id", "query", ["positive", "negative"]),
    "id lists": ("document_id", "query_id", "query_id", ["document_ids"]),
}


def _loaded(name: str, folder: Path, cache: str) -> list[Any]:
    from datasets import load_dataset

    return [
        load_dataset(kind, data_files=str(folder / file), cache_dir=cache, split="train", **options)
        for kind, file, options in _FILES[name]
    ]


def of_datasets(name: str, folder: Path) -> Iterator[Any]:
    """Yield records of load_dataset, from all files of a set."""
    with tempfile.TemporaryDirectory() as cache:
        for loaded in _loaded(name, folder, cache):
            yield from loaded


def of_resolve_ids(name: str, folder: Path) -> Iterator[Any]:
    """Yield rows whose ids sentence-transformers has replaced by texts, in file order."""
    from sentence_transformers.util import resolve_ids

    corpus_id, query_id, query, documents = _JOINS[name]
    with tempfile.TemporaryDirectory() as cache:
        corpus, queries, rows = _loaded(name, folder, cache)
        lookups = {query: (queries, query_id, "text")}
        lookups |= dict.fromkeys(documents, (corpus, corpus_id, "text"))
        rows.set_transform(resolve_ids(lookups))
        for batch in rows.iter(batch_size=1000):
            yield from zip(*batch.values(), strict=True)


WAYS: dict[str, Callable[[str, Path], Iterator[Any]]] = {
    "ours": ours,
    "datasets": of_datasets,
    "resolve_ids": of_resolve_ids,
}


def measure(way: str, name: str, folder: Path) -> dict[str, float]:
    """Read once, in this process; imports are not timed."""
    import datasets
    import sentence_transformers.util  # noqa: F401

    import llm_embedder_data.rows.read_rows  # noqa: F401

    datasets.disable_progress_bars()
    # Otherwise a full collection, 0.3 s for what is imported, falls into some ways and not others.
    gc.collect()
    gc.freeze()
    before, started = anonymous_mb(), _processor_seconds()
    n_rows = sum(1 for _ in WAYS[way](name, folder))
    return {"seconds": _processor_seconds() - started, "rows": n_rows, "before": before}


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def compare(folder: Path, n_bytes: int, repeats: int) -> list[list[str]]:
    """Measure all sets; return a line of the table for each set and way."""
    lines = []
    for name, make in MAKERS.items():
        at = folder / name.replace(" ", "_")
        at.mkdir()
        make(at, n_bytes)
        size = sum(file.stat().st_size for file in at.rglob("*") if file.is_file()) / 1e6
        results: dict[str, list[dict[str, Any]]] = {
            way: [] for way in WAYS if way != "resolve_ids" or name in _JOINS
        }
        for _ in range(repeats):
            for way, found in results.items():
                shutil.rmtree(at / "cache", ignore_errors=True)
                found.append(run([__file__, "--way", way, "--set", name, "--at", str(at)]))
        seconds = {way: statistics.median(r["seconds"] for r in results[way]) for way in results}
        for way, found in results.items():
            memory = statistics.median(r["anonymous"] - r["before"] for r in found)
            line = [name, f"{size:.0f}", way, f"{found[0]['rows']:,}", f"{seconds[way]:.1f}"]
            lines.append([*line, f"{seconds[way] / seconds['ours']:.2f}", f"{memory:.0f}"])
            print("  ".join(lines[-1]), flush=True)
    return lines


def write_page(lines: list[list[str]], options: argparse.Namespace) -> None:
    """Write the page of results."""
    header = ["files", "MB", "read by", "rows", "processor s", "time / ours", "memory, MB"]
    packages = ["datasets", "sentence-transformers", "pyarrow", "pandas"]
    (RESULTS / "read_formats.md").write_text(
        f"""# Reading other formats

{machine(packages)}

`python benchmarks/read_formats.py --mb {options.mb:g} --repeats {options.repeats}`, medians.
Each way reads all rows of made-up files once, in a new process with empty caches. Time is processor
time; memory is the peak of anonymous memory, less what imports take.

`ours` and `resolve_ids` give rows with their texts; `datasets` gives the records of all files,
which nothing has joined. `resolve_ids` gives a row for each line of the file; ours has one for a
query, with all its positives and negatives. Training opens our caches, and reads no file again.

{table(header, lines)}
"""
    )


def main() -> None:
    """Compare all ways, or measure one way (as a child process of a comparison)."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mb", type=float, default=50, help="size of the main file of a set")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="write no page of results")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--set", help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.set, options.at)))
        return
    with tempfile.TemporaryDirectory(prefix="read-formats-") as folder:
        lines = compare(Path(folder), int(options.mb * 1e6), options.repeats)
    if not options.dry:
        write_page(lines, options)


if __name__ == "__main__":
    main()
