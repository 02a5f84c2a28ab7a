"""Measures training steps of BiEncoder and sentence-transformers: time and memory per step.

    python benchmarks/training.py                     # on a CPU
    python benchmarks/training.py --data FOLDER       # real rows instead of made-up ones
    python benchmarks/training.py --large             # with CUDA: 4,096 queries of 8 keys per step

Both train the same encoder on the same rows, in batches of one task each, for the same number of
steps, with AdamW, the same learning rate and schedule, clipping, and the same contrastive loss.
Processes alternate, and the ratios are those of the medians. All steps of an
epoch are counted, including the making of batches. Made-up rows have the lengths and words of
LLM-Embedder's six tasks (benchmarks/real_text.py). ``--large`` compares ``mini_batch_size`` with
sentence-transformers' CachedMultipleNegativesRankingLoss. A page goes to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from feeds import MAX_LENGTH
from loads import TASKS, copy_load, make_load
from measuring import machine, run, table

# Wall time, and processor time of all threads of this process, in seconds.
Moment = tuple[float, float]

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "lightning", "sentence-transformers")
PEER = "sentence-transformers"
LEARNING_RATE = 2e-5

# Layouts of ours: arguments of RetrievalDataModule.
LAYOUTS: dict[str, dict[str, Any]] = {
    "padded": {"layout": "padded"},
    "chunked": {"layout": "chunked", "chunk_size": 8},
    "chunked, unique keys": {"layout": "chunked", "chunk_size": 8, "unique_keys": True},
    "packed, unique keys": {"layout": "packed", "unique_keys": True},
}


def rows_of(data: str | None, folder: Path, group_size: int, n_rows: int) -> dict[str, list[Any]]:
    """Rows of each task, with one positive and the same number of negatives.

    Args:
        data: a folder of real rows; None: make rows up.
        folder: where to write them.
        group_size: keys per row.
        n_rows: rows per task.
    """
    if data is None:
        make_load(folder, rows=n_rows, negatives=group_size - 1)
    else:
        copy_load(Path(data), folder)
    by_task: dict[str, list[Any]] = {}
    for task in TASKS:
        rows = []
        for file in sorted(folder.glob(f"{task}*/train.jsonl")):
            for row in map(json.loads, file.open()):
                negatives = [text for text in row["neg"] if text != row["pos"][0]]
                if len(negatives) >= group_size - 1 and len(rows) < n_rows:
                    rows.append(
                        {
                            "query": row["query"],
                            "pos": row["pos"][:1],
                            "neg": negatives[: group_size - 1],
                        }
                    )
        if len(rows) == n_rows:
            by_task[task] = rows
    return by_task


def padded_share(rows: dict[str, list[Any]], arguments: argparse.Namespace) -> float:
    """The share of padding in batches of the peer, which pads each column separately.

    Batches are taken in the order of the rows; the peer shuffles them.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # silence warnings about texts that are longer than the limit
    tokenizer = AutoTokenizer.from_pretrained(arguments.encoder)
    real = padded = 0
    for some in rows.values():
        columns = zip(*([row["query"], *row["pos"], *row["neg"]] for row in some), strict=True)
        for column in columns:
            lengths = [min(len(ids), MAX_LENGTH) for ids in tokenizer(list(column))["input_ids"]]
            for first in range(0, len(lengths), arguments.batch_size):
                batch = lengths[first : first + arguments.batch_size]
                real += sum(batch)
                padded += max(batch) * len(batch)
    return 1 - real / padded


def ours(rows: dict[str, list[Any]], layout: str, arguments: argparse.Namespace) -> list[Moment]:
    """Train BiEncoder; return the times at which training began and each step ended."""
    import lightning

    import llm_embedder_data

    moments: list[Moment] = []

    class Clock(lightning.Callback):
        def on_train_start(self, *_: Any) -> None:
            moments.append(_now())

        def on_train_batch_end(self, *_: Any) -> None:
            moments.append(_now())

    datamodule = llm_embedder_data.RetrievalDataModule(
        tokenizer=arguments.encoder,
        train_data=rows,
        add_instruction=False,
        use_train_config=False,
        train_group_size=arguments.group_size,
        batch_size=arguments.batch_size,
        query_max_length=MAX_LENGTH,
        key_max_length=MAX_LENGTH,
        cache_dir=arguments.cache,
        **LAYOUTS[layout],
    )
    model = llm_embedder_data.BiEncoder(
        arguments.encoder,
        learning_rate=LEARNING_RATE,
        temperature=0.05,
        distill_weight=0.0,
        mini_batch_size=arguments.mini_batch_size,
    )
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if arguments.large else "32-true",
        max_epochs=1,
        max_steps=arguments.steps,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Clock()],
    )
    trainer.fit(model, datamodule=datamodule)
    return moments


