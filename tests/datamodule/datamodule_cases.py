"""What the tests of the data module are made of: tiny data, a tiny model, recorded runs."""

import hashlib
import json
import logging
import warnings
from types import SimpleNamespace

import lightning
import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llm_embedder_data import RetrievalDataModule

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789 "
TRAIN = ["qa", "tool", "chat"]
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

STEPS = 11  # of an epoch of these at a global batch of 4
RECIPE = {
    "instruction": {
        "qa": {"query": "ask ", "key": "find "},
        "tool": {"query": "do ", "key": "tool "},
        "chat": {"query": "say ", "key": "said "},
    },
    "training": {"chat": {"select_positive": "teacher", "stable_distill": True}},
}


def make_tokenizer(**settings):
    """One token a character, so that every text has tokens of its own."""
    tokens = ["[PAD]", "[UNK]", *CHARACTERS]
    backend = Tokenizer(
        models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", **settings
    )


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_train(path, task, n_rows, *, scored=False, n_neg=9, ids=None):
    """Rows with two positives and ``n_neg`` negatives; scored: all, none, or "some" of them."""
    rows = []
    for i in range(n_rows):
        pos = [f"{task} pos {i} {p}" for p in range(2)]
        neg = [f"{task} neg {i} {n}" for n in range(n_neg)]
        row = {"query": f"{task} query {i}", "pos": pos, "neg": neg}
        if task is not None:
            row["task"] = task
        if ids is not None:
            row["query_id"] = ids(i)
        if scored is True or (scored == "some" and i % 3):
            row["teacher_scores"] = [float((7 * i + 5 * k) % 13) for k in range(2 + n_neg)]
        rows.append(row)
    return write(path, rows)


# Rows of an eval set or a corpus in a batch.
EVAL_BATCH_SIZE = 2


def write_corpus(path, n_rows):
    return write(path, [{"title": f"t{i}", "text": f"text {i}"} for i in range(n_rows)])


def write_eval(path, task, n_rows, n_corpus, ids="int"):
    return write(
        path,
        [
            {
                "query": f"query {i}",
                "task": task,
                "query_id": i if ids == "int" else f"q{i}",
                "pos_index": [(3 * i) % n_corpus, (3 * i + 1) % n_corpus],
            }
            for i in range(n_rows)
        ],
    )


def make_datamodule(folder, **arguments):
    """The session's three training sets, at a global batch of 4 on one rank."""
    settings = {
        "tokenizer": make_tokenizer(),
        "train_data": {name: str(folder / name / "train.jsonl") for name in TRAIN},
        "recipe": RECIPE,
        "cache_dir": str(folder / "cache"),
        "batch_size": 4,
        "train_group_size": 3,
        "query_max_length": 24,
        "key_max_length": 24,
        "eval_batch_size": EVAL_BATCH_SIZE,
        "num_workers": 0,
        "seed": 5,
    }
    return RetrievalDataModule(**(settings | arguments))


def eval_arguments(folder):
    return {
        "eval_data": {name: str(folder / name / "eval.jsonl") for name in ("qa", "tool")},
        "corpus": {name: str(folder / name / "corpus.jsonl") for name in ("qa", "tool")},
    }


def opened(datamodule, stage="fit"):
    """As a plain loop uses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        datamodule.prepare_data()
        datamodule.setup(stage)
    return datamodule


def digest(value):
    """Of everything in a batch, names, types and shapes included."""
    seen = hashlib.blake2b(digest_size=12)

    def walk(one):
        if isinstance(one, dict):
            for name, inner in one.items():
                seen.update(name.encode())
                walk(inner)
        elif isinstance(one, torch.Tensor):
            seen.update(f"{one.dtype}{tuple(one.shape)}".encode() + one.numpy().tobytes())
        else:
            seen.update(f"{type(one).__name__}{one!r}".encode())

    walk(value)
    return seen.hexdigest()


def seen_batch(batch):
    """What a test says of a training batch: dataset, rows, and all the rest in one word."""
    return batch["dataset"], tuple(batch["row"].tolist()), digest(batch)


def batches(datamodule, epoch=0):
    """All of an epoch, from the loader itself."""
    loader = datamodule.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


class Recorder(lightning.LightningModule):
    """Trains two parameters and keeps what every step was given: {(epoch, batch_idx): batch}."""

    def __init__(self, scheduled=False):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.scheduled = scheduled
        self.trained, self.evaluated, self.order = {}, [], []
        self.loader_lengths = []

    def training_step(self, batch, batch_idx):
        self.trained[self.current_epoch, batch_idx] = seen_batch(batch)
        self.order.append(batch["task"])
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.evaluated.append(batch)

    test_step = predict_step = validation_step

    def on_train_start(self):
        self.loader_lengths.append(len(self.trainer.train_dataloader))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1e-3)
        if not self.scheduled:
            return optimizer
        total = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (2 * total))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def make_trainer(**settings):
    """A Trainer on the CPU that writes nothing and warns of nothing but data."""
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "max_epochs": 3,
    }
    return lightning.Trainer(**(quiet | settings))


def visits(plans):
    """{dataset: how often each row is in the given plans}."""
    counts = {}
    for plan in plans:
        for name, rows in plan:
            counts.setdefault(name, np.zeros(plan.sizes[name], int))
            counts[name] += np.bincount(rows, minlength=plan.sizes[name])
    return counts


def as_rank(datamodule, rank, n_ranks):
    """Set up as one of several ranks, without the others."""
    kwargs = {"rank": rank, "num_replicas": n_ranks}
    datamodule.trainer = SimpleNamespace(distributed_sampler_kwargs=kwargs, num_devices=n_ranks)
    return datamodule


def examples(batch):
    """{row: (tokens of the query, tokens of each key, ids of the keys)}, without padding."""
    ids = {side: _unpadded(batch[side]) for side in ("query", "key")}
    n_keys = len(ids["key"]) // len(ids["query"])
    key_id = batch["key_id"].view(-1, n_keys).tolist()
    return {
        row: (ids["query"][b], ids["key"][b * n_keys : (b + 1) * n_keys], key_id[b])
        for b, row in enumerate(batch["row"].tolist())
    }


def _unpadded(tokens):
    return [
        row[mask.bool()].tolist()
        for row, mask in zip(tokens["input_ids"], tokens["attention_mask"], strict=True)
    ]
