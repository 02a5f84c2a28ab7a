"""Mining and training, compared with sentence-transformers and its miner: change of nDCG@10.

    python benchmarks/loop.py --data DIR --train tool/metatool --others qa/xquad [--seeds 1 2 3]

A set is a folder of DIR with eval.jsonl and corpus.jsonl; the set to train on has train.jsonl too.
Its pairs (query and first positive) are sampled once. Both sides mine once, with the same encoder,
depth and margin, and train on the pairs for which both have negatives. Number of steps, batch size,
hard negatives per query, learning rate, warm-up, schedule, temperature and weight decay are equal.
The conditions differ in this:

- ``frozen``: negatives mined once;
- ``frozen, no mask``: as ``frozen``, and the loss does not leave out known or judged false
  negatives of the batch;
- ``refreshed``: ``RefreshNegatives`` mines again at the beginning of each epoch but the first;
- ``sentence-transformers``: ``mine_hard_negatives`` and MultipleNegativesRankingLoss.

All are measured by the same evaluation, on the trained set and on the others. Runs are kept in
``--runs`` and not repeated; ``--page`` only writes the page, of the runs of these settings.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning import seed_everything
from measuring import machine, table

from llm_embedder_data import BiEncoder, RetrievalDataModule, evaluate
from llm_embedder_data.callbacks.refresh_negatives import RefreshNegatives
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.mining.mining import mine, write_mined
from llm_embedder_data.mining.retrievers import DenseRetriever
from llm_embedder_data.mining.text_embedder import TextEmbedder

PAGE = Path(__file__).parent / "results" / "loop.md"
# What a run depends on, in addition to its condition and seed.
SETTINGS = (
    *("train", "others", "rows", "steps", "batch_size", "negatives", "depth", "margin", "length"),
    *("learning_rate", "temperature"),
)
PEER = "sentence-transformers"


class Unmasked(BiEncoder):
    """A BiEncoder whose loss treats every other key of the batch as a negative."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        unmasked = {**batch, "positive_id": batch["positive_id"][:, :0]}
        del unmasked["query_text_id"]
        return super().training_step(unmasked, batch_idx)


