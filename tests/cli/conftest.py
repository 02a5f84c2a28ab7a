"""A small encoder, and the console script run in this process."""

import copy
import functools
import sys
import warnings
from pathlib import Path

import hydra
import pytest
import users_classes
from cli_cases import write_rows
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from tiny_models import ONE_LAYER, save_bert

from llm_embedder_data.cli import main as cli
from llm_embedder_data.cli.early_checks import check_settings, expand_home
from llm_embedder_data.cli.refusals import is_refusal, message
from llm_embedder_data.cli.verbs import VERBS
from llm_embedder_data.config.composing import load_config


@pytest.fixture(scope="session")
def tiny(minilm, tmp_path_factory) -> str:
    """The folder of an encoder of one small layer."""
    folder = tmp_path_factory.mktemp("tiny")
    return save_bert(folder, minilm, max_position_embeddings=512, **ONE_LAYER)


@pytest.fixture(scope="session", autouse=True)
def _parsed_once(parsed_once):
    pass


@pytest.fixture(scope="session", autouse=True)
def composed_for_the_run_alone():
    """Leave out the composition that Hydra 1.3 makes only to read ``hydra.mode``, not in conf/."""
    if not hydra.__version__.startswith("1.3."):
        yield
        return
    compose, may_have_a_mode = Hydra.get_mode, ("hydra.mode", "searchpath", "config", "experiment")

    def get_mode(self, config_name, overrides):
        words = " ".join([*sys.argv, *overrides])
        if any(word in words for word in may_have_a_mode):
            return compose(self, config_name=config_name, overrides=overrides)
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "get_mode", get_mode)
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


@functools.cache
def _defaults(config_name):
    return load_config(config_name=config_name, output_dir="outputs")


@pytest.fixture
def refused_by_verb(monkeypatch, tmp_path):
    """Run a verb's function as a job does, without Hydra, which composes three times; it must
    refuse. Return the sentence. The settings are of no group in conf/.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)

    def call(name: str, *overrides: str) -> str:
        verb = VERBS[name]
        cfg = copy.deepcopy(_defaults(verb.config_name))
        for one in OverridesParser.create().parse_overrides(list(overrides)):
            OmegaConf.update(cfg, one.key_or_group, one.value(), force_add=one.is_add())
        try:
            expand_home(cfg)
            check_settings(cfg, verb)
            verb.load()(cfg)
        except Exception as error:
            if not is_refusal(error):
                raise
            said = message(name, error)
            assert "\n" not in said
            return said
        pytest.fail(f"{name} takes {overrides}")

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
