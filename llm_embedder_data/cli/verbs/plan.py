"""``plan``: show which rows a run would train on, without running it."""

from __future__ import annotations

import json
import sys

from omegaconf import DictConfig

from llm_embedder_data.cli.output_files import check_flag, check_whole_number
from llm_embedder_data.cli.run_objects import build_retrieval_data
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.inspection.plan_view import plan_summary, plan_table, step_rows, step_text


def plan(cfg: DictConfig) -> None:
    """Show the plan for ``world_size`` ranks, and the rows of a step if ``step`` is set.

    Raises:
        ConfigError: a setting cannot be used, or there is no such step or rank.
        DataError: the data cannot be read.
    """
    _check_settings(cfg)
    datamodule = build_retrieval_data(cfg)
    datamodule.setup("fit")
    epoch_plan, train_sets = datamodule.plan(cfg.epoch, cfg.world_size), datamodule.train_sets()
    epoch = plan_summary(epoch_plan, train_sets)
    step = None if cfg.step is None else step_rows(epoch_plan, train_sets, cfg.step, cfg.rank)
    if cfg.json:
        sys.stdout.write(json.dumps(epoch if step is None else epoch | {"step": step}) + "\n")
        return
    show(plan_table(epoch))
    if step is not None:
        show(step_text(step))


def _check_settings(cfg: DictConfig) -> None:
    for name, least, may_be_null in (
        ("world_size", 1, False),
        ("epoch", 0, False),
        ("step", 0, True),
        ("rank", 0, True),
    ):
        check_whole_number(name, cfg[name], least, may_be_null=may_be_null)
    check_flag("json", cfg.json)
    if cfg.rank is not None and cfg.step is None:
        raise ConfigError(
            f"rank={cfg.rank} selects rows of a step, and no step is given (give step=)"
        )
