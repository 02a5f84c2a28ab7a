"""Building the objects of a run from its configuration: trainer, model and data module."""

from __future__ import annotations

import inspect
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
from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.cli.checkpoint_files import check_checkpoint_content, check_checkpoint_fits
from llm_embedder_data.cli.showing import show
from llm_embedder_data.config.instantiating import build, target_class
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.training.bi_encoder import BiEncoder

T = TypeVar("T")

# The default class of each object; conf/ has their arguments.
_DEFAULT_CLASSES: dict[str, type] = {
    "model": BiEncoder,
    "data": RetrievalDataModule,
    "trainer": Trainer,
}


def build_run(cfg: DictConfig, stage: str) -> tuple[Trainer, Any, Any]:
    """Build the trainer, the model and the data module of a run, and print the report of the data.

    The data is read before the model is built, so that a wrong path is found before weights are
    loaded.

    Args:
        cfg: the run's configuration.
        stage: ``fit`` or ``validate``.

    Returns:
        The trainer, the model and the data module.

    Raises:
        ConfigError: a setting or a checkpoint cannot be used.
        DataError: a file cannot be read.
    """
    saved_weights = check_checkpoint_content(cfg.ckpt_path, stage)
    seed_everything(cfg.seed, workers=True, verbose=False)
    trainer = _build_trainer(cfg)
    datamodule = build_data(cfg)
    if isinstance(datamodule, RetrievalDataModule):
        datamodule.trainer = trainer  # setup() asks the trainer for the number of ranks
        datamodule.prepare_data()
        datamodule.setup(stage)
        show(str(datamodule.report()))
    model = build_model(cfg)
    check_checkpoint_fits(cfg.ckpt_path, saved_weights, model)
    return trainer, model, datamodule


def build_data(cfg: DictConfig) -> Any:
    """Build the data module, with the demo's encoder if the configuration names it."""
    if "demo" in (cfg.encoder, cfg.data.get("tokenizer")):
        cfg.encoder = demo_encoder()
    return build(node_of(cfg, "data", LightningDataModule), LightningDataModule, "data")


def build_retrieval_data(cfg: DictConfig) -> RetrievalDataModule:
    """Build the data module of a verb that needs this package's data module.

    Raises:
        ConfigError: ``data._target_`` names another class.
    """
    datamodule = build_data(cfg)
    if not isinstance(datamodule, RetrievalDataModule):
        raise ConfigError(
            f"data._target_={cfg.data._target_!r}: expected RetrievalDataModule or a subclass"
        )
    return datamodule


def build_model(cfg: DictConfig) -> Any:
    """Build the model."""
    return build(node_of(cfg, "model", LightningModule), LightningModule, "model")


@contextmanager
def without_folder_warning(trainer: Trainer) -> Iterator[None]:
    """Silence Lightning's warning that a resumed run writes to another folder.

    Every run of this program writes to a new folder, so the warning (Lightning 2.6) is no news. It
    is kept if a checkpoint callback has a ``monitor``, because Lightning then forgets the best
    checkpoints of the earlier run.
    """
    monitors = [getattr(callback, "monitor", None) for callback in trainer.checkpoint_callbacks]
    with warnings.catch_warnings():
        if not any(monitors):
            warnings.filterwarnings("ignore", message="The dirpath has changed from")
        yield


def _build_trainer(cfg: DictConfig) -> Trainer:
    """Build the trainer with the callbacks and loggers that its switches leave in place.

    The groups ``callbacks`` and ``logger`` bring some by default, and Lightning refuses those that
    a switch of the trainer turns off.
    """
    callbacks = _build_each(cfg.get("callbacks"), Callback, "callbacks")
    loggers = _build_each(cfg.get("logger"), Logger, "logger")  # type: ignore[type-abstract]
    node = node_of(cfg, "trainer", Trainer)
    is_bare = node.get("barebones") is True
    arguments: dict[str, Any] = {"logger": loggers}
    if is_bare:
        arguments["logger"] = False
        if "trainer.log_every_n_steps" not in overridden_keys():
            arguments["log_every_n_steps"] = 0
    for name, kind in (("enable_progress_bar", ProgressBar), ("enable_checkpointing", Checkpoint)):
        if node.get(name) is False or (is_bare and node.get(name) is None):
            callbacks = [callback for callback in callbacks if not isinstance(callback, kind)]
        # Without one of its kind, Lightning would add its own.
        if node.get(name) is None and not any(isinstance(found, kind) for found in callbacks):
            arguments[name] = False
    return build(node, Trainer, "trainer", callbacks=callbacks, **arguments)


def _build_each(nodes: Mapping[str, Any] | None, kind: type[T], key: str) -> list[T]:
    return [build(node, kind, f"{key}.{name}") for name, node in (nodes or {}).items() if node]


def overridden_keys() -> set[str]:
    """Return the keys that the job's overrides set or remove, such as ``data.batch_size``.

    Outside a job, as in a notebook that composes a configuration, the overrides are unknown, and
    the set is empty.
    """
    if not HydraConfig.initialized():
        return set()
    return {
        override.lstrip("+~").partition("=")[0] for override in HydraConfig.get().overrides.task
    }


def node_of(cfg: DictConfig, name: str, kind: type) -> DictConfig:
    """Return the configuration of an object, without default arguments that its class lacks.

    conf/ has the arguments of our class. If the user chooses another class, the arguments that it
    does not take are removed, unless the command line gives them.

    Args:
        cfg: the run's configuration.
        name: ``model``, ``data`` or ``trainer``.
        kind: the base class of the object.
    """
    node: DictConfig = cfg[name]
    default_class = _DEFAULT_CLASSES[name]
    target: type = target_class(node, kind, name)
    if target is default_class:
        return node
    parameters = inspect.signature(target).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return node
    our_arguments = set(inspect.signature(default_class).parameters)
    given = overridden_keys()
    kept = node.copy()
    OmegaConf.set_struct(kept, False)
    for key in node:
        if key in our_arguments and key not in parameters and f"{name}.{key}" not in given:
            del kept[key]
    return kept
