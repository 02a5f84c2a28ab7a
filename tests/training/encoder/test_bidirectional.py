"""A decoder without causal masks: later tokens change earlier hidden states."""

import pytest
import torch
from test_bi_encoder_layouts import SIZES, laid_out, loss_and_gradients
from torch.testing import assert_close
from training_cases import texts, tiny_bert, training_batch
from transformers import (
    AutoModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    MambaConfig,
    MambaModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
)

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.training.bi_encoder import BiEncoder

DECODERS = {
    "qwen2": (Qwen2Model, Qwen2Config),
    "qwen3": (Qwen3Model, Qwen3Config),
    "llama": (LlamaModel, LlamaConfig),
    "gpt2": (GPT2Model, GPT2Config),
}


def decoder(name, **settings):
    torch.manual_seed(0)
    model, config = DECODERS[name]
    heads = {} if name == "gpt2" else {"num_key_value_heads": 2}
    return model(config(**SIZES, pad_token_id=0, **heads, **settings))


def first_states(model, last_token, layout="padded"):
    """Embeddings by the first token of two texts that end in a given token."""
    ids = torch.tensor([[5, 7, last_token], [6, last_token, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    batch = {"query": {"input_ids": ids, "attention_mask": mask}}
    batch["key"] = batch["query"]
    return model.eval().encode(laid_out(batch, layout)["query"])


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("name", DECODERS)
def test_a_later_token_changes_an_earlier_state_only_if_it_may(name, layout):
    causal = BiEncoder(decoder(name), pooling="cls")
    both_ways = BiEncoder(decoder(name), pooling="cls", bidirectional=True)

    assert_close(first_states(causal, 8, layout), first_states(causal, 9, layout))
    changed = first_states(both_ways, 8, layout) - first_states(both_ways, 9, layout)
    assert (changed.abs().amax(1) > 1e-4).all()


@pytest.mark.parametrize("has_window", [False, True])
def test_all_layouts_agree(has_window):
    window = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 0}
    encoder = decoder("qwen2", **(window if has_window else {}))
    model = BiEncoder(encoder, pooling="mean", temperature=0.5, bidirectional=True)
    batch = training_batch("both")
    wanted_loss, wanted = loss_and_gradients(model, batch)
    for layout in ("chunked", "packed"):
        loss, gradients = loss_and_gradients(model, laid_out(batch, layout))

        assert loss == pytest.approx(wanted_loss, rel=1e-5)
        for found, expected in zip(gradients, wanted, strict=True):
            assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_export_stays_bidirectional_without_being_told(tmp_path):
    model = BiEncoder(decoder("qwen2"), pooling="mean", bidirectional=True).eval()
    model.export(tmp_path)
    inputs = texts(3, seed=0)
    packed = laid_out({"query": inputs, "key": inputs}, "packed")["query"]

    loaded = BiEncoder(AutoModel.from_pretrained(tmp_path), pooling="mean").eval()
    assert_close(loaded.encode(inputs), model.encode(inputs))
    assert_close(loaded.encode(packed), model.encode(inputs))


def test_an_encoder_stays_as_it_is():
    inputs = texts(3, seed=0)
    model = BiEncoder(tiny_bert(), bidirectional=True).eval()

    assert_close(model.encode(inputs), BiEncoder(tiny_bert()).eval().encode(inputs))


def test_a_decoder_whose_masks_stay_causal_is_refused():
    mamba = MambaModel(MambaConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1))

    with pytest.raises(ConfigError, match=r"model\.bidirectional=True: the masks of MambaModel"):
        BiEncoder(mamba, pooling="mean", bidirectional=True)
