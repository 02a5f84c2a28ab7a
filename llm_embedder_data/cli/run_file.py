"""``run_file``: the best passages of each query, as trec_eval and miners read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from lightning.pytorch import Trainer
from omegaconf import DictConfig

from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.run_files import write_run
from llm_embedder_data.training.evaluator import RetrievalEvaluator


def ask_for_rankings(cfg: DictConfig, model: Any) -> None:
    """Have the model's evaluator keep its results, if a run is to be written.

    Raises:
        ConfigError: the model has no evaluator of ours.
    """
    if cfg.run_file is None:
        return
    if not isinstance(getattr(model, "evaluator", None), RetrievalEvaluator):
        raise ConfigError(
            f"run_file={cfg.run_file!r}: the model {type(model).__name__} has no attribute "
            "evaluator, a RetrievalEvaluator, which keeps the passages found (leave run_file out)"
        )
    model.evaluator.keeps_rankings = True


def run_path(run_file: str, name: str, n_eval_sets: int) -> Path:
    """Return the file of an eval set: the named one, or one with the eval set's name in it.

    >>> run_path("out/run.trec", "qa/en", 2).as_posix()
    'out/run.qa%2Fen.trec'
    """
    path = Path(run_file)
    if n_eval_sets == 1:
        return path
    return path.with_name(f"{path.stem}.{quote(name, safe='')}{path.suffix}")


def write_runs(cfg: DictConfig, trainer: Trainer, model: Any) -> None:
    """Write the run of each eval set that was measured last; only rank 0 writes.

    Raises:
        ConfigError: there is nothing to write, or a file cannot be written.
    """
    if cfg.run_file is None or not trainer.is_global_zero:
        return
    rankings = model.evaluator.rankings
    if not rankings:
        raise ConfigError(f"run_file={cfg.run_file!r} is not written: nothing was measured")
    for name, ranking in rankings.items():
        path = run_path(cfg.run_file, name, len(rankings))
        try:
            write_run(path, ranking.run())
        except OSError as error:
            raise ConfigError(f"run_file={str(path)!r} cannot be written: {error}") from error
        show(f"Run:        {path}")