def peer(rows: dict[str, list[Any]], arguments: argparse.Namespace) -> list[Moment]:
    """Train a SentenceTransformer; return the times when training began and each step ended."""
    from datasets import Dataset, DatasetDict
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, losses
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from transformers import TrainerCallback

    moments: list[Moment] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            moments.append(_now())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            moments.append(_now())

    encoder = SentenceTransformer(arguments.encoder)
    encoder.max_seq_length = MAX_LENGTH
    if arguments.mini_batch_size is None:
        loss = losses.MultipleNegativesRankingLoss(encoder)
    else:
        loss = losses.CachedMultipleNegativesRankingLoss(
            encoder, mini_batch_size=arguments.mini_batch_size
        )
    tasks = DatasetDict(
        {
            task: Dataset.from_list(
                [
                    {"anchor": row["query"], "positive": row["pos"][0]}
                    | {f"negative_{i}": text for i, text in enumerate(row["neg"])}
                    for row in some
                ]
            )
            for task, some in rows.items()
        }
    )
    settings = Arguments(
        str(Path(arguments.cache) / "out"),
        per_device_train_batch_size=arguments.batch_size,
        learning_rate=LEARNING_RATE,
        warmup_steps=max(1, arguments.steps // 10),
        weight_decay=0.01,
        max_grad_norm=1.0,
        max_steps=arguments.steps,
        bf16=arguments.large,
        use_cpu=not arguments.large,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        report_to="none",
    )
    trainer = SentenceTransformerTrainer(
        model=encoder, args=settings, train_dataset=tasks, loss=loss, callbacks=[Clock()]
    )
    trainer.train()
    return moments


def _now() -> Moment:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def one(case: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of one case in this process."""
    import torch

    warnings.simplefilter("ignore")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows = json.loads(Path(arguments.rows_file).read_text())
    moments = peer(rows, arguments) if case == PEER else ours(rows, case, arguments)
    steps = len(moments) - 1
    elapsed, of_processor = (
        (last - first) / steps for first, last in zip(moments[0], moments[-1], strict=True)
    )
    figures = {
        "seconds a step": elapsed,
        "processor seconds a step": of_processor,
        "steps": steps,
    }
    if torch.cuda.is_available():
        figures["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
    return figures


def compare(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """The figures of each case and repeat, from processes that alternate."""
    cases = [PEER, *(arguments.layouts or LAYOUTS)]
    figures: dict[str, list[dict[str, Any]]] = {case: [] for case in cases}
    with TemporaryDirectory() as folder:
        # Both see each row once, so that no task weighs more in one of them.
        per_task = max(arguments.steps // len(TASKS), 1) * arguments.batch_size
        rows = rows_of(arguments.data, Path(folder) / "load", arguments.group_size, per_task)
        rows_file = Path(folder) / "rows.json"
        rows_file.write_text(json.dumps(rows))
        print({task: len(some) for task, some in rows.items()}, file=sys.stderr)
        arguments.steps = sum(map(len, rows.values())) // arguments.batch_size
        arguments.padding = padded_share(rows, arguments)
        passed = {
            "--rows-file": rows_file,
            "--cache": Path(folder) / "cache",
            "--encoder": arguments.encoder,
            "--batch-size": arguments.batch_size,
            "--group-size": arguments.group_size,
            "--steps": arguments.steps,
            "--threads": arguments.threads,
        }
        if arguments.mini_batch_size is not None:
            passed["--mini-batch-size"] = arguments.mini_batch_size
        command = [__file__, *(str(word) for pair in passed.items() for word in pair)]
        command += ["--large"] if arguments.large else []
        for _ in range(arguments.repeats):
            for case in cases:
                found = run([*command, "--case", case])
                print(case, found, file=sys.stderr, flush=True)
                figures[case].append(found)
    return figures


def page(figures: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> str:
    """The figures in Markdown."""

    def median(case: str, name: str) -> float:
        return statistics.median(found[name] for found in figures[case])

    rows = []
    for case in figures:
        seconds = median(case, "seconds a step")
        ratio = seconds / median(PEER, "seconds a step")
        of_processor = median(case, "processor seconds a step") / median(
            PEER, "processor seconds a step"
        )
        gigabytes = median(case, "peak GB" if arguments.large else "anonymous")
        rows.append(
            [
                case,
                f"{seconds:.2f}",
                f"{arguments.batch_size / seconds:,.1f}",
                f"{ratio:.2f}",
                f"{of_processor:.2f}",
                f"{gigabytes if arguments.large else gigabytes / 1000:.2f}",
            ]
        )
    header = ["", "s a step", "queries/s", "ratio", "ratio of processor time", "peak GB"]
    return (
        f"# Training steps beside sentence-transformers\n\n{machine(PACKAGES)} "
        f"{arguments.threads or 'All'} threads a process.\n\n"
        f"{arguments.steps} steps of {arguments.batch_size} queries, "
        f"{arguments.group_size} keys each, {'real' if arguments.data else 'made-up'} rows of "
        f"{len(TASKS)} tasks, at most {MAX_LENGTH} tokens; medians of {arguments.repeats} "
        "processes each, which alternate. `ratio`: seconds a step divided by the peer's. "
        f"Mini-batches: {arguments.mini_batch_size or 'none'}. {arguments.padding:.0%} of the "
        f"tokens of the peer's batches are padding.\n\n{table(header, rows)}\n"
    )


def main() -> None:
    from llm_embedder_data.demo import demo_encoder

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", help="folder of real rows; else they are made up")
    parser.add_argument("--encoder", default=demo_encoder(), help="name or folder")
    parser.add_argument("--batch-size", type=int, help="queries per step [16; with --large 4,096]")
    parser.add_argument("--group-size", type=int, help="keys per query [4; with --large 8]")
    parser.add_argument("--mini-batch-size", type=int, help="texts [none; with --large 256]")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0: all cores")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS)
    parser.add_argument("--large", action="store_true", help="large batches on a GPU, in bf16")
    parser.add_argument("--page", default=str(RESULTS / "training.md"), help="file to write")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--rows-file", help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.batch_size = arguments.batch_size or (4096 if arguments.large else 16)
    arguments.group_size = arguments.group_size or (8 if arguments.large else 4)
    if arguments.large:
        import torch

        if not torch.cuda.is_available():
            raise SystemExit("--large needs a GPU with CUDA, and there is none")
        arguments.mini_batch_size = arguments.mini_batch_size or 256
    if arguments.case:
        print(json.dumps(one(arguments.case, arguments)))
        return
    figures = compare(arguments)
    text = page(figures, arguments)
    print(text)
    Path(arguments.page).write_text(text)


if __name__ == "__main__":
    main()
