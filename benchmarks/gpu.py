"""Measures how long a GPU waits for its data when this package or its peer makes the batches.

    make bench-gpu                             # on a machine with CUDA; ARGS='--sizes MiniLM'
    python benchmarks/gpu.py [--batch-size 128] [--words 64] [--tokenizer FOLDER] ...

In each case ``Trainer(precision="bf16-mixed")`` trains the same BiEncoder with random weights, and
CUDA events record what the GPU does. It waits from the end of a step's last kernel until the next
batch is in its memory, the copy included; the copy is also timed alone. "Held in memory" is the
limit: pinned batches that were made beforehand. sentence-transformers' loader is the one that its
trainer uses, which pins and moves batches itself; each of its columns is a chunk of the keys. A
page and every figure as JSON go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import warnings
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning
import torch
from feeds import GROUP_SIZE, Ours, OursCached, SentenceTransformers
from loads import make_load
from measuring import machine, table
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertModel

from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.training.bi_encoder import BiEncoder

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "datasets", "lightning", "sentence-transformers")
WARM_UP = 10  # steps that are not counted
HELD = "held in memory"
PEER = "sentence-transformers"

# Layers, width of the hidden states, attention heads.
SIZES = {"BERT-base": (12, 768, 12), "MiniLM": (6, 384, 12), "tiny": (1, 32, 2)}

# What makes the batches for a model of each size, and the number of workers.
CASES: dict[str, list[tuple[str, str]]] = {
    "BERT-base": [
        (HELD, "0"),
        ("ours, on the fly", "0"),
        ("ours, on the fly", "auto"),
        ("ours, cached", "0"),
        ("ours, cached", "auto"),
        ("ours, cached, chunked", "auto"),
        ("ours, cached, packed", "auto"),
        (PEER, "0"),
        (PEER, "8"),
    ],
    "MiniLM": [
        (HELD, "0"),
        ("ours, on the fly", "auto"),
        ("ours, cached", "auto"),
        (PEER, "0"),
        (PEER, "8"),
    ],
    "tiny": [(HELD, "0"), ("ours, cached, packed", "auto"), (PEER, "1")],
}

# Columns of the page: the figure, and its number format.
_COLUMNS = {
    "GPU waits": ("wait", ".2%"),
    "longest ms": ("longest wait ms", ".1f"),
    "copy ms": ("copy ms", ".2f"),
    "step ms": ("step ms", ".1f"),
    "queries/s": ("queries/s", ",.0f"),
    "peak GB": ("peak GB", ".1f"),
}

Figures = dict[str, Any]


# -- one case -------------------------------------------------------------------------------------


class Watched(BiEncoder):
    """A BiEncoder that records when the device gets a batch, begins a step and ends the step."""

    def __init__(self, encoder: Any) -> None:
        super().__init__(encoder, contrastive_weight=1.0, distill_weight=0.0, temperature=0.05)
        self.arrived: list[Any] = []
        self.begun: list[Any] = []
        self.ended: list[Any] = []
        self.pinned = self.given = 0

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.arrived.append(_moment())
        tensors = list(_tensors(batch))
        self.pinned += all(one.is_cuda or one.is_pinned() for one in tensors)
        self.given += sum(one.numel() for one in _tensors([batch["query"], batch["key"]]))
        return batch

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.begun.append(_moment())

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.ended.append(_moment())
        if batch_idx == WARM_UP and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def figures(self, batch_size: int) -> Figures:
        """The figures of the steps after the warm-up."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        steps = range(WARM_UP, len(self.ended))
        whole = _seconds(self.ended[WARM_UP - 1], self.ended[-1])
        waits = [_seconds(self.ended[i - 1], self.begun[i]) for i in steps]
        copies = [_seconds(self.arrived[i], self.begun[i]) for i in steps]
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return {
            "step ms": 1000 * whole / len(steps),
            "queries/s": batch_size * len(steps) / whole,
            "wait": sum(waits) / whole,
            "longest wait ms": 1000 * max(waits),
            "copy ms": 1000 * sum(copies) / len(steps),
            "peak GB": peak / 1e9,
            "pinned": self.pinned == len(self.arrived),
            "values a step": self.given // len(self.arrived),
        }


def _moment() -> Any:
    """Record an event now, on the device's clock."""
    if not torch.cuda.is_available():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _seconds(begin: Any, end: Any) -> float:
    taken: float = end - begin if isinstance(begin, float) else begin.elapsed_time(end) / 1000
    return taken


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def train(
    size: str, feed: str, workers: str, folder: Path, model: str, batch_size: int, n_steps: int
) -> Figures:
    """Train in one case; return its figures."""
    lightning.seed_everything(0)
    module = Watched(_encoder(size, len(AutoTokenizer.from_pretrained(model))))
    n_steps += WARM_UP
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        precision="bf16-mixed",
        max_steps=n_steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    fed = _feed(feed, workers, folder, model, batch_size, n_steps)
    if isinstance(fed, lightning.LightningDataModule):
        trainer.fit(module, datamodule=fed)
    else:
        trainer.fit(module, fed)
    return module.figures(batch_size)


