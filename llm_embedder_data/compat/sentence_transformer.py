"""A data module's batches as sentence-transformers' trainer takes them.

The trainer builds its own loader; give it this one in its place::

    class Trainer(SentenceTransformerTrainer):
        def get_train_dataloader(self):
            return feature_loader(datamodule)

    trainer = Trainer(model=model, args=arguments, loss=MultipleNegativesRankingLoss(model))
    trainer.train()

The batches are those of any other loop: same task on all ranks, keys chosen anew each epoch,
instructions in place (give the trainer no prompts), and, from a checkpoint, where it stopped. Batch
size and workers are the data module's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from llm_embedder_data.batches.plan.sampler import BatchIndex, SameTaskSampler
from llm_embedder_data.batches.tokens.model_inputs import layout_of
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.loading.worker_transfer import for_transfer
from llm_embedder_data.datamodule.module import RetrievalDataModule


def feature_loader(datamodule: RetrievalDataModule) -> DataLoader[Any]:
    """Return a loader of this rank's batches, as the features that the losses take.

    A batch has the columns ``query``, ``positive``, ``negative_1`` ... ``negative_<G-1>``, each as
    the tokenizer's tensors ``<column>_input_ids`` int64 [B, L] and so on; ``dataset_name``, which
    chooses among several losses; and, where the dataset has teacher scores, ``label``, float32
    [B, G], for losses that distil.

    Args:
        datamodule: after ``prepare_data()`` and ``setup()``, of the layout ``padded``.
    """
    loader = datamodule.train_dataloader()
    assert isinstance(loader.sampler, SameTaskSampler)
    return DataLoader(
        loader.dataset,
        batch_sampler=_EpochBatches(loader.sampler),
        collate_fn=_features,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        persistent_workers=loader.persistent_workers,
        prefetch_factor=loader.prefetch_factor,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )


@dataclass
class _EpochBatches:
    """The sampler's indices as batches of one index each.

    transformers' Trainer (5.x) calls ``set_epoch`` of ``loader.batch_sampler.batch_sampler``: the
    sampler itself, or this, where accelerate's ``skip_first_batches`` has wrapped it to resume.
    """

    batch_sampler: SameTaskSampler

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[BatchIndex]]:
        return ([index] for index in self.batch_sampler)


def _features(batches: list[Mapping[str, Any]]) -> Any:
    """Turn a batch into features."""
    [batch] = batches
    query, key = batch.get("query"), batch.get("key")
    if query is None or key is None or {layout_of(query), layout_of(key)} != {"padded"}:
        raise ConfigError(
            "sentence-transformers takes queries and keys padded to one length each (set "
            "data.layout='padded' and data.cross=False)"
        )
    if not batch["key_mask"].all():
        raise ConfigError(
            f"dataset {batch['dataset']!r} has a query without negatives, and "
            "sentence-transformers' losses know no padded key (set "
            "data.on_no_negatives='drop', or data.train_group_size=1)"
        )
    n_queries, group_size = batch["key_mask"].shape
    row_of_key = batch.get("key_inverse", torch.arange(n_queries * group_size))
    columns = {"query": query}
    for position in range(group_size):  # keys of query i are i*G .. i*G+G-1
        name = f"negative_{position}" if position else "positive"
        rows_of_column = row_of_key[position::group_size]
        columns[name] = {tensor: rows[rows_of_column] for tensor, rows in key.items()}
    features = {
        f"{name}_{tensor}": rows
        for name, column in columns.items()
        for tensor, rows in column.items()
    }
    if batch["teacher_scores"] is not None:
        features["label"] = batch["teacher_scores"]
    return for_transfer(features | {"dataset_name": batch["dataset"]})
