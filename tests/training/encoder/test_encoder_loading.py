"""An encoder's files are loaded whole, or refused in one sentence that names them."""

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification, BertModel

from llm_embedder_data import BiEncoder
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.training.encoder.encoder_loading import load_encoder


@pytest.fixture
def folder(tmp_path):
    sizes = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8}
    config = BertConfig(vocab_size=9, num_hidden_layers=1, **sizes)
    BertModel(config).save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "nonsense"}'),
        ("model.safetensors", None),
        ("model.safetensors", b""),
        ("model.safetensors", b"\x00" * 100),
        ("adapter_config.json", b"{"),
    ],
)
def test_files_that_cannot_be_loaded_are_one_sentence(folder, name, content):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)

    with pytest.raises(ConfigError) as refused:
        load_encoder(str(folder))

    assert str(refused.value).startswith(f"encoder={str(folder)!r} cannot be loaded: ")
    assert "\n" not in str(refused.value)


def test_weights_that_the_files_lack_are_not_drawn_at_random(folder):
    weights = load_file(folder / "model.safetensors")
    without_pooler = {name: weights[name] for name in weights if "pooler." not in name}
    save_file(without_pooler, folder / "model.safetensors", {"format": "pt"})
    load_encoder(str(folder))

    del without_pooler["embeddings.word_embeddings.weight"]
    save_file(without_pooler, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 weights of BertModel, such as embeddings\.word"):
        load_encoder(str(folder))


def test_a_reranker_in_place_of_an_encoder_is_said(folder, tmp_path, recwarn):
    load_encoder(str(folder))
    assert not recwarn.list
    reranker = BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=1))
    reranker.save_pretrained(tmp_path / "reranker")

    with pytest.warns(UserWarning, match="is a BertForSequenceClassification, such as a reranker"):
        load_encoder(str(tmp_path / "reranker"))


@pytest.mark.parametrize("family", ["T5", "MT5", "LongT5"])
@pytest.mark.parametrize("saved", ["ForConditionalGeneration", "EncoderModel"])
def test_of_an_encoder_decoder_the_encoder_embeds(tmp_path, family, saved):
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    config = getattr(transformers, f"{family}Config")(vocab_size=9, **sizes)
    model = getattr(transformers, f"{family}{saved}")(config).eval()
    model.save_pretrained(tmp_path)
    inputs = {
        "input_ids": torch.tensor([[3, 4, 5], [6, 7, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
    }

    module = BiEncoder(str(tmp_path), similarity="dot").eval()

    assert type(module.encoder).__name__ == f"{family}EncoderModel"
    hidden = model.get_encoder()(**inputs).last_hidden_state
    expected = torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)])
    torch.testing.assert_close(module.encode(inputs), expected)
    assert BiEncoder(module.encoder).pooling == "mean"  # a model in memory too
