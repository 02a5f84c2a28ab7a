"""``validate``: measure a model on eval data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig

from llm_embedder_data.cli.measured import finish, show_metrics
from llm_embedder_data.cli.metrics_file import unrounded
from llm_embedder_data.cli.named_encoder import embedding_precision
from llm_embedder_data.cli.output_files import store_folder
from llm_embedder_data.cli.run_file import ask_for_rankings, write_runs
from llm_embedder_data.cli.run_objects import build_run, without_folder_warning
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.training.stored_embeddings import stored_loaders


def validate(cfg: DictConfig) -> float | None:
    """Measure a model on ``eval_data``; return the value of ``optimized_metric``.

    Raises:
        ConfigError: a setting, a checkpoint or an output file cannot be used.
        DataError: the data cannot be read.
    """
    if cfg.data.get("eval_data") is None:
        raise ConfigError("data.eval_data=null: there is nothing to validate on (name an eval set)")
    limit = cfg.trainer.get("limit_val_batches")
    if limit in (0, 0.0) and not isinstance(limit, bool):
        raise ConfigError(
            f"trainer.limit_val_batches={limit}: there is nothing to validate on (raise it, or set "
            "it to null for all batches)"
        )
    store = None if cfg.store is None else store_folder("store", cfg.store)
    trainer, model, datamodule = build_run(cfg, "validate")
    ask_for_rankings(cfg, model)
    if store is not None:
        _read_stores(store, cfg, trainer, model, datamodule)
    with without_folder_warning(trainer):
        metrics = trainer.validate(
            model, datamodule=datamodule, ckpt_path=cfg.ckpt_path, verbose=False
        )[0]
    metrics = unrounded(metrics, model)
    show_metrics({}, metrics)
    write_runs(cfg, trainer, model)
    return finish(cfg, trainer, metrics, metrics)


def _read_stores(
    store: Path, cfg: DictConfig, trainer: Trainer, model: Any, datamodule: Any
) -> None:
    """Let the evaluation read embeddings from the stores in a folder, and fill the stores.

    The stores are filled later, when the trainer asks for the loaders. Only then is the model on
    its device with the weights of ``ckpt_path``, and the ranks are connected.
    """
    if not isinstance(datamodule, RetrievalDataModule):
        raise ConfigError(
            f"store={cfg.store!r}: data._target_={cfg.data._target_!r} does not know the texts of "
            "a store, as RetrievalDataModule does (leave store out)"
        )
    if trainer.strategy.restore_checkpoint_after_setup:
        raise ConfigError(
            f"store={cfg.store!r}: {type(trainer.strategy).__name__} shards the weights over "
            "ranks, so no rank knows of which weights the embeddings are (leave store out, or set "
            "trainer.strategy=ddp)"
        )
    datamodule.replace_eval_loaders = partial(
        stored_loaders,
        model=model,
        datamodule=datamodule,
        store=store,
        precision=embedding_precision(cfg),
        say=show,
        show_progress=True,
    )