class Loop:
    """The data, and what both sides mined from them, in a folder."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.given, self.folder = arguments, folder
        self.root = Path(arguments.data)
        self.sets = [arguments.train, *arguments.others]
        self.encoder = arguments.encoder or demo_encoder()
        self.pairs, self.run = folder / "pairs.jsonl", folder / "run.tsv"
        rows = _read(self.root / arguments.train / "train.jsonl")
        rows = [row for row in rows if row["pos"]]
        rows = random.Random(0).sample(rows, min(arguments.rows, len(rows)))
        pairs = [
            {"query": row["query"], "query_id": f"q{i}", "pos": row["pos"][:1]}
            for i, row in enumerate(rows)
        ]
        _write(self.pairs, pairs)
        self.mined = self._their_negatives(pairs)
        self._mine()
        kept = self._kept() & set(self.mined)
        self.n_sampled, self.pair_list = len(pairs), [p for p in pairs if p["query_id"] in kept]
        _write(self.pairs, self.pair_list)

    def data(self, **settings: Any) -> RetrievalDataModule:
        given = self.given
        return RetrievalDataModule(
            self.encoder,
            corpus={name: str(self.root / name / "corpus.jsonl") for name in self.sets},
            query_max_length=given.length,
            key_max_length=given.length,
            layout="chunked",
            unique_keys=True,
            eval_batch_size=128,
            cache_dir=self.folder / "cache",
            num_workers=0,
            **settings,
        )

    def trained(self, **settings: Any) -> RetrievalDataModule:
        source = {"path": str(self.pairs), "negatives": str(self.run)}
        return self.data(
            train_data={self.given.train: source},
            batch_size=self.given.batch_size,
            train_group_size=1 + self.given.negatives,
            relative_margin=self.given.margin,
            remainder="drop",
            **settings,
        )

    def ndcg(self, model: BiEncoder) -> dict[str, float]:
        """nDCG@10 by set."""
        evals = {name: str(self.root / name / "eval.jsonl") for name in self.sets}
        found = evaluate(model, self.data(eval_data=evals), cutoffs=[10], show_progress=False)
        return {name: found.metrics[name]["ndcg@10"] for name in self.sets}

    # -- ours --------------------------------------------------------------------------------------

    def _mine(self) -> None:
        data = self.data(train_data={self.given.train: str(self.pairs)}, on_no_negatives="keep")
        data.prepare_data()
        data.setup("fit")
        embedder = TextEmbedder(
            BiEncoder(self.encoder).eval(), data.tokenizer, max_length=self.given.length
        )
        [found] = [
            mine(
                of_set,
                lambda _, passages, queries: DenseRetriever(
                    passages, queries.texts, embedder, embedder, self.folder / "store"
                ),
                self.folder / "blocks",
                depth=self.given.depth,
            )
            for of_set in data.data_to_mine().values()
        ]
        write_mined(self.run, [found])

    def _kept(self) -> set[str]:
        """The ids of the queries that have negatives within the margin."""
        data = self.trained()
        data.prepare_data()
        data.setup("fit")
        [rows] = data.train_sets().values()
        pairs = _read(self.pairs)
        return {pairs[i]["query_id"] for i in rows.kept.tolist()}

    def ours(self, seed: int, *, mask: bool = True, refresh: bool = False) -> BiEncoder:
        given = self.given
        model = (BiEncoder if mask else Unmasked)(
            self.encoder,
            learning_rate=given.learning_rate,
            temperature=given.temperature,
        )
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        callbacks: list[lightning.Callback] = []
        if refresh:
            callbacks.append(RefreshNegatives(depth=given.depth, folder=folder))
        trainer = lightning.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=-1,
            max_steps=given.steps,
            limit_val_batches=0,
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
        )
        trainer.fit(model, datamodule=self.trained(seed=seed))
        assert trainer.global_step == given.steps
        return model

    # -- theirs ------------------------------------------------------------------------------------

    def _their_negatives(self, pairs: list[dict[str, Any]]) -> dict[str, list[str]]:
        """Negatives by query id, drawn at random from those within depth and margin."""
        from datasets import Dataset
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.util import mine_hard_negatives

        given = self.given
        model = SentenceTransformer(self.encoder)
        model.max_seq_length = given.length
        corpus = _read(self.root / given.train / "corpus.jsonl")
        texts = [f"{row.get('title') or ''} {row['text']}".strip() for row in corpus]
        seed_everything(0, verbose=False)
        found = mine_hard_negatives(
            Dataset.from_list([{"query": p["query"], "answer": p["pos"][0]} for p in pairs]),
            model,
            corpus=texts,
            range_max=given.depth,
            num_negatives=given.negatives,
            relative_margin=given.margin,
            sampling_strategy="random",
            output_format="n-tuple",
            verbose=False,
        )
        id_of = {(p["query"], p["pos"][0]): p["query_id"] for p in pairs}
        return {
            id_of[row["query"], row["answer"]]: [
                value for name, value in row.items() if name.startswith("negative")
            ]
            for row in found
        }

    def theirs(self, seed: int) -> BiEncoder:
        from datasets import Dataset
        from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, losses
        from sentence_transformers import SentenceTransformerTrainingArguments as Arguments

        given = self.given
        model = SentenceTransformer(self.encoder)
        model.max_seq_length = given.length
        rows = [
            {
                "anchor": pair["query"],
                "positive": pair["pos"][0],
                **{f"negative_{i}": t for i, t in enumerate(self.mined[pair["query_id"]])},
            }
            for pair in self.pair_list
        ]
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        settings = Arguments(
            output_dir=str(folder / "out"),
            max_steps=given.steps,
            per_device_train_batch_size=given.batch_size,
            dataloader_drop_last=True,
            learning_rate=given.learning_rate,
            weight_decay=0.01,
            warmup_steps=round(0.1 * given.steps),
            lr_scheduler_type="linear",
            max_grad_norm=1.0,
            seed=seed,
            data_seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        loss = losses.MultipleNegativesRankingLoss(model, scale=1 / given.temperature)
        trainer = SentenceTransformerTrainer(
            model=model, args=settings, train_dataset=Dataset.from_list(rows), loss=loss
        )
        trainer.train()
        assert trainer.state.global_step == given.steps
        model.save(str(folder / "model"))
        return BiEncoder(str(folder / "model"))


CONDITIONS: dict[str, Callable[[Loop, int], BiEncoder]] = {
    "frozen": lambda loop, seed: loop.ours(seed),
    PEER: lambda loop, seed: loop.theirs(seed),
    "refreshed": lambda loop, seed: loop.ours(seed, refresh=True),
    "frozen, no mask": lambda loop, seed: loop.ours(seed, mask=False),
}


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def shown(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    if len(values) < 2:
        return "".join(f"{value:.4f} (one run)" for value in values) or "-"
    return f"{statistics.mean(values):.4f} +- {statistics.stdev(values):.4f}"


def verdict(changes: list[float]) -> str:
    """Judge paired differences: whether the 95 % interval of Student's t contains 0."""
    if len(changes) < 3:
        return "too few seeds to judge"
    from scipy.stats import t  # type: ignore[import-untyped]

    half = t.ppf(0.975, len(changes) - 1) * statistics.stdev(changes) / len(changes) ** 0.5
    mean = statistics.mean(changes)
    if abs(mean) <= half:
        return "within the spread"
    return "higher" if mean > 0 else "lower"


