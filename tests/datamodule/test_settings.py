"""The arguments of the data module, its record of them, and the configuration group agree."""

import inspect
from dataclasses import MISSING, fields

from omegaconf import OmegaConf

from llm_embedder_data import RetrievalDataModule
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
