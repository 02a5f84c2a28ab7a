"""A small encoder, and the console script run in this process."""

import copy
import io
import sys
import warnings
from pathlib import Path

import pytest
import users_classes
from cli_cases import write_rows
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from tiny_models import ONE_LAYER, save_bert

from llm_embedder_data.cli import main as cli


@pytest.fixture(scope="session")
def tiny(minilm, tmp_path_factory) -> str:
    """The folder of an encoder of one small layer, with its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    return save_bert(folder, minilm, max_position_embeddings=512, **ONE_LAYER)


@pytest.fixture(scope="session", autouse=True)
def parsed_once():
    """Parse each text of YAML once: a command composes conf/ three times, a third of it parsing."""
    parse, parsed = OmegaConf.load, {}

    def load(file):
        text = file.read() if hasattr(file, "read") else Path(file).read_text()
        if text not in parsed:
            parsed[text] = parse(io.StringIO(text))
        return copy.deepcopy(parsed[text])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", load)
        yield


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the console script in this process and a new folder; return what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # the console sets it

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["llm-embedder-data", *arguments])
        try:
            cli.main()
        except SystemExit as leaving:
            if leaving.code:  # Hydra 1.4 leaves with 0 after --cfg and --help
                raise
        finally:
            GlobalHydra.instance().clear()
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(run):
    """Run the console script, which must refuse; return the sentence it leaves with."""

    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as leaving:
            run(*arguments)
        said = str(leaving.value)
        assert said.startswith("llm-embedder-data "), said
        assert "Traceback" not in said
        assert "\n" not in said
        assert not Path("outputs").exists()
        return said

    return call


@pytest.fixture
def settings(tiny, tmp_path):
    """Settings of a short run on files of its own."""
    folder = write_rows(tmp_path / "data")
    return [
        f"encoder={tiny}",
        f"data.train_data={folder}/train.jsonl",
        "data.batch_size=2",
        "data.train_group_size=3",
        f"data.cache_dir={tmp_path}/cache",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "trainer.limit_train_batches=2",
        "export=false",
        "trainer.enable_model_summary=false",
    ]


@pytest.fixture
def evaluation(tmp_path):
    """Settings that evaluate on the files of ``settings``."""
    folder = tmp_path / "data/mine"
    return [f"data.eval_data={{mine: {folder}/eval.jsonl}}", f"data.corpus={folder}/corpus.jsonl"]


@pytest.fixture
def seen(monkeypatch):
    """Trainers that the callback ``Recorder`` was called by."""
    monkeypatch.setattr(users_classes, "SEEN", trainers := [])
    return trainers


@pytest.fixture
def returned(monkeypatch):
    """What the jobs returned, as Hydra's callback ``Spy`` sees it."""
    monkeypatch.setattr(users_classes, "RETURNED", values := [])
    return values