def page(given: argparse.Namespace, runs: list[dict[str, Any]], note: str) -> str:
    """The page of all runs of some settings."""
    sets = [given.train, *given.others]
    by = {(run["condition"], run["seed"]): run for run in runs}
    [before] = [run for run in runs if run["condition"] == "before"]
    first = "frozen"
    seeds = sorted({run["seed"] for run in runs if run["seed"] is not None})
    rows = [["untrained", "", *(f"{before['ndcg'][name]:.4f}" for name in sets)]]
    differences = []
    for condition in CONDITIONS:
        of = {seed: by[condition, seed]["ndcg"] for seed in seeds if (condition, seed) in by}
        if not of:
            continue
        rows.append(
            [condition, str(len(of)), *(shown([m[name] for m in of.values()]) for name in sets)]
        )
        both = [seed for seed in of if (first, seed) in by]
        if condition != first and both:
            changes = {
                name: [of[seed][name] - by[first, seed]["ndcg"][name] for seed in both]
                for name in sets
            }
            differences.append(
                [
                    condition,
                    str(len(both)),
                    *(f"{shown(values)}: {verdict(values)}" for values in changes.values()),
                ]
            )
    where = [f"{given.train} (trained on)", *(f"{name} (not trained on)" for name in given.others)]
    lines = [
        "# The loop, beside sentence-transformers with its own miner\n",
        machine(["torch", "lightning", "sentence-transformers", "transformers"]) + "\n",
        f"{Path(given.encoder).name if given.encoder else 'all-MiniLM-L6-v2'}, {given.steps} steps "
        f"of {given.batch_size} queries, each with its positive and {given.negatives} hard "
        f"negative(s) at random of the best {given.depth} within a relative margin of "
        f"{given.margin}; of {before['sampled']} sampled pairs, the {before['pairs']} for which "
        f"both miners have negatives; texts of at most {given.length} tokens; learning rate "
        f"{given.learning_rate:g}, temperature {given.temperature}. No scores are distilled. "
        "nDCG@10, mean and standard deviation over seeds.\n",
        table(["", "seeds", *where], rows) + "\n",
        "Differences to `frozen` with the same seed, mean and standard deviation. *Within the "
        "spread* means that the 95 % interval of the mean (Student's t) holds 0; it does not say "
        "that two conditions are equal.\n",
        table(["", "seeds", *where], differences) + "\n",
    ]
    return "\n".join([*lines, *([note + "\n"] if note else [])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--others", nargs="*", default=[])
    parser.add_argument("--encoder", default=None, help="None: all-MiniLM-L6-v2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--conditions", nargs="+", choices=list(CONDITIONS), default=None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--margin", type=float, default=0.05)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--temperature", type=float, default=0.05)
    parser.add_argument("--runs", type=Path, default=Path("loop-runs.jsonl"))
    parser.add_argument("--note", default="", help="a paragraph for the page")
    parser.add_argument("--write", action="store_true", help="write the page")
    parser.add_argument("--page", action="store_true", help="show the page, and run nothing")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    settings = {name: getattr(given, name) for name in SETTINGS}

    def found() -> list[dict[str, Any]]:
        runs = _read(given.runs) if given.runs.exists() else []
        return [run for run in runs if run["settings"] == settings]

    def keep(condition: str, seed: int | None, ndcg: dict[str, float], **more: Any) -> None:
        run = {"condition": condition, "seed": seed, "ndcg": ndcg, **more, "settings": settings}
        with open(given.runs, "a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
        print(json.dumps({name: run[name] for name in ("condition", "seed", "ndcg")}), flush=True)

    if not given.page:
        with tempfile.TemporaryDirectory() as folder:
            loop = Loop(given, Path(folder))
            if not any(run["condition"] == "before" for run in found()):
                counts = {"sampled": loop.n_sampled, "pairs": len(loop.pair_list)}
                keep("before", None, loop.ndcg(BiEncoder(loop.encoder)), **counts)
            for seed in given.seeds:
                for condition in given.conditions or CONDITIONS:
                    if any((r["condition"], r["seed"]) == (condition, seed) for r in found()):
                        continue
                    seed_everything(seed, verbose=False)
                    begun = time.monotonic()
                    model = CONDITIONS[condition](loop, seed).eval()
                    seconds = time.monotonic() - begun
                    with torch.inference_mode():
                        keep(condition, seed, loop.ndcg(model), seconds=seconds)
    text = page(given, found(), given.note)
    print(text)
    if given.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
