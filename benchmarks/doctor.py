"""How fast ``prepare`` checks rows: megabytes of JSON Lines a second, on one core.

    python benchmarks/doctor.py [--megabytes 200] [--repeats 3]

Rows are of the benchmark's made-up text, a query with two positives and eight negatives. Reading
the files (once, then cached) is not in the time; fingerprints, comparisons, contamination with
1,000 eval queries and what the plan says are. Tokens are counted from a sample, so their time does
not grow with the data; it is printed apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from llm_embedder_data import RetrievalDataModule
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.inspection.doctor.contamination import contaminated_rows
from llm_embedder_data.inspection.doctor.train_checks import check_rows, row_prints


def write_rows(path: Path, megabytes: int) -> int:
    """Write training rows of random words; the file's size in bytes."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        train, evals = Path(folder, "rows", "train.jsonl"), Path(folder, "rows", "eval.jsonl")
        train.parent.mkdir()
        size = write_rows(train, arguments.megabytes)
        with open(train, encoding="utf-8") as lines:
            queries = [json.loads(line)["query"] for line in islice(lines, 1000)]
        evals.write_text(
            "".join(json.dumps({"query": f"{q} not", "pos_index": [0]}) + "\n" for q in queries)
        )
        corpus = Path(folder, "rows", "corpus.jsonl")
        corpus.write_text('{"text": "a passage"}\n')
        module = RetrievalDataModule(
            demo_encoder(),
            train_data=str(train),
            eval_data=str(evals),
            corpus=str(corpus),
            cache_dir=Path(folder, "cache"),
        )
        module.prepare_data()
        module.setup("fit")
        sets = module.train_sets()
        [train_set] = sets.values()
        speeds = []
        for _ in range(arguments.repeats):
            began = time.process_time()  # the machine may do other things too
            prints = {
                train_set.name: row_prints(train_set, module.instruction("qa"), module.tokenizer)
            }
            check_rows(sets, prints)
            contaminated_rows(sets, prints, module._data.evals or {})
            speeds.append(size / 1e6 / (time.process_time() - began))
        began = time.perf_counter()
        module.diagnose()
        whole = time.perf_counter() - began
        print(f"structural checks: {statistics.median(speeds):.0f} MB/s of JSON Lines a core")
        print(f"the whole diagnosis of {size / 1e6:.0f} MB: {whole:.1f} s")


if __name__ == "__main__":
    main()
