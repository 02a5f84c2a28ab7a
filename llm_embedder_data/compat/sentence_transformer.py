"""Converts a data module's batches for sentence-transformers' trainer.

The trainer builds a loader by itself. Override the method to use this loader instead::

    class Trainer(SentenceTransformerTrainer):
        def get_train_dataloader(self):
            return feature_loader(datamodule)

    trainer = Trainer(model=model, args=arguments, loss=MultipleNegativesRankingLoss(model))
    trainer.train()

The batches are the same as in any other training loop: all ranks have the same task, keys are
chosen anew in each epoch, and texts have their instructions (so give the trainer no prompts). From
a checkpoint, training continues with the next batch. Batch size and number of workers are settings
of the data module.
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
    """Return a loader of this rank's batches, in the form that the trainer passes to losses.

    A batch has the columns ``query``, ``positive``, ``negative_1`` ... ``negative_<G-1>``. Each
    column consists of the tokenizer's tensors, such as ``<column>_input_ids``, ``[B, L]`` int64.
    ``dataset_name`` chooses among several losses. If the dataset has teacher scores, ``label``,
    ``[B, G]`` float32, holds them for losses that distil.

    Args:
        datamodule: a data module with the layout ``padded``, after ``prepare_data()`` and
            ``setup()``.

    Raises:
        ConfigError: while iterating: the batches are not padded or are pairs of a cross-encoder; or
            a query has fewer than G keys.
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
    """A batch sampler whose batches hold one index each, because an index stands for a whole batch.

    transformers' Trainer (5.x) calls ``set_epoch`` of ``loader.batch_sampler.batch_sampler``. This
    is the attribute below; or it is this object, if accelerate's ``skip_first_batches`` has wrapped
    it to resume.
    """

    batch_sampler: SameTaskSampler

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[BatchIndex]]:
        return ([index] for index in self.batch_sampler)


def _features(batches: list[Mapping[str, Any]]) -> Any:
    """Turn a list of one batch into the features that :func:`feature_loader` describes."""
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
    for position in range(group_size):  # the keys of query i are i*G to i*G + G - 1
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
