"""Measures rows of ids over a growing corpus, and compares them with the same rows as texts.

    python benchmarks/ids.py [--rows 1000000] [--passages 500000] [--candidates 30] [--sizes 3]

A generator writes a corpus, and rows that name its passages by id, in growing sizes up to those
given. Each phase runs in a separate process, so that its peak of memory can be measured:

- prepare: read the files and write the caches, into an empty folder;
- train: open the caches (imports not included) and take steps, whose rows are spread over the whole
  file.

Memory means anonymous memory: its peak, less what imports and the tokenizer take. Pages of the
mapped caches that were touched come on top; the system reclaims them when it needs memory. The
words that the tokenizer remembers are counted by themselves: 64 MB at most, whatever the rows.

At the smallest size, the same rows are written out as texts, and both are measured. They
alternate every few steps, and the ratio of their rates is the median over these turns.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from made_up_text import MadeUpText
from measuring import anonymous_mb, machine, run, size_mb, table

RESULTS = Path(__file__).parent / "results"
_PASSAGES_AT_ONCE, _ROWS_AT_ONCE = 5000, 1000
_STRETCHES, _STRETCH_STEPS = 9, 60


def write_corpus(path: Path, passages: int, words: int) -> None:
    """Write passages whose ids are a letter and the passage's number."""
    text = MadeUpText(8)
    with open(path, "wb") as file:
        for first in range(0, passages, _PASSAGES_AT_ONCE):
            n_passages = min(_PASSAGES_AT_ONCE, passages - first)
            for i, passage in enumerate(text.texts(text.sizes(n_passages, words))):
                file.write(orjson.dumps({"_id": f"d{first + i}", "text": passage}) + b"\n")


def write_rows(path: Path, rows: int, candidates: int, passages: int) -> None:
    """Write rows of a query and the ids of a positive and of negatives, drawn at random."""
    text, draw = MadeUpText(9), np.random.default_rng(5)
    with open(path, "wb") as file:
        for first in range(0, rows, _ROWS_AT_ONCE):
            n_rows = min(_ROWS_AT_ONCE, rows - first)
            queries = text.texts(text.sizes(n_rows, 6))
            ids = draw.integers(0, passages, (n_rows, candidates)).tolist()
            for query, (positive, *negatives) in zip(queries, ids, strict=True):
                row = {"query": query, "pos": [f"d{positive}"]}
                row["neg"] = [f"d{one}" for one in negatives]
                file.write(orjson.dumps(row) + b"\n")


def write_as_texts(folder: Path) -> None:
    """Write the rows of ``rows.jsonl`` with texts in place of ids to ``texts.jsonl``."""
    from llm_embedder_data import read_rows

    corpus = str(folder / "corpus.jsonl")
    rows = read_rows(str(folder / "rows.jsonl"), corpus=corpus, cache_dir=folder / "convert")
    with open(folder / "texts.jsonl", "wb") as file:
        for row in rows:
            file.write(orjson.dumps({name: row[name] for name in ("query", "pos", "neg")}) + b"\n")


def make(folder: Path, kind: str, tokenize: str) -> Any:
    """The data module that reads rows of ids, or rows of texts."""
    from llm_embedder_data import RetrievalDataModule
    from llm_embedder_data.demo import demo_encoder

    source: Any = str(folder / "texts.jsonl")
    if kind == "ids":
        source = {"path": str(folder / "rows.jsonl"), "corpus": str(folder / "corpus.jsonl")}
    return RetrievalDataModule(
        demo_encoder(),
        train_data={"rows": source},
        tokenize=tokenize,
        num_workers=0,
        cache_dir=folder / f"cache-{kind}",
    )


