"""The settings of a model where neither the user nor the recipe says anything."""

import re
from dataclasses import asdict

import pytest
from test_cross_encoder import tiny_classifier
from training_cases import tiny_bert

from llm_embedder_data import BiEncoder, ConfigError, CrossEncoder
from llm_embedder_data.config.composing import CONF_DIR


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (lambda **given: BiEncoder(tiny_bert(), **given), "bi_encoder"),
        (lambda **given: CrossEncoder(tiny_classifier(), **given), "cross_encoder"),
    ],
    ids=["BiEncoder", "CrossEncoder"],
)
def test_the_defaults_are_those_that_the_configuration_shows(model, config):
    text = (CONF_DIR / f"model/{config}.yaml").read_text()
    settings = asdict(model().model_settings)

    shown = re.findall(r"^(\w+): null .*\[([0-9.e-]+)\]$", text, flags=re.MULTILINE)

    values = {name: float(value) for name, value in shown if name in settings}
    assert values == {name: settings[name] for name in values}
    assert values.keys() >= {"learning_rate", "contrastive_weight", "distill_weight"}
    assert model(learning_rate=0.5, recipe="llm_embedder").learning_rate == 0.5
    assert model(recipe="llm_embedder").learning_rate == 5e-6  # the recipe's


@pytest.mark.parametrize("kind", [BiEncoder, CrossEncoder])
def test_what_is_no_encoder_is_named(kind):
    with pytest.raises(ConfigError, match=r"model\.encoder=None: expected a name, a path, or"):
        kind(None)
