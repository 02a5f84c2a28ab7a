"""Fine-tunes all-MiniLM-L6-v2 with the defaults, and measures it on all sets before and after.

    make defaults ARGS='--data data --sets tool/metatool qa/xquad qa/covidqa'
    python benchmarks/defaults.py --data DIR --sets NAME NAME ... [--seeds 1 2 3] ...

A set is a folder of DIR with train.jsonl, eval.jsonl and corpus.jsonl. The model is trained on each
set in turn, for one epoch of its plain rows (query, pos and neg, without teacher scores). Only the
seed is set. After each training the model is evaluated on all sets. The output has one line per
run, with the standard error of each change of nDCG@10: its standard deviation over the queries,
divided by the root of their number. Then comes the smallest change over the seeds for each pair of
sets, trained on and measured. The exit code is 1 if a change is below zero, even within its
standard error. On a CPU a run takes minutes; bfloat16 shortens it.
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
import numpy as np
import torch
from lightning import seed_everything
from transformers import AutoModel, PreTrainedModel

from llm_embedder_data import BiEncoder, RetrievalDataModule
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.mining.retrieval_metrics import retrieval_metrics

PLAIN = ("query", "pos", "neg")


def plain_rows(source: Path, target: Path) -> str:
    """Write a copy of a training file with query, pos and neg only; its path."""
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


def encoder_of(arguments: argparse.Namespace) -> str | PreTrainedModel:
    """The encoder to train."""
    if arguments.dropout is None:
        return demo_encoder()
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    return AutoModel.from_pretrained(demo_encoder(), **dict.fromkeys(rates, arguments.dropout))


def ndcg(
    arguments: argparse.Namespace, model: BiEncoder, data: RetrievalDataModule
) -> dict[str, np.ndarray]:
    """nDCG@10 of each query, by set."""
    model.evaluator.keeps_rankings = True
    trainer_of(arguments).validate(model, datamodule=data, verbose=False)
    measured = {}
    for name, ranking in model.evaluator.rankings.items():
        with open(Path(arguments.data) / name / "eval.jsonl", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        positives = {str(row["query_id"]): torch.tensor([row["pos_index"]]) for row in rows}
        measured[name] = np.array(
            [
                retrieval_metrics(found[None], positives[str(query)], [10])["ndcg@10"]
                for query, found in zip(ranking.query_ids, ranking.results.index, strict=True)
            ]
        )
    return measured


def means(measured: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in measured.items()}


def standard_error(change: np.ndarray) -> float:
    return float(change.std(ddof=1) / len(change) ** 0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--trained-on", nargs="+", help="sets to train on; default: each of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--temperature", type=float, default=None)
    parser.add_argument("--dropout", type=float, default=None, help="default: the model's own")
    parser.add_argument("--mini-batch-size", type=int, default=None, help="for less memory")
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--accelerator", default="auto")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    given = {
        name: value
        for name in ("learning_rate", "temperature", "mini_batch_size")
        if (value := getattr(arguments, name)) is not None
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments.cache = Path(folder) / "cache"
        elsewhere = data_of(arguments, arguments.sets)
        published = ndcg(arguments, BiEncoder(demo_encoder(), cutoffs=[10]), elsewhere)
        print(json.dumps({"trained on": None, **means(published)}), flush=True)
        least: dict[str, dict[str, float]] = {}
        for name in arguments.trained_on or arguments.sets:
            path = plain_rows(
                Path(arguments.data) / name / "train.jsonl", Path(folder) / name / "train.jsonl"
            )
            for seed in arguments.seeds:
                seed_everything(seed, verbose=False)
                data = data_of(arguments, [name], train_data={name: path}, seed=seed)
                model = BiEncoder(encoder_of(arguments), cutoffs=[10], **given)
                trainer_of(arguments, max_epochs=1, limit_val_batches=0).fit(model, datamodule=data)
                after = ndcg(arguments, model, elsewhere)
                changes = {other: values - published[other] for other, values in after.items()}
                errors = {other: standard_error(change) for other, change in changes.items()}
                line = {"trained on": name, "seed": seed, **means(after), "standard errors": errors}
                print(json.dumps(line), flush=True)
                row = least.setdefault(name, {})
                for other, change in means(changes).items():
                    row[other] = min(change, row.get(other, change))
    print(json.dumps({"smallest change of nDCG@10": least}, indent=2))
    return int(min(value for row in least.values() for value in row.values()) < 0)


if __name__ == "__main__":
    sys.exit(main())
