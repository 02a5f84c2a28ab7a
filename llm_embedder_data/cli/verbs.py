"""The verbs of the console: what each makes of a configuration."""

from __future__ import annotations

import inspect
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import (
    Callback,
    LightningDataModule,
    LightningModule,
    Trainer,
    seed_everything,
)
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from llm_embedder_data.cli.checkpoint_files import check_checkpoint_content, check_checkpoint_fits
from llm_embedder_data.cli.metrics_file import write_metrics
from llm_embedder_data.config.instantiating import build, target_class
from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.printable import one_line, printable
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.inspection.plan_view import plan_facts, plan_table, step_facts, step_text
from llm_embedder_data.training.bi_encoder import BiEncoder

T = TypeVar("T")

# What conf/ describes; a node that names another class holds arguments of this one as well.
_USUAL: dict[str, type] = {"model": BiEncoder, "data": RetrievalDataModule, "trainer": Trainer}

# The value of optimized_metric in conf/: absent where there is no eval data, which is no mistake.
_USUAL_METRIC = "val/ndcg@10"


def fit(cfg: DictConfig) -> float | None:
    """Train a model; returns the value of ``optimized_metric`` after training."""
    has_eval_data = cfg.data.get("eval_data") is not None
    _check_that_metrics_come(cfg, has_eval_data)
    trainer, model, datamodule = _parts(cfg, "fit")
    before: Mapping[str, Any] = {}
    if cfg.validate_before and has_eval_data and not cfg.trainer.get("fast_dev_run"):
        before = trainer.validate(model, datamodule=datamodule, verbose=False)[0]
    with _noting_what_was_trained(trainer), _without_the_folders_warning(trainer):
        trainer.fit(model, datamodule=datamodule, ckpt_path=cfg.ckpt_path)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    after = {name: value for name, value in logged.items() if name.startswith("val/")}
    _show_metrics(before, after)
    checkpoint = getattr(trainer.checkpoint_callback, "last_model_path", "")
    if checkpoint:
        _print(f"Checkpoint: {checkpoint}  (go on from it with ckpt_path=...)")
    if cfg.export and hasattr(model, "export") and not cfg.trainer.get("fast_dev_run"):
        folder = os.path.join(cfg.output_dir, "encoder")
        if trainer.is_global_zero:
            model.export(folder, datamodule.tokenizer)
        _print(f"Encoder:    {folder}  (AutoModel and SentenceTransformer load it)")
    with _noting_what_was_trained(trainer):
        return _outcome(cfg, trainer, after, logged)


def validate(cfg: DictConfig) -> float | None:
    """Measure a model on eval_data; returns the value of ``optimized_metric``."""
    if cfg.data.get("eval_data") is None:
        raise ConfigError("data.eval_data=null: there is nothing to validate on (name an eval set)")
    trainer, model, datamodule = _parts(cfg, "validate")
    with _without_the_folders_warning(trainer):
        metrics = trainer.validate(
            model, datamodule=datamodule, ckpt_path=cfg.ckpt_path, verbose=False
        )[0]
    _show_metrics({}, metrics)
    return _outcome(cfg, trainer, metrics, metrics)


def plan(cfg: DictConfig) -> None:
    """Show the plan of a configuration on world_size ranks, and the rows of any of its steps."""
    for name, least in (("world_size", 1), ("epoch", 0), ("step", 0), ("rank", 0)):
        value, optional = cfg[name], name in ("step", "rank")
        if not (optional and value is None) and (type(value) is not int or value < least):
            raise ConfigError(f"{name}={value!r}: expected a whole number of at least {least}")
    if cfg.rank is not None and cfg.step is None:
        raise ConfigError(f"rank={cfg.rank} names whose rows to show, but of no step (give step=)")
    datamodule = _data(cfg)
    datamodule.setup("fit")
    epoch_plan, sets = datamodule.plan(cfg.epoch, cfg.world_size), datamodule.train_sets()
    facts = plan_facts(epoch_plan, sets)
    rows = None if cfg.step is None else step_facts(epoch_plan, sets, cfg.step, cfg.rank)
    if cfg.json:
        sys.stdout.write(json.dumps(facts if rows is None else facts | {"step": rows}) + "\n")
        return
    _print(plan_table(facts))
    if rows is not None:
        _print(step_text(rows))


# ------------------------------------------------------------------------------------------------


def _parts(cfg: DictConfig, stage: str) -> tuple[Trainer, Any, Any]:
    """The trainer, the model and the data that a configuration describes; shows what was read."""
    saved = check_checkpoint_content(cfg.ckpt_path, stage)
    seed_everything(cfg.seed, workers=True, verbose=False)
    trainer = _trainer(cfg)
    datamodule = _data(cfg)
    if isinstance(datamodule, RetrievalDataModule):
        datamodule.trainer = trainer  # it says how many ranks there will be
        datamodule.prepare_data()  # a wrong path ends here, before a model is loaded
        datamodule.setup(stage)
        _print(str(datamodule.report()))
    model = build(_node(cfg, "model", LightningModule), LightningModule, "model")
    check_checkpoint_fits(cfg.ckpt_path, saved, model)
    return trainer, model, datamodule


