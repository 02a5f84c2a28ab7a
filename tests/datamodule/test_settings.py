"""The arguments of the data module, its record of them, and the configuration group agree."""

import inspect
from dataclasses import MISSING, fields

import pytest
from omegaconf import OmegaConf

from llm_embedder_data import ConfigError, RetrievalDataModule
from llm_embedder_data.config.composing import CONF_DIR
from llm_embedder_data.datamodule.settings.settings import DataSettings


def test_signature_record_and_configuration_have_the_same_settings_and_defaults():
    parameters = inspect.signature(RetrievalDataModule).parameters.values()
    of_signature = {
        one.name: MISSING if one.default is inspect.Parameter.empty else one.default
        for one in parameters
    }
    of_record = {one.name: one.default for one in fields(DataSettings)}
    node = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "data/default.yaml"), resolve=False)
    del node["_target_"]
    of_yaml = {name: value for name, value in node.items() if not str(value).startswith("${")}

    assert list(of_signature.items()) == list(of_record.items())
    assert list(node) == list(of_record)
    assert of_yaml == {name: of_record[name] for name in of_yaml}


@pytest.mark.parametrize(
    "name",
    [
        *("batch_size", "train_group_size", "length_window"),
        *("query_max_length", "key_max_length", "pad_to_multiple_of"),
    ],
)
def test_numbers_that_no_batch_can_have_are_refused(tmp_path, minilm, name):
    with pytest.raises(ConfigError, match=rf"data\.{name}=1000+: expected .* at most 2,147,483"):
        RetrievalDataModule(str(minilm), "t.jsonl", small_datasets="repeat", **{name: 10**30})


@pytest.mark.parametrize("name", ["cache_dir", "data_root"])
def test_an_empty_text_is_no_folder(minilm, name):
    """It would be the folder that a command was started in."""
    with pytest.raises(ConfigError, match=rf"data\.{name}='': expected the path of a folder"):
        RetrievalDataModule(str(minilm), "t.jsonl", **{name: ""})


def test_a_source_has_no_larger_batch_either(tmp_path, minilm):
    (tmp_path / "t.jsonl").write_text('{"query": "q", "pos": ["p"], "neg": ["n"]}\n')
    source = {"path": str(tmp_path / "t.jsonl"), "batch_size": 10**30}
    module = RetrievalDataModule(str(minilm), {"mine": source}, small_datasets="repeat")

    with pytest.raises(ConfigError, match=r"mine\.batch_size=1000+: expected an integer of at m"):
        module.setup()
