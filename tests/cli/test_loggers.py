"""Loggers and the callback that logs the data path's figures, as the console composes them."""

import csv
import inspect
import json
import os
from enum import StrEnum
from pathlib import Path

import lightning
import pandas
import pytest
from cli_cases import write_rows
from lightning.pytorch.loggers import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder, RetrievalDataModule
from llm_embedder_data.callbacks.data_figures import DataFigures
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


@pytest.mark.slow
def test_each_job_of_a_sweep_is_a_run_of_weights_and_biases(run, settings, tmp_path, monkeypatch):
    import wandb  # takes a second

    for variable in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("WANDB_MODE", "offline")  # undoes what the logger sets

    run(
        "fit",
        *settings,
        "logger=wandb",
        "logger.wandb.offline=true",
        "callbacks=[default,data_figures]",
        "callbacks.data_figures.every_n_steps=1",
        "hydra.sweep.dir=sweep",
        "hydra.sweep.subdir=${hydra.job.num}",
        "model.learning_rate=0.0125,0.0375",
        "--multirun",
    )

    wandb.teardown()  # waits until the files are written
    for job, rate in enumerate([b"0.0125", b"0.0375"]):
        [file] = Path(f"sweep/{job}/wandb").glob("offline-run-*/*.wandb")
        recorded = file.read_bytes()
        for expected in (
            *(b"train_group_size", b"train_data", b"learning_rate", rate),
            *(b"train/loss", b"data/padded_share", b"data/wait_share"),
        ):
            assert expected in recorded


class Recorder(Logger):
    """A logger that keeps what it is given, as W&B's client gets it."""

    name, version = "recorder", "0"

    def __init__(self):
        super().__init__()
        self.settings, self.metrics = [], []

    def log_hyperparams(self, params):
        self.settings.append(params)

    def log_metrics(self, metrics, step=None):
        self.metrics.append((step, metrics))


class Task(StrEnum):
    QA = "qa"


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_logger_is_given_plain_settings_and_numbers(tiny, tmp_path, in_memory):
    folder = write_rows(tmp_path / "rows")
    records = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    records = [record | {"teacher_scores": [0.9, 0.1, 0.6]} for record in records]
    (folder / "train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    data = RetrievalDataModule(
        AutoTokenizer.from_pretrained(tiny) if in_memory else Path(tiny),
        {"qa/en": records if in_memory else {"path": folder / "train.jsonl", "task": "qa"}},
        corpus=pandas.DataFrame({"text": ["a"]}) if in_memory else [folder / "corpus.jsonl"],
        recipe={"name": "own", "instruction": {"*": {"query": "q: ", "key": "k: "}}},
        default_task=Task.QA,
        max_score={0: 0.5, 1: None},
        mixing={"alpha": 0.5},
        batch_size=2,
        train_group_size=2,
        num_workers=0,
        cache_dir=tmp_path / "cache",
    )
    logger = Recorder()
    trainer = lightning.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=logger,
        callbacks=[DataFigures(1)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        log_every_n_steps=1,
    )

    trainer.fit(BiEncoder(tiny), datamodule=data)

    [settings] = logger.settings
    plain = {str(name): value for name, value in dict(settings).items()}
    again = json.loads(json.dumps(plain, allow_nan=False))
    assert again == plain | {"max_score": {"0": 0.5, "1": None}, "cutoffs": [1, 5, 10, 100]}
    assert plain["mixing"] == {"alpha": 0.5}
    assert set(inspect.signature(RetrievalDataModule).parameters) <= {
        name.removeprefix("data.") for name in plain
    }
    assert ("<in memory: list of length 8>" in str(plain["train_data"])) == in_memory
    logged = {name for _, metrics in logger.metrics for name in metrics}
    assert {"train/loss", "data/tokens_per_s", "data/coverage/qa/en", "data/share/qa"} <= logged
    assert {step for step, _ in logger.metrics} == {0, 1}
    assert all(
        type(value) in (int, float) for _, metrics in logger.metrics for value in metrics.values()
    )


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