def measure(phase: str, folder: Path, kind: str, tokenize: str, steps: int) -> dict[str, float]:
    """Measure one phase, in this process."""
    warnings.simplefilter("ignore")
    datamodule = make(folder, kind, tokenize)
    datamodule.tokenizer  # noqa: B018 (loads it, so that it does not count as data)
    result = {"before": anonymous_mb()}
    begin = time.perf_counter()
    datamodule.prepare_data()
    result["prepare"] = time.perf_counter() - begin
    if phase == "prepare":
        return result
    datamodule.setup("fit")
    result["open"] = time.perf_counter() - begin
    result["opened"] = anonymous_mb()
    loader = datamodule.train_dataloader()
    begin = time.perf_counter()
    n_done = sum(1 for _ in islice(loader, steps))
    result["per s"] = n_done / (time.perf_counter() - begin)
    result["iterated"] = anonymous_mb()
    result["words"] = remembered_mb()
    return result


def remembered_mb() -> float:
    """An estimate of the memory of the words that tokenizers remember, in MB."""
    from llm_embedder_data.batches.tokens.word_memo import WordMemo

    memos = [one for one in gc.get_objects() if isinstance(one, WordMemo)]
    words = sum(sys.getsizeof(w) + sys.getsizeof(ids) for memo in memos for w, ids in memo.items())
    return (words + sum(map(sys.getsizeof, memos))) / 1e6


def compared(folder: Path, tokenize: str) -> dict[str, float]:
    """Steps per second with ids and with texts, which alternate, and the ratio of their times."""
    warnings.simplefilter("ignore")
    feeds: dict[str, Iterator[Any]] = {}
    for kind in ("ids", "texts"):
        datamodule = make(folder, kind, tokenize)
        datamodule.prepare_data()
        datamodule.setup("fit")
        feeds[kind] = iter(datamodule.train_dataloader())
    times: dict[str, list[float]] = {"ids": [], "texts": []}
    for stretch in range(_STRETCHES + 1):
        for kind in ("ids", "texts") if stretch % 2 else ("texts", "ids"):
            begin = time.perf_counter()
            n_done = sum(1 for _ in islice(feeds[kind], _STRETCH_STEPS))
            assert n_done == _STRETCH_STEPS
            if stretch:  # the first one warms up
                times[kind].append((time.perf_counter() - begin) / n_done)
    ratios = [one / other for one, other in zip(times["ids"], times["texts"], strict=True)]
    rates = {kind: 1 / statistics.median(times[kind]) for kind in times}
    return {**rates, "ratio": statistics.median(ratios)}