def _feed(feed: str, workers: str, folder: Path, model: str, batch_size: int, n_steps: int) -> Any:
    """A data module, or an iterable of batches in its form."""
    cache = folder / "cache"
    if feed == PEER:
        system = SentenceTransformers(folder, cache, model, on_gpu=torch.cuda.is_available())
        return _Converted(system.loader(batch_size, int(workers)))
    _, *kind = feed.split(", ")
    ours = (OursCached if "cached" in kind else Ours)(folder, cache, model)
    if feed == HELD:
        held = list(islice(ours.loader(batch_size, 0), 20))
        return _Held(held, n_steps)
    number: Any = workers if workers == "auto" else int(workers)
    layout = kind[1] if len(kind) > 1 else "padded"
    return ours.datamodule(batch_size, number, layout=layout, chunk_size=batch_size)


class _Held:
    """Repeats batches that were made beforehand."""

    def __init__(self, batches: list[Any], n_steps: int) -> None:
        self._batches, self._n_steps = batches, n_steps

    def __len__(self) -> int:
        return self._n_steps

    def __iter__(self) -> Iterator[Any]:
        return islice(cycle(self._batches), self._n_steps)


class _Converted:
    """sentence-transformers' batches in the form that BiEncoder takes: a chunk for each column."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        return map(as_batch, self._loader)


def as_batch(features: dict[str, Any]) -> dict[str, Any]:
    """Convert a batch of sentence-transformers, ``<column>_<input>``, to our form."""
    names = ["anchor", "positive", *(f"negative_{i}" for i in range(GROUP_SIZE - 1))]
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    query, *key = [
        {one: features[f"{name}_{one}"] for one in inputs if f"{name}_{one}" in features}
        for name in names
    ]
    n_queries, device = len(query["input_ids"]), query["input_ids"].device
    numbers = torch.arange(n_queries * GROUP_SIZE, device=device)
    return {
        "query": query,
        "key": key,
        "key_inverse": numbers.view(GROUP_SIZE, n_queries).T.flatten(),
        "key_mask": torch.ones(n_queries, GROUP_SIZE, dtype=torch.int64, device=device),
        "key_id": numbers,
        "positive_id": numbers[::GROUP_SIZE, None],
        "teacher_scores": None,
        "task": "qa",
        "dataset": "",
        "in_batch_negatives": True,
    }


# -- the whole comparison -------------------------------------------------------------------------


def compare(arguments: argparse.Namespace) -> dict[str, list[Figures]]:
    """The figures of each case, by size of the model."""
    figures: dict[str, list[Figures]] = {}
    with TemporaryDirectory() as folder:
        load = Path(folder) / "load"
        make_load(load, rows=arguments.rows, negatives=GROUP_SIZE - 1, words=arguments.words)
        model = make_model(Path(folder) / "model", arguments.tokenizer)
        for size in arguments.sizes:
            for feed, workers in CASES[size]:
                case = train(
                    size, feed, workers, load, model, arguments.batch_size, arguments.steps
                )
                case = {"feed": feed, "workers": workers, **case}
                print(size, case, file=sys.stderr, flush=True)
                figures.setdefault(size, []).append(case)
                gc.collect()  # free the previous model, and end its loader's workers
                torch.cuda.empty_cache()
    return figures


def make_model(folder: Path, tokenizer: str | None) -> str:
    """Write a folder with a tokenizer and a tiny encoder, which sentence-transformers needs."""
    loaded = AutoTokenizer.from_pretrained(tokenizer or demo_encoder())
    loaded.save_pretrained(folder)
    _encoder("tiny", len(loaded)).save_pretrained(folder)
    return str(folder)


def _encoder(size: str, vocabulary: int) -> Any:
    """An encoder with random weights."""
    layers, width, heads = SIZES[size]
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )
    return BertModel(config)


def page(results: Figures) -> str:
    """The content of ``gpu.json`` as a page in Markdown."""
    arguments = results["arguments"]
    parts = [
        "# How long a GPU waits for its data",
        results["machine"],
        f"{arguments['batch_size']} queries a step, 1 positive and 7 negatives each, made-up keys "
        f"of {arguments['words']} words; BiEncoder, bf16-mixed, AdamW, Lightning's Trainer, "
        f"{arguments['steps']} steps after {WARM_UP}. `{HELD}` is the limit: pinned batches that "
        "were made before.",
    ]
    for size, cases in results["figures"].items():
        layers, width, _ = SIZES[size]
        header = ["", "workers", *_COLUMNS]
        rows = [
            [
                one["feed"],
                one["workers"],
                *(f"{one[what]:{form}}" for what, form in _COLUMNS.values()),
            ]
            for one in cases
        ]
        parts += [f"## {size}: {layers} layers of {width}", table(header, rows)]
    parts.append(
        "The GPU waits from the last work of a step until the next batch lies in its memory, the "
        "copy included. sentence-transformers' loader moves batches itself, so that its copy is a "
        "part of the wait, and not of its column. `auto` workers are the spare cores, 8 at most."
    )
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=128, help="queries per step")
    parser.add_argument("--rows", type=int, default=2000, help="rows of each of the six tasks")
    parser.add_argument("--words", type=int, default=64, help="words per key")
    parser.add_argument("--steps", type=int, default=25, help="number of steps that are counted")
    parser.add_argument("--sizes", nargs="+", default=["BERT-base"], choices=SIZES)
    parser.add_argument("--tokenizer", help="folder of a tokenizer; default: the demo's")
    parser.add_argument("--results", default=str(RESULTS), help="folder of the results")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    results = {
        "machine": f"{device}; {machine(PACKAGES)}",
        "arguments": vars(arguments) | {"results": None, "tokenizer": None},
        "figures": compare(arguments),
    }
    folder = Path(arguments.results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "gpu.md").write_text(page(results))


if __name__ == "__main__":
    main()
