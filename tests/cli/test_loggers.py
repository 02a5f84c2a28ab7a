"""Loggers and the callback that logs the data path's figures, as the console composes them."""

import csv
import os
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from llm_embedder_data.config import load_config
from llm_embedder_data.config.composing import CONF_DIR

NAMES = sorted(path.stem for path in (CONF_DIR / "logger").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_logger_composes(name):
    config = load_config([f"logger={name}"])

    assert list(config.logger) == [name]
    assert config.logger[name]._target_.startswith("lightning.pytorch.loggers.")


def test_several_loggers_compose():
    assert list(load_config(["logger=[csv,wandb]", "logger.wandb.offline=true"]).logger) == [
        "csv",
        "wandb",
    ]


def test_tensorboard_records_the_settings_of_the_data(run, settings):
    run("fit", *settings, "logger=tensorboard", "hydra.run.dir=out", "data.mixing={alpha: 1}")

    events = EventAccumulator("out/logs").Reload()
    [content] = [
        content
        for name, content in events.summary_metadata.items()
        if name == "_hparams_/session_start_info"
    ]
    recorded = content.plugin_data.content
    for setting in (b"train_group_size", b"train_data", b"mixing", b"learning_rate"):
        assert setting in recorded
    assert "train/loss" in events.Tags()["scalars"]
    assert "train_group_size: 3" in Path("out/logs/hparams.yaml").read_text()


def test_data_figures_is_an_option_of_the_callbacks(run, settings):
    run(
        "fit",
        *settings,
        "callbacks=[default,data_figures]",
        "callbacks.data_figures.every_n_steps=1",
        "hydra.run.dir=out",
    )

    with Path("out/logs/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["data/coverage"]] == ["0", "1"]
    assert os.path.exists("out/checkpoints/last.ckpt")  # the other callbacks are there
