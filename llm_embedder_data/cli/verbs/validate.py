"""``validate``: measure a model on eval data."""

from __future__ import annotations

from omegaconf import DictConfig

from llm_embedder_data.cli.measured import finish, show_metrics
from llm_embedder_data.cli.metrics_file import unrounded
from llm_embedder_data.cli.run_file import ask_for_rankings, write_runs
from llm_embedder_data.cli.run_objects import build_run, without_folder_warning
from llm_embedder_data.core.errors import ConfigError


def validate(cfg: DictConfig) -> float | None:
    """Measure a model on ``eval_data``; return the value of ``optimized_metric``.

    Raises:
        ConfigError: a setting, a checkpoint or an output file cannot be used.
        DataError: the data cannot be read.
    """
    if cfg.data.get("eval_data") is None:
        raise ConfigError("data.eval_data=null: there is nothing to validate on (name an eval set)")
    trainer, model, datamodule = build_run(cfg, "validate")
    ask_for_rankings(cfg, model)
    with without_folder_warning(trainer):
        metrics = trainer.validate(
            model, datamodule=datamodule, ckpt_path=cfg.ckpt_path, verbose=False
        )[0]
    metrics = unrounded(metrics, model)
    show_metrics({}, metrics)
    write_runs(cfg, trainer, model)
    return finish(cfg, trainer, metrics, metrics)
