"""A configuration makes no object where none may stand, and calls nothing to find out."""

import copy
import sys

import lightning
import pytest
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf

from llm_embedder_data import ConfigError
from llm_embedder_data.config.composing import load_config
from llm_embedder_data.config.instantiating import build


@pytest.fixture(scope="module")
def composed(minilm):
    return load_config([f"encoder={minilm}", "+callbacks.mine=null", "+logger.mine=null"])


KINDS = {
    "data": lightning.LightningDataModule,
    "model": lightning.LightningModule,
    "trainer": lightning.Trainer,
    "callbacks": lightning.Callback,
    "logger": Logger,
}


@pytest.mark.parametrize("name", ["bomb.call", "bomb.Made", "torch.load", "subprocess.Popen"])
@pytest.mark.parametrize(
    ("key", "wrapped"),
    [
        ("data.train_data", lambda node: node),
        ("data.train_data", lambda node: ["x.jsonl", node]),
        ("data.train_data", lambda node: {"mine": {"path": node}}),
        ("data.eval_data", lambda node: {"mine": {"path": [node]}}),
        ("data.corpus", lambda node: {"a": {"path": "x", "format": node}}),
        ("data.batch_size", lambda node: node),
        ("data.tokenizer", lambda node: node),
        ("data.recipe", lambda node: {"tasks": {"qa": node}}),
        ("data", lambda node: node),
        ("model", lambda node: node),
        ("model.temperature", lambda node: node),
        ("model.temperature", lambda node: [[node]]),
        ("trainer", lambda node: node),
        ("trainer.strategy", lambda node: node),
        ("trainer.plugins", lambda node: [node]),
        ("trainer.max_time", lambda node: node),
        ("callbacks.mine", lambda node: node),
        ("callbacks.checkpoint.dirpath", lambda node: node),
        ("callbacks.checkpoint.monitor", lambda node: {"a": {"b": [node]}}),
        ("logger.mine", lambda node: node),
        ("logger.csv.name", lambda node: node),
    ],
)
def test_a_target_where_none_may_stand_is_refused_and_not_run(
    composed, tmp_path, monkeypatch, bomb, name, key, wrapped
):
    monkeypatch.chdir(tmp_path)
    config, group = copy.deepcopy(composed), key.partition(".")[0]
    OmegaConf.set_struct(config, False)
    node = wrapped({"_target_": name, "_args_": ["touch boom"]})
    OmegaConf.update(config, key, node, merge=False)
    of_object = ".".join(key.split(".")[: 2 if group in ("callbacks", "logger") else 1])

    with pytest.raises(ConfigError) as refusal:
        build(OmegaConf.select(config, of_object), KINDS[group], of_object)

    assert f"_target_='{name}'" in str(refusal.value)
    assert key in str(refusal.value)
    assert not bomb.exists()
    if group == "data" and key != "data":
        assert "bomb" not in sys.modules  # the data needs no class, so none is looked for


def test_a_module_of_the_current_folder_that_python_does_not_look_for_is_pointed_out(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    node = {"_target_": "module_beside_me.Model"}

    with pytest.raises(ConfigError, match=r"No module named 'module_beside_me'$"):
        build(node, lightning.LightningModule, "model")
    (tmp_path / "module_beside_me.py").touch()
    with pytest.raises(ConfigError, match=r"lies in the current folder: PYTHONPATH=\. before"):
        build(node, lightning.LightningModule, "model")
