"""What a cross-encoder learns from the sample: MRR@10 of reranking before and after training.

    python benchmarks/reranking.py [--epochs 4] [--seeds 1 2 3]

The bi-encoder of the demo retrieves ten passages for each eval query of the sample's qa set.
Queries whose passage is not among them are left out. The same encoder with a new head for one score
trains on the training rows, whose negatives are part of the sample, and ranks these ten.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import warnings
from pathlib import Path
from typing import Any

import lightning
from measuring import machine, table

from llm_embedder_data import BiEncoder, CrossEncoder, RetrievalDataModule, evaluate
from llm_embedder_data.demo import demo_encoder

SAMPLE = Path(__file__).parent.parent / "llm_embedder_data/sample/qa"
PAGE = Path(__file__).parent / "results" / "reranking.md"
LENGTHS = {"query_max_length": 32, "key_max_length": 96}
DEPTH = 10


def candidates() -> tuple[list[dict[str, Any]], int, float]:
    """Eval rows with the retrieved passages, the number of all queries, and the encoder's MRR."""
    datamodule = RetrievalDataModule(
        demo_encoder(),
        eval_data={"qa": str(SAMPLE / "eval.jsonl")},
        corpus=str(SAMPLE / "corpus.jsonl"),
        layout="chunked",
        num_workers=0,
        **LENGTHS,
    )
    found = evaluate(BiEncoder(demo_encoder()), datamodule, cutoffs=[DEPTH], show_progress=False)
    corpus = [_text(row) for row in _read(SAMPLE / "corpus.jsonl")]
    rows = {str(row["query_id"]): row for row in _read(SAMPLE / "eval.jsonl")}
    kept, reciprocal = [], []
    for query, documents in found.rankings["qa"].run():
        right = set(rows[query]["pos_index"])
        best = [int(document) for document, _ in documents][:DEPTH]
        ranks = [rank for rank, passage in enumerate(best, 1) if passage in right]
        if not ranks:
            continue
        reciprocal.append(1 / ranks[0])
        kept.append(
            {
                "query": rows[query]["query"],
                "pos": [corpus[passage] for passage in best if passage in right],
                "neg": [corpus[passage] for passage in best if passage not in right],
            }
        )
    return kept, len(rows), statistics.mean(reciprocal)


def reranked(
    rows: list[dict[str, Any]], seed: int, arguments: argparse.Namespace
) -> tuple[float, float]:
    """MRR@10 with a new head, before and after training."""
    lightning.seed_everything(seed, verbose=False)
    datamodule = RetrievalDataModule(
        demo_encoder(),
        train_data={"qa": str(SAMPLE / "train.jsonl")},
        eval_data={"qa": rows},
        eval_method="rerank",
        cross=True,
        batch_size=arguments.batch_size,
        train_group_size=arguments.group_size,
        layout="chunked",
        num_workers=0,
        seed=seed,
        **LENGTHS,
    )
    model = CrossEncoder(
        demo_encoder(), learning_rate=arguments.learning_rate, distill_weight=0.0, cutoffs=[DEPTH]
    )
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=arguments.epochs,
        limit_val_batches=0,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    judge = lightning.Trainer(
        accelerator="auto", devices=1, logger=False, enable_progress_bar=False
    )

    def mrr() -> float:
        [found] = judge.validate(model, datamodule=datamodule, verbose=False)
        return float(found[f"val/mrr@{DEPTH}"])

    before = mrr()
    trainer.fit(model, datamodule=datamodule)
    return before, mrr()


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _text(row: dict[str, Any]) -> str:
    return f"{row.get('title') or ''} {row['text']}".strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=4, help="keys per query")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--page", default=str(PAGE), help="file to write")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows, n_queries, of_encoder = candidates()
    found = []
    for seed in arguments.seeds:
        found.append(reranked(rows, seed, arguments))
        print(seed, found[-1], flush=True)
    shown = [
        ["the bi-encoder's order", "", f"{of_encoder:.3f}"],
        *(
            [name, str(seed), f"{pair[i]:.3f}"]
            for i, name in enumerate(["new head, untrained", "trained"])
            for seed, pair in zip(arguments.seeds, found, strict=True)
        ),
    ]
    text = (
        "# Reranking the sample with a cross-encoder\n\n"
        f"{machine(['torch', 'transformers', 'lightning'])}\n\n"
        f"{len(rows)} of {n_queries} eval queries of the sample's qa set, those whose passage is "
        f"among the {DEPTH} that the bi-encoder retrieves. all-MiniLM-L6-v2 with a new head, "
        f"{arguments.epochs} epochs of {len(_read(SAMPLE / 'train.jsonl'))} rows, "
        f"{arguments.batch_size} queries of {arguments.group_size} keys a step, learning rate "
        f"{arguments.learning_rate:g}, list-wise loss.\n\n"
        + table(["", "seed", f"MRR@{DEPTH}"], shown)
        + "\n"
    )
    print(text)
    Path(arguments.page).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
