"""What a run measured: shown as a table, written to ``metrics_file``, returned to a sweeper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig
from rich.table import Table

from llm_embedder_data.cli.metrics_file import write_metrics
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line

# The value of optimized_metric in conf/. A run without eval data may leave it unmeasured.
_DEFAULT_METRIC = "val/ndcg@10"


def check_wanted_metrics(cfg: DictConfig, has_eval_data: bool) -> None:
    """Refuse settings that need eval data if there is none, before training begins.

    Raises:
        ConfigError: ``metrics_file``, ``run_file`` or ``optimized_metric`` would have no value.
    """
    missing = "data.eval_data=null: there is nothing to measure"
    for setting in ("metrics_file", "run_file"):
        if cfg[setting] is not None and not has_eval_data:
            raise ConfigError(f"{missing} for {setting}={cfg[setting]!r} (name an eval set)")
    wanted = cfg.optimized_metric
    if wanted is not None and not isinstance(wanted, str):
        raise ConfigError(
            f"optimized_metric={wanted!r}: expected the name of a value that is logged, such as "
            f"{_DEFAULT_METRIC}, or null"
        )
    if str(wanted).startswith("val/") and wanted != _DEFAULT_METRIC and not has_eval_data:
        raise ConfigError(f"{missing} for optimized_metric={wanted!r} (name an eval set)")


def show_metrics(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Show the values named ``val/...``, beside those from before training if there are any."""
    names = [name for name in {**before, **after} if name.startswith("val/")]
    if not names:
        return
    table = Table("metric", title="Retrieval metrics")
    if before:
        table.add_column("before", justify="right")
    table.add_column("after" if before else "value", justify="right")
    for name in names:
        values = [before.get(name), after.get(name)] if before else [after.get(name)]
        table.add_row(
            one_line(name), *("-" if value is None else f"{float(value):.3f}" for value in values)
        )
    show(table)


def finish(
    cfg: DictConfig, trainer: Trainer, metrics: Mapping[str, Any], logged: Mapping[str, Any]
) -> float | None:
    """Write ``metrics_file`` if one is named, and return the value that a sweeper optimizes.

    Args:
        cfg: of the run.
        trainer: of the run; only its rank 0 writes.
        metrics: that an evaluation measured.
        logged: all values among which ``optimized_metric`` is looked up.

    Returns:
        The value of ``optimized_metric``; None if it is null, or the default and not measured.

    Raises:
        ConfigError: the file cannot be written, or no value of that name was logged.
    """
    if cfg.metrics_file is not None and trainer.is_global_zero:
        write_metrics(cfg.metrics_file, metrics)
    wanted = cfg.optimized_metric
    if wanted in logged:
        return float(logged[wanted])
    if wanted is None or wanted == _DEFAULT_METRIC:
        return None
    raise ConfigError(
        f"optimized_metric={wanted!r}: no such value was logged; there are "
        f"{', '.join(sorted(logged)) or 'none'}"
    )
