"""``llm-embedder-data VERB [KEY=VALUE ...]``: the verbs, each a Hydra application on conf/."""

from __future__ import annotations

import faulthandler
import inspect
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from lightning.pytorch import (
    Callback,
    LightningDataModule,
    LightningModule,
    Trainer,
    seed_everything,
)
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf, read_write
from rich.console import Console
from rich.table import Table
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from transformers.utils.logging import disable_progress_bar

from llm_embedder_data.config import (
    CONF_DIR,
    CONF_MODULE,
    ConfigError,
    build,
    did_you_mean,
    hydra_base,
    load_config,
    target_class,
)
from llm_embedder_data.datamodule import RetrievalDataModule
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.inspection import plan_facts, plan_table, step_facts, step_text
from llm_embedder_data.printable import one_line, printable
from llm_embedder_data.rows.schema import DataError
from llm_embedder_data.training.bi_encoder import BiEncoder

T = TypeVar("T")

# Below these keys a user may add what they like; elsewhere a new key is a misspelt one.
_OPEN = (
    "data.train_data",
    "data.eval_data",
    "data.corpus",
    "recipe",
    "callbacks",
    "logger",
    "hydra",
)

_OUR_MODEL = "llm_embedder_data.BiEncoder"


def main() -> None:
    """The console script."""
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)  # a mapped file cut off kills without a word
    # Of Lightning 2.6, torch 2.13 and transformers 5: nothing that a user could act on.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip: " not in record.getMessage()
    )
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        _print(_usage())
        return
    if verb not in VERBS:
        sys.exit(
            f"{verb!r} is no verb: expected one of {', '.join(VERBS)}{did_you_mean(verb, VERBS)}"
        )
    try:
        _run(verb, arguments)
    except ConfigError as error:
        _give_up(verb, error)


def fit(cfg: DictConfig) -> None:
    """Train a model on train_data; measure it on eval_data before and after."""
    trainer, model, datamodule = _parts(cfg, "fit")
    before: Mapping[str, Any] = {}
    if cfg.validate_before and cfg.data.eval_data is not None and not cfg.trainer.fast_dev_run:
        before = trainer.validate(model, datamodule=datamodule, verbose=False)[0]
    trainer.fit(model, datamodule=datamodule, ckpt_path=cfg.ckpt_path)
    after = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    _show_metrics(before, after)
    checkpoint = getattr(trainer.checkpoint_callback, "last_model_path", "")
    if checkpoint:
        _print(f"Checkpoint: {checkpoint}  (go on from it with ckpt_path=...)")
    if cfg.export and hasattr(model, "export") and not cfg.trainer.fast_dev_run:
        folder = os.path.join(cfg.output_dir, "encoder")
        if trainer.is_global_zero:
            model.export(folder, datamodule.tokenizer)
        _print(f"Encoder:    {folder}  (AutoModel and SentenceTransformer load it)")


def validate(cfg: DictConfig) -> None:
    """Measure a model on eval_data against the corpus."""
    if cfg.data.eval_data is None:
        raise ConfigError("data.eval_data=null: there is nothing to validate on (name an eval set)")
    trainer, model, datamodule = _parts(cfg, "validate")
    metrics = trainer.validate(
        model, datamodule=datamodule, ckpt_path=cfg.ckpt_path, verbose=False
    )[0]
    _show_metrics({}, metrics)


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


# Each verb, and the file in conf/ that it is composed from.
VERBS: dict[str, tuple[Callable[[DictConfig], None], str]] = {
    "fit": (fit, "config"),
    "validate": (validate, "config"),
    "plan": (plan, "plan"),
}


# ------------------------------------------------------------------------------------------------


def _give_up(verb: str, error: Exception) -> NoReturn:
    """Leave with the error's sentence alone, or, where Hydra's variable asks, its traceback."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    sys.exit(f"llm-embedder-data {verb}: {error}")


def _run(verb: str, arguments: Sequence[str]) -> None:
    overrides = [one for one in arguments if one[0] != "-" and ("=" in one or one[0] == "~")]
    program = sys.argv[0]
    if not {"--help", "-h", "--hydra-help", "--version"} & set(arguments):
        check_keys(overrides, VERBS[verb][1])
    extra = [*_demo_unless_named(overrides), *_folder_of_ranks(overrides)]

    @hydra.main(config_path=f"pkg://{CONF_MODULE}", config_name=VERBS[verb][1], **hydra_base())
    def task(cfg: DictConfig) -> None:
        # Lightning starts further ranks with this command line: the verb, and this one job's
        # overrides.
        job = HydraConfig.get()
        sys.argv = [program, verb, *job.overrides.task]
        with read_write(cast(DictConfig, job)):
            job.run.dir = job.runtime.output_dir
        try:
            VERBS[verb][0](cfg)
        except (ConfigError, DataError) as error:
            _give_up(verb, error)
        finally:
            _leave_process_group()

    task.__module__ = __name__
    flags = [one for one in arguments if one not in overrides]  # argparse wants the others together
    sys.argv = [program, *flags, *overrides, *extra]
    task()


def _folder_of_ranks(overrides: Sequence[str]) -> list[str]:
    """Under torchrun, the run's folder by the moment at which its first rank got here, on all."""
    named = any(one.startswith("hydra.run.dir=") for one in overrides)
    if named or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return []
    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"llm_embedder_data/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    moment = store.compare_set(key, "", time.strftime("%Y-%m-%d/%H-%M-%S")).decode()
    return [f"hydra.run.dir=outputs/{moment}"]


