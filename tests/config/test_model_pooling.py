"""How an encoder's token vectors are pooled and compared, read from its own files."""

import json

import pytest
from convention_cases import model_folder
from transformers import BertConfig, LlamaConfig

from llm_embedder_data import ConfigError
from llm_embedder_data.config.model_pooling import leaves_prompt_out, pooled


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"word_embedding_dimension": 384, "pooling_mode_mean_tokens": False}, "mean"),
        ({"pooling_mode": ["mean"], "include_prompt": False}, "mean"),
    ],
)
def test_pooling_is_what_the_models_files_say(tmp_path, config, expected):
    folder = model_folder(tmp_path / "mine", pooling=config)

    found = pooled(folder, BertConfig())

    assert found.pooling == expected
    assert found.include_prompt is ("include_prompt" not in config)
    assert leaves_prompt_out(folder) is ("include_prompt" in config)
    assert pooled(folder, BertConfig(), pooling="cls").pooling == "cls"


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": 1},
        {"pooling_mode": "weightedmean"},
        {"pooling_mode": 3},
        [],
    ],
)
def test_another_pooling_is_refused_unless_one_is_given(tmp_path, config):
    folder = model_folder(tmp_path / "mine", pooling=config)

    with pytest.raises(ConfigError, match=r"expected one of cls, mean, lasttoken.*model\.pooling"):
        pooled(folder, BertConfig())
    assert pooled(folder, BertConfig(), pooling="mean").pooling == "mean"


@pytest.mark.parametrize(
    ("pooling", "modules", "found"),
    [
        (None, ["Transformer", "Pooling"], "its configuration is missing"),
        ({"pooling_mode": "mean"}, ["Transformer"], "there are 0"),
        ({"pooling_mode": "mean"}, ["Transformer", "Pooling", "Pooling"], "there are 2"),
    ],
)
def test_a_folder_without_its_pooling_is_refused_unless_one_is_given(
    tmp_path, pooling, modules, found
):
    folder = model_folder(tmp_path / "mine", pooling=pooling, modules=modules)

    with pytest.raises(ConfigError, match=rf"expected one module for pooling.*{found}"):
        pooled(folder, BertConfig())
    assert pooled(folder, BertConfig(), pooling="mean").pooling == "mean"


@pytest.mark.parametrize("kind", ["LayerNorm", "LatentAttention"])
def test_a_module_that_cannot_be_computed_is_refused_unless_a_pooling_is_given(tmp_path, kind):
    modules = ["Transformer", "Pooling", kind]
    folder = model_folder(tmp_path / "mine", pooling={"pooling_mode": "mean"}, modules=modules)

    with pytest.raises(
        ConfigError, match=rf"'sentence_transformers\.models\.{kind}' is neither pooling, a dense"
    ):
        pooled(folder, BertConfig())
    assert pooled(folder, BertConfig(), pooling="mean").pooling == "mean"


def test_dense_layers_stand_between_pooling_and_normalization(tmp_path):
    pooling = {"pooling_mode": "mean"}
    usual = ["Transformer", "Pooling", "Dense", "Dense", "Normalize"]
    folder = model_folder(tmp_path / "usual", pooling=pooling, modules=usual)

    assert pooled(folder, BertConfig()).dense == ("2_Dense", "3_Dense")
    assert pooled(folder, BertConfig(), pooling="cls").dense == ("2_Dense", "3_Dense")
    for i, other in enumerate(
        (
            ["Transformer", "Pooling", "Dense", "Normalize", "Dense"],
            ["Transformer", "Dense", "Pooling"],
        )
    ):
        folder = model_folder(tmp_path / str(i), pooling=pooling, modules=other)
        with pytest.raises(ConfigError, match=r"dense layers are computed between pooling"):
            pooled(folder, BertConfig())


@pytest.mark.parametrize("kind", ["Transformer", "Pooling"])
def test_a_class_of_the_repository_is_not_taken_for_the_usual_one(tmp_path, kind):
    folder = model_folder(tmp_path / "mine", pooling={"pooling_mode": "mean"})
    modules = json.loads((tmp_path / "mine" / "modules.json").read_text())
    for module in modules:
        module["type"] = module["type"].replace(
            f"sentence_transformers.models.{kind}", f"custom_st.{kind}"
        )
    (tmp_path / "mine" / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(ConfigError, match=rf"'custom_st\.{kind}' is neither pooling"):
        pooled(folder, BertConfig())
    assert pooled(folder, BertConfig(), pooling="mean").pooling == "mean"


@pytest.mark.parametrize(
    ("name", "normalised", "expected"),
    [
        ("dot", False, "dot"),
        ("dot", True, "cos"),  # the product of normalised embeddings
        ("cosine", False, "cos"),
        (None, False, "cos"),
        ("euclidean", True, "cos"),
    ],
)
def test_similarity_is_what_the_models_files_say(tmp_path, name, normalised, expected):
    modules = ["Transformer", "Pooling"] + ["Normalize"] * normalised
    pooling = {"pooling_mode": "mean"}
    folder = model_folder(
        tmp_path / "mine", pooling=pooling, modules=modules, similarity_fn_name=name
    )

    assert pooled(folder, BertConfig()).similarity == expected


@pytest.mark.parametrize("name", ["euclidean", ["cosine"], {}, 3])
def test_a_similarity_that_cannot_be_computed_is_refused_unless_one_is_given(tmp_path, name):
    modules, pooling = ["Transformer", "Pooling"], {"pooling_mode": "mean"}
    folder = model_folder(
        tmp_path / "mine", pooling=pooling, modules=modules, similarity_fn_name=name
    )

    with pytest.raises(ConfigError, match=r"similarity_fn_name=.*model\.similarity"):
        pooled(folder, BertConfig())
    assert pooled(folder, BertConfig(), similarity="dot").similarity == "dot"


def test_a_model_without_files_pools_as_its_kind_does():
    decoder = LlamaConfig(architectures=["LlamaForCausalLM"])

    assert pooled(None, BertConfig()).pooling == "cls"
    assert pooled(None, decoder).pooling == "last"
    assert pooled(None, LlamaConfig()).pooling == "last"
