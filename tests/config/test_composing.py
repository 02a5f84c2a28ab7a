"""conf/: its keys are the signatures, every choice composes, data sets can be changed."""

import inspect

import lightning
import pytest
from omegaconf import OmegaConf

from llm_embedder_data import BiEncoder, RetrievalDataModule
from llm_embedder_data.config.composing import CONF_DIR, hydra_base, load_config
from llm_embedder_data.config.instantiating import build
from llm_embedder_data.config.recipes import recipe_names


@pytest.mark.parametrize(
    ("group", "target", "own"),
    [
        ("data/default", RetrievalDataModule, {"tokenizer", "recipe", "seed"}),
        ("model/bi_encoder", BiEncoder, {"encoder"}),
    ],
)
def test_yaml_keys_and_values_are_the_signatures(group, target, own):
    node = OmegaConf.to_container(OmegaConf.load(CONF_DIR / f"{group}.yaml"))
    node.pop("_target_")
    parameters = inspect.signature(target).parameters

    assert list(node) == list(parameters)
    for name, value in node.items():
        default = parameters[name].default
        if name not in own:
            assert value == (list(default) if isinstance(default, tuple) else default), name


def test_trainer_yaml_names_every_argument_of_the_trainer():
    node = OmegaConf.load(CONF_DIR / "trainer/default.yaml")
    arguments = set(inspect.signature(lightning.Trainer).parameters) - {"callbacks", "logger"}

    assert set(node) - {"_target_"} == arguments


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_composes_and_builds(recipe, minilm):
    config = load_config([f"recipe={recipe}", f"encoder={minilm}"])

    assert build(config.data, RetrievalDataModule, "data").recipe.name == config.recipe.name


def test_load_config_works_within_an_initialised_hydra():
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF_DIR), **hydra_base()):
        assert load_config(["data.batch_size=3"]).data.batch_size == 3
        assert compose("config", ["data.batch_size=5"]).data.batch_size == 5


def test_data_sets_can_be_added_changed_and_removed():
    config = load_config(
        [
            "experiment=demo",
            "~data.train_data.qa",
            "+data.train_data.mine=mine.jsonl",
            "data.train_data.tool={path: tool.jsonl, weight: 2}",
        ]
    )

    assert set(config.data.train_data) == {"convsearch", "chat", "lrlm", "icl", "tool", "mine"}
    assert config.data.train_data.tool.weight == 2
    assert load_config(["+data.train_data.mine=mine.jsonl"]).data.train_data == {
        "mine": "mine.jsonl"
    }
