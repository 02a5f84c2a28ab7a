"""The metrics of a run: print them, write ``metrics_file``, and return a value to a sweeper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig
from rich.table import Table

from llm_embedder_data.cli.metrics_file import by_dataset, write_metrics
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line

# The default of optimized_metric in conf/. It may be missing in a run without eval data.
_DEFAULT_METRIC = "val/ndcg@10"


def check_wanted_metrics(cfg: DictConfig, has_eval_data: bool) -> None:
    """Refuse, before training, settings that need metrics if nothing will be measured.

    Raises:
        ConfigError: ``metrics_file``, ``run_file`` or ``optimized_metric`` needs metrics, and there
            is no eval data, or ``trainer.limit_val_batches`` is 0.
    """
    missing, remedy = "data.eval_data=null: there is nothing to measure", "name an eval set"
    limit = cfg.trainer.get("limit_val_batches")
    if has_eval_data and limit in (0, 0.0) and not isinstance(limit, bool):
        missing, remedy = f"trainer.limit_val_batches={limit}: nothing is measured", "raise it"
        has_eval_data = False
    for setting in ("metrics_file", "run_file"):
        if cfg[setting] is not None and not has_eval_data:
            raise ConfigError(f"{missing} for {setting}={cfg[setting]!r} ({remedy})")
    wanted = cfg.optimized_metric
    if wanted is not None and not isinstance(wanted, str):
        raise ConfigError(
            f"optimized_metric={wanted!r}: expected the name of a value that is logged, such as "
            f"{_DEFAULT_METRIC}, or null"
        )
    if str(wanted).startswith("val/") and wanted != _DEFAULT_METRIC and not has_eval_data:
        raise ConfigError(f"{missing} for optimized_metric={wanted!r} ({remedy})")


def show_metrics(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Print the metrics named ``val/...``, next to those before training if there are any.

    Means over eval sets are printed if there are several.
    """
    measured = {**before, **after}
    names = [name for name in measured if name.startswith("val/")]
    if len(by_dataset(measured)) == 1:  # a mean over one eval set says nothing new
        names = [name for name in names if by_dataset({name: measured[name]})]
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
        cfg: the run's configuration.
        trainer: the run's trainer; only rank 0 writes.
        metrics: the metrics of the evaluation.
        logged: all logged values; ``optimized_metric`` names one of them.

    Returns:
        The value of ``optimized_metric``; None if the setting is null, or if it is the default and
        was not measured.

    Raises:
        ConfigError: the file cannot be written, or no value with that name was logged.
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
