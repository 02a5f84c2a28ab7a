"""Fine-tunes all-MiniLM-L6-v2 with the defaults, and measures it on all sets before and after.

    make defaults ARGS='--data data --sets tool/metatool qa/xquad qa/covidqa'
    python benchmarks/defaults.py --data DIR --sets NAME NAME ... [--seeds 3] ...

A set is a folder of DIR with train.jsonl, eval.jsonl and corpus.jsonl. The model is trained on each
set in turn, for one epoch of its plain rows (query, pos and neg, without teacher scores). Only the
seed is set. After each training the model is evaluated on all sets. The output has one line per
run, then the smallest change of nDCG@10 over the seeds for each pair of sets, trained on and
measured. The exit code is 1 if a change is below zero. On a CPU a run takes minutes; bfloat16
shortens it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import lightning
from lightning import seed_everything

from llm_embedder_data import BiEncoder, RetrievalDataModule
from llm_embedder_data.demo import demo_encoder

PLAIN = ("query", "pos", "neg")


def plain_rows(source: Path, target: Path) -> str:
    """A copy of a training file that holds nothing but query, pos and neg."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(source, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as out:
        for line in lines:
            row = json.loads(line)
            out.write(json.dumps({name: row[name] for name in PLAIN if name in row}) + "\n")
    return str(target)


def trainer_of(arguments: argparse.Namespace, **settings: Any) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator=arguments.accelerator,
        devices=1,
        precision=arguments.precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )


def data_of(
    arguments: argparse.Namespace, names: list[str], **settings: Any
) -> RetrievalDataModule:
    root = Path(arguments.data)
    return RetrievalDataModule(
        demo_encoder(),
        eval_data={name: str(root / name / "eval.jsonl") for name in names},
        corpus={name: str(root / name / "corpus.jsonl") for name in names},
        layout="chunked",  # the same embeddings and losses with less padding
        unique_keys=True,
        eval_batch_size=128,
        cache_dir=arguments.cache,
        **settings,
    )


def ndcg(
    arguments: argparse.Namespace, model: BiEncoder, data: RetrievalDataModule
) -> dict[str, float]:
    """nDCG@10 by set."""
    metrics = trainer_of(arguments).validate(model, datamodule=data, verbose=False)[0]
    return {
        name.removeprefix("val/").removesuffix("/ndcg@10"): value
        for name, value in metrics.items()
        if name.endswith("/ndcg@10") and name != "val/ndcg@10"  # the mean of the sets
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--temperature", type=float, default=None)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--accelerator", default="auto")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    given = {
        name: value
        for name in ("learning_rate", "temperature")
        if (value := getattr(arguments, name)) is not None
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments.cache = Path(folder) / "cache"
        elsewhere = data_of(arguments, arguments.sets)
        published = ndcg(arguments, BiEncoder(demo_encoder(), cutoffs=[10]), elsewhere)
        print(json.dumps({"trained on": None, **published}), flush=True)
        least: dict[str, dict[str, float]] = {}
        for name in arguments.sets:
            path = plain_rows(
                Path(arguments.data) / name / "train.jsonl", Path(folder) / name / "train.jsonl"
            )
            for seed in range(1, arguments.seeds + 1):
                seed_everything(seed, verbose=False)
                data = data_of(arguments, [name], train_data={name: path}, seed=seed)
                model = BiEncoder(demo_encoder(), cutoffs=[10], **given)
                trainer_of(arguments, max_epochs=1, limit_val_batches=0).fit(model, datamodule=data)
                after = ndcg(arguments, model, elsewhere)
                print(json.dumps({"trained on": name, "seed": seed, **after}), flush=True)
                for other, value in after.items():
                    change = value - published[other]
                    row = least.setdefault(name, {})
                    row[other] = min(change, row.get(other, change))
    print(json.dumps({"smallest change of nDCG@10": least}, indent=2))
    return int(min(value for row in least.values() for value in row.values()) < 0)


if __name__ == "__main__":
    sys.exit(main())
