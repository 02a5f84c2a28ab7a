"""Checks of settings' values that need no slow import.

They refuse a value at once that would otherwise fail after minutes of loading.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from llm_embedder_data.cli.checkpoint_files import check_checkpoint_file
from llm_embedder_data.cli.input_files import check_no_input_is_replaced
from llm_embedder_data.cli.output_files import check_flag, check_output_file, output_folder
from llm_embedder_data.cli.trainer_numbers import check_trainer_numbers
from llm_embedder_data.cli.verbs import Verb
from llm_embedder_data.core.addresses import check_on_this_machine, is_address
from llm_embedder_data.core.errors import ConfigError

# Arguments of Lightning's callbacks and loggers that name a folder, made when they first write.
_FOLDERS = {"dirpath", "save_dir"}

# Settings that name a file which a run writes at its end, with an example of a name for messages.
_OUTPUT_FILES = {"metrics_file": "metrics.json", "run_file": "run.trec"}


def expand_home(cfg: DictConfig) -> None:
    """Replace ``~`` in the paths of checkpoints, which Lightning and torch do not do."""
    if isinstance(cfg.get("ckpt_path"), str):
        cfg.ckpt_path = os.path.expanduser(cfg.ckpt_path)
    if OmegaConf.is_list(cfg.get("diff")):
        cfg.diff = [os.path.expanduser(p) if isinstance(p, str) else p for p in cfg.diff]


def check_settings(cfg: DictConfig, verb: Verb) -> None:
    """Check the values of a composed configuration.

    Raises:
        ConfigError: an interpolation of an unknown key; an encoder's folder that is not there; an
            output file that is read, or that another setting names too; a number of the trainer
            that is out of range; or, for a verb with a
            Trainer, a seed, callback, logger, ``ckpt_path``, ``metrics_file`` or ``run_file`` that
            cannot be used.
    """
    _check_interpolations(cfg)
    _check_encoder(cfg.get("encoder"))
    check_no_input_is_replaced(cfg, verb.makes)
    if isinstance(cfg.get("trainer"), Mapping):
        check_trainer_numbers(cfg.trainer)
    if not verb.uses_trainer:
        return
    if type(cfg.seed) is not int or not 0 <= cfg.seed < 2**32:
        raise ConfigError(f"seed={cfg.seed!r}: expected a whole number from 0 to {2**32 - 1}")
    for setting in ("validate_before", "export"):
        check_flag(setting, cfg[setting])
    _check_folder(cfg, "output_dir", "output_dir")
    if "default_root_dir" in (cfg.get("trainer") or ()):
        _check_folder(cfg.trainer, "default_root_dir", "trainer.default_root_dir")
    for group in ("callbacks", "logger"):
        _check_group_of_objects(group, cfg.get(group))
    check_checkpoint_file(cfg.ckpt_path, verb.name)
    for setting in _OUTPUT_FILES:
        check_output_file(setting, cfg.get(setting))


def check_run_folder(overrides: Sequence[str]) -> None:
    """Refuse the address of another machine, such as ``s3://...``, as the folder of a run.

    Raises:
        ConfigError: the folder is an address. The message names the setting.
    """
    for override in overrides:
        setting, _, value = override.partition("=")
        if setting in ("hydra.run.dir", "hydra.sweep.dir", "output_dir"):
            check_on_this_machine(setting, value.strip("'\""))


def _check_folder(node: Any, name: str, key: str) -> None:
    """Refuse a folder for outputs that cannot be made; an empty text would stand for the root.

    Args:
        node: the node of the configuration that names the folder.
        name: the key in that node.
        key: the dotted key, for the message.
    """
    try:
        folder = node[name]
    except InterpolationResolutionError:
        return  # in the run folder, which is only known inside a job
    # Callbacks and loggers also write to other machines; their values of other types are refused
    # when they are built.
    if key == "output_dir" or (isinstance(folder, str) and not is_address(folder)):
        output_folder(key, folder, "checkpoints, logs and the encoder")


def _check_encoder(encoder: Any) -> None:
    """Refuse a folder that does not exist. A name on the hub has at most one slash."""
    if encoder is None:
        return  # data.tokenizer and model.encoder may name it
    if not isinstance(encoder, str) or not encoder.strip():
        raise ConfigError(
            f"encoder={encoder!r}: expected the folder of a model, or its name on the Hugging Face "
            "hub"
        )
    looks_like_a_path = encoder.startswith((".", "/", "~")) or encoder.count("/") > 1
    if looks_like_a_path and not os.path.isdir(os.path.expanduser(encoder)):
        raise ConfigError(
            f"encoder={encoder!r}: there is no such folder (give a folder that holds a model, or "
            "its name on the Hugging Face hub, such as BAAI/bge-small-en-v1.5)"
        )


def check_sweep(overrides: Sequence[str]) -> None:
    """Refuse the same ``metrics_file`` or ``run_file`` for all jobs of a --multirun.

    Raises:
        ConfigError: all jobs would write the same file. The message says how to name a file per
            job.
    """
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key in _OUTPUT_FILES and value != "null" and not any(c in value for c in "$,"):
            raise ConfigError(
                f"{key}={value}: every job of --multirun would replace the file of the job "
                f"before it (give {key}='${{output_dir}}/{_OUTPUT_FILES[key]}')"
            )


def _check_interpolations(node: Any, prefix: str = "") -> None:
    """Refuse an interpolation such as ``${key}`` or ``${oc.env:NAME}`` that cannot be resolved."""
    raw: Any = OmegaConf.to_container(node, resolve=False)
    for key in node if isinstance(node, DictConfig) else range(len(node)):
        if raw[key] == "???":
            continue  # a value that Hydra requires; whoever reads it says so
        try:
            value = node[key]
        except OmegaConfBaseException as error:
            if "HydraConfig was not set" in str(error):
                continue  # Hydra's resolvers, such as ${hydra:...}, only work inside a job
            said = str(error).splitlines()[0]
            raise ConfigError(f"{prefix}{key!s}={raw[key]!r}: {said}") from error
        if OmegaConf.is_config(value):
            _check_interpolations(value, f"{prefix}{key!s}.")


def _check_group_of_objects(group: str, nodes: Any) -> None:
    """Refuse a group that is no mapping of nodes, and a folder of a node that cannot be made."""
    if nodes is not None and not isinstance(nodes, Mapping):
        raise ConfigError(f"{group}={nodes}: expected a mapping {{name: {{_target_: ...}}}}")
    for name, node in (nodes or {}).items():
        if node is not None and not isinstance(node, Mapping):
            raise ConfigError(
                f"{group}.{name}={node!r}: expected a mapping with a _target_ (~{group}.{name} "
                "takes it out)"
            )
        for argument in _FOLDERS & set(node or ()):
            _check_folder(node, argument, f"{group}.{name}.{argument}")