def _trainer(cfg: DictConfig) -> Trainer:
    callbacks = _each(cfg.get("callbacks"), Callback, "callbacks")
    node = _node(cfg, "trainer", Trainer)
    if node.get("enable_progress_bar") is False:
        callbacks = [one for one in callbacks if not isinstance(one, ProgressBar)]
    loggers = _each(cfg.get("logger"), Logger, "logger")  # type: ignore[type-abstract]
    given: dict[str, Any] = {"callbacks": callbacks, "logger": loggers}
    # What was taken out of the callbacks, Lightning would put others in place of.
    for name, kind in (("enable_progress_bar", ProgressBar), ("enable_checkpointing", Checkpoint)):
        if node.get(name) is None and not any(isinstance(one, kind) for one in callbacks):
            given[name] = False
    return build(node, Trainer, "trainer", **given)


def _data(cfg: DictConfig) -> Any:
    if "demo" in (cfg.encoder, cfg.data.get("tokenizer")):
        cfg.encoder = demo_encoder()
    return build(_node(cfg, "data", LightningDataModule), LightningDataModule, "data")


def _each(nodes: Mapping[str, Any] | None, kind: type[T], key: str) -> list[T]:
    return [build(node, kind, f"{key}.{name}") for name, node in (nodes or {}).items() if node]


def _node(cfg: DictConfig, name: str, kind: type) -> DictConfig:
    """A node of the configuration; for another class without the settings of ours it has not."""
    node: DictConfig = cfg[name]
    usual = _USUAL[name]
    target: type = target_class(node, kind, name)
    if target is usual:
        return node
    parameters = inspect.signature(target).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return node
    ours = set(inspect.signature(usual).parameters)
    given = {one.lstrip("+~").partition("=")[0] for one in HydraConfig.get().overrides.task}
    left_out = [
        key
        for key in node
        if key in ours and key not in parameters and f"{name}.{key}" not in given
    ]
    kept = node.copy()
    OmegaConf.set_struct(kept, False)
    for key in left_out:
        del kept[key]
    return kept


def _check_that_metrics_come(cfg: DictConfig, has_eval_data: bool) -> None:
    """Refuse to train for what only eval data can give."""
    missing = "data.eval_data=null: there is nothing to measure"
    if cfg.metrics_file is not None and not has_eval_data:
        raise ConfigError(f"{missing} for metrics_file={cfg.metrics_file!r} (name an eval set)")
    wanted = cfg.optimized_metric
    if wanted is not None and not isinstance(wanted, str):
        raise ConfigError(
            f"optimized_metric={wanted!r}: expected the name of a value that is logged, such as "
            f"{_USUAL_METRIC}, or null"
        )
    if str(wanted).startswith("val/") and wanted != _USUAL_METRIC and not has_eval_data:
        raise ConfigError(f"{missing} for optimized_metric={wanted!r} (name an eval set)")


def _outcome(
    cfg: DictConfig, trainer: Trainer, measured: Mapping[str, Any], logged: Mapping[str, Any]
) -> float | None:
    """Write the metrics where they are wanted; the value that a sweeper optimizes."""
    if cfg.metrics_file is not None and trainer.is_global_zero:
        write_metrics(cfg.metrics_file, measured)
    wanted = cfg.optimized_metric
    if wanted in logged:
        return float(logged[wanted])
    if wanted is None or wanted == _USUAL_METRIC:
        return None
    raise ConfigError(
        f"optimized_metric={wanted!r}: no such value was logged; there are "
        f"{', '.join(sorted(logged)) or 'none'}"
    )


@contextmanager
def _noting_what_was_trained(trainer: Trainer) -> Iterator[None]:
    """Say with an error that steps were trained before it: their run's folder is kept."""
    try:
        yield
    except (ConfigError, DataError) as error:
        if trainer.global_step:
            error.add_note(
                f"(after {trainer.global_step} steps; the checkpoints and logs so far are kept)"
            )
        raise


@contextmanager
def _without_the_folders_warning(trainer: Trainer) -> Iterator[None]:
    """Do not let Lightning 2.6 warn that a run that goes on writes to another folder.

    Each run has a folder of its own here. With ``monitor`` it is left to warn: the best checkpoints
    of the run before are then not reckoned with.
    """
    monitored = [getattr(one, "monitor", None) for one in trainer.checkpoint_callbacks]
    with warnings.catch_warnings():
        if not any(monitored):
            warnings.filterwarnings("ignore", message="The dirpath has changed from")
        yield


def _show_metrics(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
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
    _print(table)


@rank_zero_only
def _print(thing: Any) -> None:
    shown = printable(thing) if isinstance(thing, str) else thing
    Console(soft_wrap=True, emoji=False).print(shown, highlight=False, markup=False)