def parsed(command_line: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the largest size")
    parser.add_argument(
        "--passages", type=int, default=500_000, help="passages of the largest corpus"
    )
    parser.add_argument("--candidates", type=int, default=30, help="ids per row")
    parser.add_argument("--words", type=int, default=20, help="words per passage")
    parser.add_argument("--steps", type=int, default=500, help="steps of 32 queries")
    parser.add_argument(
        "--sizes", type=int, default=3, help="number of sizes, each four times the last"
    )
    parser.add_argument(
        "--compared-rows", type=int, default=40_000, help="rows that are also written as texts"
    )
    parser.add_argument("--tokenize", default="on-the-fly", choices=("on-the-fly", "cached"))
    parser.add_argument("--folder", help="folder for the data; default: a temporary folder")
    parser.add_argument("--results", default=str(RESULTS), help="folder of the results")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args(command_line)


def main() -> None:
    arguments = parsed()
    if arguments.one:
        phase, folder, kind = arguments.one
        if phase == "compare":
            found = compared(Path(folder), arguments.tokenize)
        else:
            found = measure(phase, Path(folder), kind, arguments.tokenize, arguments.steps)
        print(json.dumps(found))
        return
    rows: list[dict[str, Any]] = []
    for power in reversed(range(arguments.sizes)):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            n_rows, n_passages = arguments.rows // 4**power, arguments.passages // 4**power
            rows.append(measure_size(Path(name), arguments, n_rows, n_passages))
            print(f"{n_rows:,} rows measured", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        beside = compare(Path(name), arguments)
    write(rows, beside, arguments, Path(arguments.results))


def measure_size(
    folder: Path, arguments: argparse.Namespace, n_rows: int, n_passages: int
) -> dict[str, Any]:
    write_corpus(folder / "corpus.jsonl", n_passages, arguments.words)
    write_rows(folder / "rows.jsonl", n_rows, arguments.candidates, n_passages)
    row: dict[str, Any] = {"rows": n_rows, "passages": n_passages, "files": size_mb(folder)}
    script = [__file__, "--steps", str(arguments.steps), "--tokenize", arguments.tokenize, "--one"]
    row |= {phase: run([*script, phase, str(folder), "ids"]) for phase in ("prepare", "train")}
    return {**row, "cache": size_mb(folder / "cache-ids")}


def compare(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare the same rows as ids and as texts."""
    n_rows = arguments.compared_rows
    write_corpus(folder / "corpus.jsonl", max(1, n_rows // 2), arguments.words)
    write_rows(folder / "rows.jsonl", n_rows, arguments.candidates, max(1, n_rows // 2))
    write_as_texts(folder)
    found: dict[str, Any] = {"rows": n_rows}
    for tokenize in ("on-the-fly", "cached"):
        script = [__file__, "--tokenize", tokenize, "--one"]
        for kind in ("ids", "texts"):
            prepared = run([*script, "prepare", str(folder), kind])
            found[f"{tokenize}, {kind}"] = {
                "prepare": prepared["prepare"],
                "cache": size_mb(folder / f"cache-{kind}"),
            }
        found[tokenize] = run([*script, "compare", str(folder), ""])
    return found


def write(
    rows: list[dict[str, Any]], beside: dict[str, Any], arguments: argparse.Namespace, folder: Path
) -> None:
    """Write ids.json and ids.md."""
    (folder / "ids.json").write_text(json.dumps({"sizes": rows, "beside": beside}, indent=1) + "\n")
    header = ["rows", "passages", "files, MB", "caches, MB", "prepare, s", "its memory, MB"]
    header += ["open, s", "memory opened, MB", "memory after steps, MB", "words in it, MB"]
    header += ["peak, MB", "steps/s"]
    lines = [
        [
            *(f"{row['rows']:,}", f"{row['passages']:,}", f"{row['files']:,.0f}"),
            f"{row['cache']:,.0f}",
            f"{row['prepare']['prepare']:.1f}",
            f"{row['prepare']['anonymous'] - row['prepare']['before']:.0f}",
            f"{row['train']['open']:.2f}",
            f"{row['train']['opened'] - row['train']['before']:.0f}",
            f"{row['train']['iterated'] - row['train']['before']:.0f}",
            f"{row['train']['words']:.0f}",
            f"{row['train']['anonymous'] - row['train']['before']:.0f}",
            f"{row['train']['per s']:.1f}",
        ]
        for row in rows
    ]
    ways = ("on-the-fly", "cached")
    pairs = [
        [
            way,
            *(f"{beside[f'{way}, {kind}']['prepare']:.1f}" for kind in ("ids", "texts")),
            *(f"{beside[f'{way}, {kind}']['cache']:,.0f}" for kind in ("ids", "texts")),
            *(f"{beside[way][kind]:.1f}" for kind in ("ids", "texts")),
            f"{beside[way]['ratio']:.2f}",
        ]
        for way in ways
    ]
    (folder / "ids.md").write_text(
        f"""# Rows of ids over a corpus

{machine(["datasets", "pyarrow", "numpy", "tokenizers"])}

`python benchmarks/ids.py --rows {arguments.rows} --passages {arguments.passages}`: rows of
{arguments.candidates} ids over passages of {arguments.words} words, all-MiniLM-L6-v2's tokenizer,
{arguments.steps} steps of 32 queries with 8 keys, tokenized {arguments.tokenize}. Memory is
anonymous memory, less what imports and the tokenizer take.

{table(header, lines)}

The same {beside["rows"]:,} rows by id and written out as texts. The caches of the second line hold
those of the first and the tokens. The ratio is the median of neighbouring stretches' times, ids
over texts.

{
            table(
                [
                    "tokens",
                    "prepare ids, s",
                    "texts, s",
                    "caches of ids, MB",
                    "of texts, MB",
                    "ids, steps/s",
                    "texts, steps/s",
                    "time, ids / texts",
                ],
                pairs,
            )
        }
"""
    )


if __name__ == "__main__":
    main()
