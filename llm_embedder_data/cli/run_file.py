"""``run_file``: the best passages of each query, in the formats of trec_eval and of ``mine``."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig

from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.rankings import write_rankings
from llm_embedder_data.training.evaluation.evaluator import RetrievalEvaluator


def ask_for_rankings(cfg: DictConfig, model: Any) -> None:
    """Tell the model's evaluator to keep its rankings, if ``run_file`` is set.

    Raises:
        ConfigError: the model has no RetrievalEvaluator.
    """
    if cfg.run_file is None:
        return
    if not isinstance(getattr(model, "evaluator", None), RetrievalEvaluator):
        raise ConfigError(
            f"run_file={cfg.run_file!r}: the model {type(model).__name__} has no attribute "
            "evaluator, a RetrievalEvaluator, which keeps the passages found (leave run_file out)"
        )
    model.evaluator.keeps_rankings = True
    model.evaluator.run_file = cfg.run_file


def write_runs(cfg: DictConfig, trainer: Trainer, model: Any) -> None:
    """Write the rankings of the last evaluation, a run per eval set. Only rank 0 writes.

    Raises:
        ConfigError: there are no rankings, or a file cannot be written.
    """
    if cfg.run_file is None or not trainer.is_global_zero:
        return
    rankings = model.evaluator.rankings
    if not rankings:
        raise ConfigError(f"run_file={cfg.run_file!r} is not written: nothing was measured")
    try:
        paths = write_rankings(cfg.run_file, rankings)
    except OSError as error:
        raise ConfigError(f"run_file={cfg.run_file!r} cannot be written: {error}") from error
    for path in paths:
        show(f"Run:        {path}")
