"""Checks of setting values that need no library which is slow to import.

They refuse at once what a run would otherwise refuse after minutes of loading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError

from llm_embedder_data.cli.checkpoint_files import check_checkpoint_file
from llm_embedder_data.cli.metrics_file import check_metrics_file
from llm_embedder_data.cli.refusals import sentence
from llm_embedder_data.cli.verbs import Verb
from llm_embedder_data.core.errors import ConfigError


def check_settings(cfg: DictConfig, verb: Verb) -> None:
    """Check the values of a composed configuration.

    Raises:
        ConfigError: an interpolation of an unknown key; or, for a verb with a Trainer, a seed,
            callback, logger, ``ckpt_path`` or ``metrics_file`` that cannot be used.
    """
    _check_interpolations(cfg)
    if not verb.uses_trainer:
        return
    if type(cfg.seed) is not int or not 0 <= cfg.seed < 2**32:
        raise ConfigError(f"seed={cfg.seed!r}: expected a whole number from 0 to {2**32 - 1}")
    for group in ("callbacks", "logger"):
        _check_group_of_objects(group, cfg.get(group))
    check_checkpoint_file(cfg.ckpt_path, verb.name)
    check_metrics_file(cfg.metrics_file)


def check_sweep(overrides: Sequence[str]) -> None:
    """Refuse one ``metrics_file`` for all jobs of a --multirun.

    Raises:
        ConfigError: the file, and how to name one file per job.
    """
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key == "metrics_file" and value != "null" and not any(c in value for c in "$,"):
            raise ConfigError(
                f"metrics_file={value}: every job of --multirun would replace the file of the job "
                "before it (give metrics_file='${output_dir}/metrics.json')"
            )


def _check_interpolations(cfg: DictConfig) -> None:
    """Refuse ``${key}`` of a key that does not exist."""
    try:
        OmegaConf.to_container(cfg, resolve=True)
    except InterpolationKeyError as error:
        raise ConfigError(sentence(error)) from error
    except InterpolationResolutionError:
        return  # of one of Hydra's resolvers, such as ${hydra:...}, which work inside a job only


def _check_group_of_objects(group: str, nodes: Any) -> None:
    if nodes is not None and not isinstance(nodes, Mapping):
        raise ConfigError(f"{group}={nodes}: expected a mapping {{name: {{_target_: ...}}}}")
    for name, node in (nodes or {}).items():
        if node is not None and not isinstance(node, Mapping):
            raise ConfigError(
                f"{group}.{name}={node!r}: expected a mapping with a _target_ (~{group}.{name} "
                "takes it out)"
            )
