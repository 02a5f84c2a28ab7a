"""How fast ``prepare`` checks rows: megabytes of JSON Lines per second, on one core.

    python benchmarks/doctor.py [--megabytes 200] [--data FOLDER] [--repeats 5] [--write]

A row has random words: a query with two positives and eight negatives. With ``--data``, all
``NAME/train.jsonl`` below a folder are checked too, as datasets of one run, with the eval sets in
the same folders. The figures are processor time, because other programs may use the machine.
Reading the files, which is done once and then cached, is not included. Fingerprints, comparisons
and contamination with the eval queries (1,000 of the made-up rows) are. Tokens are counted in a
sample, so their time does not grow with the data. Therefore the time of the whole diagnosis, tokens
included, is given separately. ``--write`` writes benchmarks/results/doctor.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, table

from llm_embedder_data import RetrievalDataModule
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.inspection.doctor.checks.contamination import EvalQueries, contaminated_rows
from llm_embedder_data.inspection.doctor.checks.row_checks import check_rows
from llm_embedder_data.inspection.doctor.checks.row_fingerprints import row_fingerprints
from llm_embedder_data.inspection.doctor.near_duplicates.near_checks import near_findings

PAGE = Path(__file__).parent / "results" / "doctor.md"


def write_rows(path: Path, megabytes: int) -> int:
    """Write training rows of random words; return the size of the file in bytes."""
    draw = np.random.default_rng(0)
    words = np.array([f"w{number:x}" for number in draw.integers(0, 1 << 24, 50_000)])

    def text(length: int) -> str:
        return " ".join(words[draw.integers(0, len(words), length)])

    with open(path, "w", encoding="utf-8") as out:
        while out.tell() < megabytes * 1e6:
            row = {
                "query": text(12),
                "pos": [text(90) for _ in range(2)],
                "neg": [text(90) for _ in range(8)],
            }
            out.write(json.dumps(row) + "\n")
    return path.stat().st_size


def made_up(folder: Path, megabytes: int) -> dict[str, Any]:
    """Write made-up rows; return the settings of the data module that reads them."""
    rows = folder / "rows"
    rows.mkdir(parents=True)
    train, evals, corpus = (rows / f"{name}.jsonl" for name in ("train", "eval", "corpus"))
    write_rows(train, megabytes)
    with open(train, encoding="utf-8") as lines:
        queries = [json.loads(line)["query"] for line in islice(lines, 1000)]
    evals.write_text(
        "".join(json.dumps({"query": f"{q} not", "pos_index": [0]}) + "\n" for q in queries)
    )
    corpus.write_text('{"text": "a passage"}\n')
    return {"train_data": {"rows": train}, "eval_data": {"rows": evals}, "corpus": {"rows": corpus}}


def found(folder: Path) -> dict[str, Any]:
    """The training sets below a folder, and the eval sets with a corpus in the same folder."""
    data: dict[str, Any] = {"train_data": {}, "eval_data": {}, "corpus": {}}
    for train in sorted(folder.glob("**/train.jsonl*")):
        name = str(train.parent.relative_to(folder)).replace("/", "_")
        data["train_data"][name] = train
        evals, corpus = train.parent / "eval.jsonl", train.parent / "corpus.jsonl"
        if evals.exists() and corpus.exists():
            data["eval_data"][name], data["corpus"][name] = evals, corpus
    return data


def n_bytes(path: Path) -> int:
    """The size of a file's content in bytes."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        return sum(map(len, iter(lambda: file.read(1 << 20), b"")))


def measured(data: dict[str, Any], cache: Path, repeats: int) -> list[str]:
    """Check rows several times; a line of megabytes, texts, MB/s (first and median), seconds."""
    module = RetrievalDataModule(
        demo_encoder(),
        **{name: {k: str(v) for k, v in of.items()} for name, of in data.items() if of},
        small_datasets="drop",
        cache_dir=cache,
    )
    module.prepare_data()
    module.setup("fit")
    sets, evals = module.train_sets(), module._data.evals or {}
    megabytes = sum(map(n_bytes, data["train_data"].values())) / 1e6
    speeds = []
    for _ in range(repeats):
        began = time.process_time()
        eval_queries = EvalQueries(evals)
        fingerprints = {
            name: row_fingerprints(
                one, module._builder.instruction_of(one), module.tokenizer, eval_queries.runs
            )
            for name, one in sets.items()
        }
        check_rows(sets, fingerprints)
        contaminated_rows(fingerprints, eval_queries)
        speeds.append(megabytes / (time.process_time() - began))
    began = time.process_time()
    near_findings(sets, evals, fingerprints, 0.8)
    near = time.process_time() - began
    n_texts = sum(len(one.rows) + len(one.key) for one in fingerprints.values())
    began = time.process_time()
    module.diagnose()
    whole = time.process_time() - began
    return [
        f"{megabytes:.0f}",
        f"{n_texts:,}",
        f"{speeds[0]:.0f}",
        f"{statistics.median(speeds):.0f}",
        f"{whole:.1f}",
        f"{near:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--data", type=Path, help="a folder with NAME/train.jsonl files")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = {"made-up rows": made_up(Path(folder, "made"), arguments.megabytes)}
        if arguments.data:
            data["rows of the folder"] = found(arguments.data)
        for number, (name, one) in enumerate(data.items()):
            cells = measured(one, Path(folder, f"cache{number}"), arguments.repeats)
            rows.append([name, *cells])
    header = ["", "MB", "texts", "MB/s, first time", "MB/s, median", "whole diagnosis, s"]
    header.append("near-duplicates, s")
    options = f"--megabytes {arguments.megabytes}" + " --data FOLDER" * bool(arguments.data)
    text = f"""# The checks of `prepare`

{machine(["numpy", "pyarrow", "xxhash", "datasets"])}

`python benchmarks/doctor.py {options} --repeats {arguments.repeats} --write`: megabytes of JSON
Lines a second of one core's time. The whole diagnosis has token counts, selection and the plan too.
Near-duplicates, which are looked for with `near_duplicates=0.8` alone, come on top.

{table(header, rows)}
"""
    print(text)
    if arguments.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
