"""How fast batches come: this package beside sentence-transformers, on one made-up load.

    python benchmarks/data_path.py [--rows 500] [--negatives 30] [--steps 60] [--repeats 3]

Each system runs in a process of its own with an empty cache, in turn, ``repeats`` times; the table
has medians. Both give the same work: six tasks, one positive and seven negatives a query, 32
queries a step, texts cut at 256 tokens, one dataset a step, no worker processes. "Ready" is from
the files to the first batch, imports left out; tokens are real ones, padding left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TASKS = ("qa", "convsearch", "chat", "lrlm", "icl", "tool")
BATCH_SIZE, GROUP_SIZE, MAX_LENGTH = 32, 8, 256


def make_load(folder: Path, rows: int, negatives: int) -> None:
    """Six tasks of JSON Lines; words of the sample's texts, about 80 a key and 20 a query."""
    sample = Path(__file__).parent.parent / "llm_embedder_data/sample"
    words = (sample / "qa/corpus.jsonl").read_text().replace('"', "").split()
    draw = random.Random(7)

    def text(n_words: int) -> str:
        start = draw.randrange(len(words) - 200)
        return " ".join(words[start : start + draw.randint(n_words // 2, 3 * n_words // 2)])

    for task in TASKS:
        (folder / task).mkdir()
        with open(folder / task / "train.jsonl", "w") as file:
            for number in range(rows):
                row = {"query": text(20), "query_id": number, "task": task}
                row |= {"pos": [text(80)], "neg": [text(80) for _ in range(negatives)]}
                row["teacher_scores"] = [draw.random() for _ in range(negatives + 1)]
                file.write(json.dumps(row) + "\n")


def ours(folder: Path, model: str) -> Iterator[tuple[int, Any]]:
    from llm_embedder_data import RetrievalDataModule

    yield 0, None
    datamodule = RetrievalDataModule(
        model,
        train_data=str(folder / "*/train.jsonl"),
        batch_size=BATCH_SIZE,
        train_group_size=GROUP_SIZE,
        query_max_length=MAX_LENGTH,
        key_max_length=MAX_LENGTH,
        num_workers=0,
        cache_dir=folder / "cache",
    )
    datamodule.prepare_data()
    datamodule.setup("fit")
    for batch in datamodule.train_dataloader():
        masks = [batch[side]["attention_mask"] for side in ("query", "key")]
        yield int(sum(mask.sum() for mask in masks)), batch


def sentence_transformers(folder: Path, model: str) -> Iterator[tuple[int, Any]]:
    from datasets import DatasetDict, load_dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    encoder = SentenceTransformer(model, device="cpu")
    encoder.max_seq_length = MAX_LENGTH
    yield 0, None

    def columns(row: dict[str, Any]) -> dict[str, str]:
        negatives = {f"negative_{i}": row["neg"][i] for i in range(GROUP_SIZE - 1)}
        return {"anchor": row["query"], "positive": row["pos"][0]} | negatives

    tasks = {}
    for task in TASKS:
        data = load_dataset(
            "json",
            data_files=str(folder / task / "train.jsonl"),
            split="train",
            cache_dir=str(folder / "cache"),
        )
        tasks[task] = data.map(columns, remove_columns=data.column_names)
    trainer = SentenceTransformerTrainer(
        model=encoder,
        args=Arguments(
            str(folder / "out"),
            per_device_train_batch_size=BATCH_SIZE,
            use_cpu=True,
            report_to="none",
        ),
        train_dataset=DatasetDict(tasks),
        loss=MultipleNegativesRankingLoss(encoder),
    )
    for batch in trainer.get_train_dataloader():
        yield int(sum(v.sum() for k, v in batch.items() if k.endswith("attention_mask"))), batch


SYSTEMS = {"llm_embedder_data": ours, "sentence-transformers": sentence_transformers}


def measure(system: str, folder: Path, model: str, steps: int) -> dict[str, float]:
    batches = SYSTEMS[system](folder, model)
    next(batches)  # imports and the model, which both need, are behind us
    begin = time.perf_counter()
    next(batches)
    ready = time.perf_counter() - begin
    begin, tokens, done = time.perf_counter(), 0, 0
    for real, _ in batches:
        tokens, done = tokens + real, done + 1
        if done == steps:
            break
    seconds = time.perf_counter() - begin
    return {"ready s": ready, "steps/s": done / seconds, "tokens/s": tokens / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=500, help="rows a task")
    parser.add_argument("--negatives", type=int, default=30, help="negatives a row")
    parser.add_argument("--steps", type=int, default=60, help="steps timed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("SYSTEM", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    os.environ["HF_HUB_OFFLINE"] = "1"
    from llm_embedder_data.demo import demo_encoder

    if arguments.one:
        system, folder = arguments.one
        print(json.dumps(measure(system, Path(folder), demo_encoder(), arguments.steps)))
        return

    results: dict[str, list[dict[str, float]]] = {name: [] for name in SYSTEMS}
    for _ in range(arguments.repeats):
        for name in SYSTEMS:
            with tempfile.TemporaryDirectory() as folder:
                make_load(Path(folder), arguments.rows, arguments.negatives)
                command = [
                    sys.executable,
                    __file__,
                    "--steps",
                    str(arguments.steps),
                    "--one",
                    name,
                    folder,
                ]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(done.stderr)
                results[name].append(json.loads(done.stdout.splitlines()[-1]))

    names = list(results["llm_embedder_data"][0])
    medians = {
        system: {name: statistics.median(run[name] for run in runs) for name in names}
        for system, runs in results.items()
    }
    print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for system, values in medians.items():
        print(f"| {system} | {' | '.join(f'{values[name]:,.1f}' for name in names)} |")
    first, second = medians.values()
    print(f"| ratio | {' | '.join(f'{first[name] / second[name]:.2f}' for name in names)} |")


if __name__ == "__main__":
    main()