def check_keys(overrides: Sequence[str], config_name: str) -> None:
    """Refuse a key that is not there before Hydra does, which would advise to add it with a plus.

    Raises:
        ConfigError: the key, and the nearest one.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    groups = [path.name for path in CONF_DIR.iterdir() if path.is_dir()]
    chosen = [one for one in parsed if one.key_or_group in groups]
    try:
        config = load_config(
            [str(one.input_line) for one in chosen if not one.is_sweep_override()],
            config_name=config_name,
        )
    except HydraException:
        return  # a choice that is not there: Hydra lists the ones that are
    own_model = any(one.key_or_group == "model._target_" for one in parsed)
    for one in parsed:
        key = one.key_or_group
        if key in groups or any(key == path or key.startswith(f"{path}.") for path in _OPEN):
            continue
        if own_model and key.startswith("model."):
            continue
        _check_key(key, config)


def _check_key(key: str, config: DictConfig) -> None:
    node: Any = config
    path: list[str] = []
    for part in key.split("."):
        if not OmegaConf.is_dict(node):
            return  # below a value: Hydra's own error is clear
        if part not in node:
            names = [".".join([*path, str(name)]) for name in node]
            near = did_you_mean(".".join([*path, part]), names) or f"; there are {', '.join(names)}"
            raise ConfigError(f"there is no key {key!r}{near}")
        path.append(part)
        node = node._get_node(part)
        if OmegaConf.is_interpolation(node):
            return


def _demo_unless_named(overrides: Sequence[str]) -> list[str]:
    """Where the user names no data, the demo on the sample that ships with the package."""
    named = ("data", "data.train_data", "data.eval_data", "experiment", "ckpt_path")
    for one in overrides:
        key = one.lstrip("+~").partition("=")[0]
        if key in named or key.startswith(("data.train_data.", "data.eval_data.")):
            return []
    return ["experiment=demo"]


def _parts(cfg: DictConfig, stage: str) -> tuple[Trainer, Any, Any]:
    """The trainer, the model and the data that a configuration describes; shows what was read."""
    seed_everything(cfg.seed, workers=True, verbose=False)
    callbacks = _each(cfg.callbacks, Callback, "callbacks")
    if cfg.trainer.enable_progress_bar is False:
        callbacks = [one for one in callbacks if not isinstance(one, ProgressBar)]
    loggers = _each(cfg.logger, Logger, "logger")  # type: ignore[type-abstract]
    trainer = build(cfg.trainer, Trainer, "trainer", callbacks=callbacks, logger=loggers)
    datamodule = _data(cfg)
    if isinstance(datamodule, RetrievalDataModule):
        datamodule.trainer = trainer  # it says how many ranks there will be
        datamodule.prepare_data()  # a wrong path ends here, before a model is loaded
        datamodule.setup(stage)
        _print(str(datamodule.report()))
    return trainer, build(_model_node(cfg), LightningModule, "model"), datamodule


def _data(cfg: DictConfig) -> Any:
    if "demo" in (cfg.encoder, cfg.data.tokenizer):
        cfg.encoder = demo_encoder()
    return build(cfg.data, LightningDataModule, "data")


def _each(nodes: Mapping[str, Any] | None, kind: type[T], key: str) -> list[T]:
    return [build(node, kind, f"{key}.{name}") for name, node in (nodes or {}).items() if node]


def _model_node(cfg: DictConfig) -> Any:
    """The model's node; for another model without those of BiEncoder's settings it has not."""
    node = cfg.model
    if node._target_ == _OUR_MODEL:
        return node
    target = target_class(node, LightningModule, "model")
    parameters = inspect.signature(target).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return node
    ours = set(inspect.signature(BiEncoder).parameters)
    given = {one.lstrip("+~").partition("=")[0] for one in HydraConfig.get().overrides.task}
    kept = {
        name: value
        for name, value in node.items()
        if name == "_target_" or name in parameters or name not in ours or f"model.{name}" in given
    }
    return OmegaConf.create(kept)


def _leave_process_group() -> None:
    """Forget the ranks of one job, so that the next one of a --multirun can start its own."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and "TORCHELASTIC_RUN_ID" not in os.environ:
        dist.destroy_process_group()
        for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
            os.environ.pop(name, None)


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


def _usage() -> str:
    lines = ["llm-embedder-data VERB [KEY=VALUE ...]", ""]
    lines += [f"  {name:10} {(verb.__doc__ or '').strip()}" for name, (verb, _) in VERBS.items()]
    lines += [
        "",
        "llm-embedder-data VERB --help shows every key. Without data named, fit runs a demo.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
