"""Dense layers after the pooling: embeddings and exports are those of sentence-transformers."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer, models
from tiny_models import ONE_LAYER, save_bert
from torch import nn
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder, ConfigError

TEXTS = ["a cat", "the dog barks all day", "rain falls from clouds"]


@pytest.fixture(scope="module")
def folder(minilm, tmp_path_factory):
    """An encoder with two dense layers, as sentence-transformers saves it."""
    torch.manual_seed(3)
    encoder = models.Transformer(save_bert(tmp_path_factory.mktemp("bert"), minilm, **ONE_LAYER))
    pooling = models.Pooling(encoder.get_word_embedding_dimension(), "mean")
    wide = models.Dense(pooling.get_sentence_embedding_dimension(), 12, use_residual=True)
    narrow = models.Dense(12, 6, bias=False, activation_function=nn.Identity())
    model = SentenceTransformer(
        modules=[encoder, pooling, wide, narrow, models.Normalize()], device="cpu"
    )
    path = tmp_path_factory.mktemp("model")
    model.save(str(path))
    return path


def tokens(folder, texts=TEXTS):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return dict(tokenizer(texts, padding=True, return_tensors="pt"))


def embedded(module, folder):
    with torch.no_grad():
        return module.eval().encode(tokens(folder))


def theirs(folder):
    model = SentenceTransformer(str(folder), device="cpu")
    return model.encode(TEXTS, convert_to_tensor=True)


def test_embeddings_are_those_of_sentence_transformers(folder):
    module = BiEncoder(str(folder))

    assert module.embedding_size == 6
    torch.testing.assert_close(embedded(module, folder), theirs(folder))
    assert [fact["out_features"] for fact in module.embedding_facts()["dense"]] == [12, 6]


@pytest.mark.parametrize("has_sentence_transformers", [True, False])
def test_an_export_has_the_layers_as_they_were_trained(
    folder, tmp_path, monkeypatch, has_sentence_transformers
):
    module = BiEncoder(str(folder))
    with torch.no_grad():
        module.dense_layers[1].linear.weight.mul_(torch.tensor([[-1.0]]).expand(6, 12))
        module.dense_layers[1].linear.weight[0] = 1.0
    expected = embedded(module, folder)
    assert not torch.allclose(expected, theirs(folder))

    with monkeypatch.context() as patched:
        if not has_sentence_transformers:
            patched.setitem(sys.modules, "sentence_transformers", None)
        module.export(tmp_path / "out")

    torch.testing.assert_close(theirs(tmp_path / "out"), expected)
    torch.testing.assert_close(embedded(BiEncoder(str(tmp_path / "out")), folder), expected)


def test_mini_batches_give_the_layers_their_gradients(folder):
    def gradients(mini_batch_size):
        torch.manual_seed(0)
        module = BiEncoder(str(folder), mini_batch_size=mini_batch_size).eval()
        batch = {
            "query": tokens(folder, TEXTS[:2]),
            "key": tokens(folder, [*TEXTS, "snow melts"]),
            "key_mask": torch.ones(2, 2, dtype=torch.int64),
            "teacher_scores": None,
            "task": "qa",
            "query_text_id": torch.tensor([1, 2]),
            "key_id": torch.tensor([3, 4, 5, 6]),
            "positive_id": torch.tensor([[3], [5]]),
            "in_batch_negatives": True,
        }
        module.loss(batch).backward()
        return [weight.grad for weight in module.dense_layers.parameters()]

    whole = gradients(None)
    assert all(gradient.abs().max() > 0 for gradient in whole)
    torch.testing.assert_close(gradients(1), whole)


def test_matryoshka_dimensions_are_those_of_the_last_layer(folder):
    BiEncoder(str(folder), matryoshka_dims=[6, 3])
    with pytest.raises(ConfigError, match=r"matryoshka_dims"):
        BiEncoder(str(folder), matryoshka_dims=[12, 6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "os.system"}, "expected a class of torch.nn"),
        ({"activation_function": "torch.nn.modules.activation.MultiheadAttention"}, "arguments"),
        ({"in_features": 5}, "in_features=5: the layer gets"),
        ({"out_features": "wide"}, "out_features='wide': expected a whole number"),
        ({"module_input_name": "token_embeddings"}, "module_input_name='token_embeddings'"),
        ({"out_features": 7}, "size mismatch"),
        (None, "expected a mapping"),
        ("lost", "it has no model.safetensors or pytorch_model.bin"),
        ("damaged", "model.safetensors: "),
    ],
)
def test_a_layer_that_cannot_be_loaded_is_one_sentence(folder, tmp_path, change, message):
    broken = shutil.copytree(folder, tmp_path / "broken")
    settings, weights = broken / "2_Dense/config.json", broken / "2_Dense/model.safetensors"
    if change == "lost":
        weights.unlink()
    elif change == "damaged":
        weights.write_bytes(b"no weights")
    else:
        content = json.loads(settings.read_text())
        settings.write_text(json.dumps(change and {**content, **change}))

    with pytest.raises(ConfigError, match=r"the dense layer 2_Dense cannot be loaded") as refused:
        BiEncoder(str(broken))

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_weights_of_older_folders_are_read(folder, tmp_path):
    old = shutil.copytree(folder, tmp_path / "old")
    weights = old / "3_Dense/model.safetensors"
    torch.save(load_file(weights), old / "3_Dense/pytorch_model.bin")
    weights.unlink()

    torch.testing.assert_close(embedded(BiEncoder(str(old)), folder), theirs(folder))
