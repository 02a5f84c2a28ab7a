"""``inspect``: show a batch exactly as the model gets it."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.cli.output_files import (
    check_output_file,
    check_whole_number,
    write_json,
    write_text,
)
from llm_embedder_data.cli.run_objects import build_retrieval_data
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.inspection.pages.inspect_page import inspect_page


def inspect(cfg: DictConfig) -> None:
    """Show the batch of a step, on a given rank or on all; ``html`` writes a page with plots.

    Raises:
        ConfigError: a setting cannot be used, or there is no such step or rank.
        DataError: the data cannot be read.
    """
    for name, least, may_be_null in (
        ("epoch", 0, False),
        ("step", 0, False),
        ("rank", 0, True),
        ("world_size", 1, True),
        ("epochs", 1, False),
    ):
        check_whole_number(name, cfg[name], least, may_be_null=may_be_null)
    for name in ("html", "json"):
        check_output_file(name, cfg[name])
    datamodule = build_retrieval_data(cfg)
    datamodule.prepare_data()
    datamodule.setup("fit")
    world_size = _world_size(cfg)
    batch = datamodule.show(cfg.step, cfg.epoch, cfg.rank, world_size=world_size)
    show(str(batch))
    content = batch.to_dict()
    if cfg.html or cfg.json:
        plots = datamodule.plot_data(cfg.epoch, world_size=world_size, epochs=cfg.epochs)
        content |= {"plots": plots}
    if cfg.json:
        write_json("json", cfg.json, content)
    if cfg.html:
        write_text("html", cfg.html, inspect_page(batch, datamodule.report(), plots))
        show(f"page: {cfg.html}")


def _world_size(cfg: DictConfig) -> int:
    """Return ``world_size``, else the trainer's number of ranks, but at least ``rank + 1``.

    Raises:
        ConfigError: ``trainer.devices`` or ``trainer.num_nodes`` cannot be a number of ranks.
    """
    if cfg.world_size is not None:
        return int(cfg.world_size)
    check_whole_number("trainer.num_nodes", cfg.trainer.get("num_nodes"), 1)
    of_trainer = _n_devices(cfg.trainer.get("devices")) * int(cfg.trainer.num_nodes)
    if cfg.rank is None or cfg.rank < of_trainer:
        return max(of_trainer, 1)
    show(f"ranks: {cfg.rank + 1}, so that there is a rank {cfg.rank} (world_size changes it)")
    return int(cfg.rank) + 1


def _n_devices(devices: Any) -> int:
    """Return the number of devices that ``trainer.devices`` names, as a Trainer reads it.

    ``auto`` and -1 stand for all devices of the machine that will train, which may be another one:
    they count as one device.

    Raises:
        ConfigError: the value names no devices.
    """
    if devices in ("auto", "-1") or (type(devices) is int and devices == -1):
        return 1
    if OmegaConf.is_list(devices) and len(devices):
        return len(devices)
    text = str(devices).strip()
    if isinstance(devices, str) and "," in text:
        return len([one for one in text.split(",") if one.strip()])
    if type(devices) is bool or not text.isdecimal() or int(text) < 1:
        raise ConfigError(
            f"trainer.devices={devices!r}: expected a number of devices of at least 1, a list of "
            "devices, or auto"
        )
    return int(text)
