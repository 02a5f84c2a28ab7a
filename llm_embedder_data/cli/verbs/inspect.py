"""``inspect``: show a batch exactly as the model gets it."""

from __future__ import annotations

from omegaconf import DictConfig

from llm_embedder_data.cli.output_files import (
    check_output_file,
    check_whole_number,
    write_json,
    write_text,
)
from llm_embedder_data.cli.run_objects import build_data
from llm_embedder_data.cli.showing import show
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
    datamodule = build_data(cfg)
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
    """Return ``world_size``, else the trainer's number of ranks, but at least ``rank + 1``."""
    if cfg.world_size is not None:
        return int(cfg.world_size)
    devices, nodes = cfg.trainer.get("devices"), cfg.trainer.get("num_nodes")
    of_trainer = devices * nodes if type(devices) is int and type(nodes) is int else 1
    if cfg.rank is None or cfg.rank < of_trainer:
        return max(of_trainer, 1)
    show(f"ranks: {cfg.rank + 1}, so that there is a rank {cfg.rank} (world_size changes it)")
    return int(cfg.rank) + 1
