"""The data paths to compare. Each makes the same batches in a different way.

A step has 32 or 128 queries, each with one positive and seven negatives. Texts are truncated to 256
tokens, have no instructions, and are padded to a multiple of 8 if the system can do that. No timing
includes what all systems need: imports, the tokenizer, and sentence-transformers' model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

GROUP_SIZE, MAX_LENGTH, MULTIPLE = 8, 256, 8


class Feed(Protocol):
    """A data path: makes batches from the files in a folder.

    Attributes:
        remembers: whether the system keeps something of the texts that it has seen, so that a later
            epoch is faster.
    """

    remembers: bool

    def batches(self, batch_size: int, workers: int) -> Iterator[Any]:
        """Yield batches of one epoch after the other, without end; write missing caches first."""

    def masks(self, batch: Any) -> list[Any]:
        """The attention masks of a batch."""


class Ours:
    """This package without its token cache.

    Args:
        folder: with ``<name>/train.jsonl`` files.
        cache: where caches go.
        model: folder of the tokenizer.
    """

    tokenize = "on-the-fly"
    remembers = True

    def __init__(self, folder: Path, cache: Path, model: str) -> None:
        from transformers import AutoTokenizer

        import llm_embedder_data

        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self._make = llm_embedder_data.RetrievalDataModule
        self._arguments: dict[str, Any] = {
            "tokenizer": self.tokenizer,
            "train_data": {f.parent.name: str(f) for f in sorted(folder.glob("*/train.jsonl"))},
            "add_instruction": False,
            "use_train_config": False,
            "train_group_size": GROUP_SIZE,
            "query_max_length": MAX_LENGTH,
            "key_max_length": MAX_LENGTH,
            "pad_to_multiple_of": MULTIPLE,
            "tokenize": self.tokenize,
            "cache_dir": cache,
        }

    def datamodule(self, batch_size: int, workers: int, **more: Any) -> Any:
        """The data module, before ``prepare_data()``."""
        warnings.simplefilter("ignore")
        arguments = self._arguments | {"batch_size": batch_size, "num_workers": workers} | more
        return self._make(**arguments)

    def loader(self, batch_size: int, workers: int, **more: Any) -> Any:
        """The loader of the first epoch."""
        datamodule = self.datamodule(batch_size, workers, **more)
        datamodule.prepare_data()
        datamodule.setup("fit")
        return datamodule.train_dataloader()

    def batches(self, batch_size: int, workers: int) -> Iterator[Any]:
        loader, epoch = self.loader(batch_size, workers), 0
        while True:
            loader.sampler.set_epoch(epoch)
            yield from loader
            epoch += 1

    def masks(self, batch: Any) -> list[Any]:
        return [batch[side]["attention_mask"] for side in ("query", "key")]


class OursCached(Ours):
    """This package with its token cache."""

    tokenize = "cached"

    def cached_tokens(self) -> int:
        """The number of tokens in the cache, which has each distinct text once."""
        from llm_embedder_data.batches.token_cache.token_table import TokenTable

        folder = Path(self._arguments["cache_dir"])
        return sum(len(TokenTable(file).ids) for file in folder.glob("tokens/*/*.bin"))


class SentenceTransformers:
    """The loader of sentence-transformers' trainer over a DatasetDict with a column per key.

    Args:
        folder: with ``<name>/train.jsonl`` files.
        cache: where caches go.
        model: folder of the tokenizer, and of the model that the trainer needs.
        on_gpu: whether the loader pins the batches and moves them to the GPU.
    """

    remembers = False

    def __init__(self, folder: Path, cache: Path, model: str, *, on_gpu: bool = False) -> None:
        from datasets import DatasetDict, load_dataset
        from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
        from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
        from sentence_transformers.losses import MultipleNegativesRankingLoss

        self._encoder = SentenceTransformer(model, device="cuda" if on_gpu else "cpu")
        self._encoder.max_seq_length = MAX_LENGTH
        loss = MultipleNegativesRankingLoss(self._encoder)

        def make(batch_size: int, workers: int) -> Any:
            tasks = {}
            for file in sorted(folder.glob("*/train.jsonl")):
                data = load_dataset(
                    "json", data_files=str(file), split="train", cache_dir=str(cache)
                )
                tasks[file.parent.name] = data.map(_columns, remove_columns=data.column_names)
            arguments = Arguments(
                str(cache / "out"),
                per_device_train_batch_size=batch_size,
                dataloader_num_workers=workers,
                dataloader_persistent_workers=workers > 0,
                dataloader_pin_memory=on_gpu,
                use_cpu=not on_gpu,
                report_to="none",
            )
            trainer = SentenceTransformerTrainer(
                model=self._encoder, args=arguments, train_dataset=DatasetDict(tasks), loss=loss
            )
            return trainer.get_train_dataloader()

        self.loader: Callable[[int, int], Any] = make

    def batches(self, batch_size: int, workers: int) -> Iterator[Any]:
        loader = self.loader(batch_size, workers)
        while True:
            yield from loader

    def masks(self, batch: Any) -> list[Any]:
        return [value for name, value in batch.items() if name.endswith("attention_mask")]


def _columns(row: dict[str, Any]) -> dict[str, str]:
    negatives = {f"negative_{i}": row["neg"][i % len(row["neg"])] for i in range(GROUP_SIZE - 1)}
    return {"anchor": row["query"], "positive": row["pos"][0]} | negatives


class FlagEmbedding:
    """FlagEmbedding's same-dataset batches, in its trainer's loader (AbsRunner: no workers)."""

    remembers = False

    def __init__(self, folder: Path, cache: Path, model: str) -> None:
        from FlagEmbedding.abc.finetune.embedder.AbsArguments import AbsEmbedderDataArguments
        from FlagEmbedding.abc.finetune.embedder.AbsDataset import (
            AbsEmbedderSameDatasetCollator,
            AbsEmbedderSameDatasetTrainDataset,
        )
        from torch.utils.data import DataLoader
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model)
        arguments = AbsEmbedderDataArguments(
            train_data=[str(file) for file in sorted(folder.glob("*/train.jsonl"))],
            cache_path=str(cache),
            train_group_size=GROUP_SIZE,
            query_max_len=MAX_LENGTH,
            passage_max_len=MAX_LENGTH,
            pad_to_multiple_of=MULTIPLE,
            same_dataset_within_batch=True,
            query_instruction_for_retrieval="",
            max_example_num_per_dataset=10**9,
        )

        def make(batch_size: int) -> Any:
            dataset = AbsEmbedderSameDatasetTrainDataset(
                arguments, default_batch_size=batch_size, seed=42, tokenizer=tokenizer
            )
            collator = AbsEmbedderSameDatasetCollator(
                tokenizer,
                query_max_len=MAX_LENGTH,
                passage_max_len=MAX_LENGTH,
                pad_to_multiple_of=MULTIPLE,
                padding=True,
                return_tensors="pt",
            )
            return DataLoader(dataset, batch_size=1, shuffle=True, collate_fn=collator)

        self._make: Callable[[int], Any] = make

    def batches(self, batch_size: int, workers: int) -> Iterator[Any]:
        assert workers == 0, "its runner sets the workers of same-dataset training to none"
        loader = self._make(batch_size)
        while True:
            yield from loader
            loader.dataset.refresh_epoch()

    def masks(self, batch: Any) -> list[Any]:
        return [batch[side]["attention_mask"] for side in ("queries", "passages")]


FEEDS: dict[str, Callable[[Path, Path, str], Feed]] = {
    "ours, on the fly": Ours,
    "ours, cached": OursCached,
    "sentence-transformers": SentenceTransformers,
    "FlagEmbedding": FlagEmbedding,
}
WITHOUT_WORKERS = {"FlagEmbedding"}
