"""The arguments of the data module, its record of them, and the configuration group agree."""

import inspect
from dataclasses import MISSING, fields

import pytest
import yaml
from lightning.pytorch.cli import LightningArgumentParser
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


# Values of every kind that an argument takes, for what reads arguments by their annotations.
VALUES = {
    "train_data": ["a.jsonl", ["a.jsonl"], {"qa": {"path": "a.jsonl", "weight": 2.0}}, None],
    "recipe": ["bge", {"name": "x", "instruction": {"*": {"query": "q: ", "key": ""}}}],
    "range_min": [2, {0: 1, 2: 3}, None],
    "range_max": [5, {0: 5, 1: None}, None],
    "max_score": [0.9, {0: 0.9, 1: None}, None],
    "relative_margin": [0.05, {0: 0.1}, None],
    "mixing": [{"alpha": 0.5}, {"shares": {"qa": 0.6, "tool": 0.4}}, None],
    "stable_distill": [True, False, None],
    "max_sample_num": [10, None],
    "pad_to_multiple_of": [16, None],
    "num_workers": [2, "auto"],
    "pin_memory": [False, "auto"],
    "prefetch_factor": [2, "auto"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in VALUES.items() for value in values]
)
def test_lightning_cli_gives_the_value_that_a_yaml_file_has(tmp_path, minilm, name, value):
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(RetrievalDataModule, "data")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data": {"tokenizer": str(minilm), name: value}}))
    parser.add_argument("--config", action="config")

    read = parser.parse_args(["--config", str(file)])
    (tmp_path / "printed.yaml").write_text(parser.dump(read, skip_none=False))
    again = parser.parse_args(["--config", str(tmp_path / "printed.yaml")])

    for parsed in (read, again):
        given = parser.instantiate_classes(parsed).data.hparams[name]
        assert given == value
        assert type(given) is type(value)


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
