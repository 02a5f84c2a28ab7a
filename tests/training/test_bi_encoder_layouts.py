"""BiEncoder on every layout of a batch: the same embeddings, losses and gradients."""

import copy

import pytest
import torch
from training_cases import N_TOKENS, quiet_trainer, texts, tiny_bert, training_batch
from transformers import (
    AutoModel,
    MPNetConfig,
    MPNetModel,
    Qwen2Config,
    Qwen2Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from llm_embedder_data.batches.tokens.tensor_layout import TensorLayout
from llm_embedder_data.batches.tokens.token_slices import Tokens, TokenSlices
from llm_embedder_data.config import ConfigError
from llm_embedder_data.training.bi_encoder import BiEncoder

SIZES = {
    "vocab_size": N_TOKENS,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "initializer_range": 0.5,
}


def xlm_roberta():
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return XLMRobertaModel(XLMRobertaConfig(**SIZES, **dropout, pad_token_id=0))


def qwen(**settings):
    """A decoder: causal, rotary positions, two heads of keys for four of queries."""
    return Qwen2Model(Qwen2Config(**SIZES, num_key_value_heads=2, pad_token_id=0, **settings))


ENCODERS = {
    "bert": (tiny_bert, "cls"),
    "xlm_roberta": (xlm_roberta, "mean"),
    "qwen": (qwen, "last"),
    "qwen with a window": (
        lambda: qwen(use_sliding_window=True, sliding_window=3, max_window_layers=0),
        "last",
    ),
}


class PadsWithZero:
    """What a layout asks of a tokenizer."""

    pad_token_id, pad_token_type_id, padding_side = 0, 0, "right"
    model_input_names = ("input_ids", "attention_mask")


def laid_out(batch, layout, unique=False):
    """A padded batch in another layout."""
    out = dict(batch)
    for name in ("query", "key"):
        mask = batch[name]["attention_mask"].bool()
        ids = batch[name]["input_ids"]
        lists = [row[real].tolist() for row, real in zip(ids, mask, strict=True)]
        inverse = None
        if unique and name == "key":
            different = {tuple(one): place for place, one in enumerate(lists)}
            number = {one: place for place, one in enumerate(different)}
            inverse = torch.tensor([number[tuple(one)] for one in lists]).numpy()
            lists = [list(one) for one in number]
        tensors = TensorLayout(PadsWithZero(), layout, chunk_size=5)
        out[name], inverse = tensors(Tokens((TokenSlices.of_lists(lists),)), inverse)
        if inverse is not None:
            out[f"{name}_inverse"] = torch.from_numpy(inverse)
    return out


def batch_with_repeats():
    batch = training_batch("both")
    for values in batch["key"].values():  # query 3 has two keys of query 0
        values[9:11] = values[1:3]
    return batch


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss = model.loss(batch)
    loss.backward()
    return loss.item(), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("unique", [False, True], ids=["every key", "unique keys"])
@pytest.mark.parametrize("layout", ["padded", "chunked", "packed"])
@pytest.mark.parametrize("name", ENCODERS)
def test_no_layout_changes_an_embedding_the_loss_or_a_gradient(name, layout, unique):
    make, pooling = ENCODERS[name]
    torch.manual_seed(1)
    model = BiEncoder(make(), pooling=pooling, temperature=0.5)
    batch = batch_with_repeats()
    other = laid_out(batch, layout, unique)
    wanted_loss, wanted = loss_and_gradients(model, batch)
    keys = model.encode(batch["key"])

    loss, gradients = loss_and_gradients(model, other)

    assert unique == (layout != "chunked" and "key_inverse" in other) or layout == "chunked"
    torch.testing.assert_close(model.encode(other["key"], other.get("key_inverse")), keys)
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    for found, expected in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.encode(batch["key"]), keys)  # and back


def test_gradient_checkpointing_knows_the_texts_of_a_packed_row():
    plain = BiEncoder(tiny_bert(), temperature=0.5)
    saving = BiEncoder(tiny_bert(), temperature=0.5, gradient_checkpointing=True)
    batch = laid_out(training_batch(), "packed")

    for one in zip(
        *(loss_and_gradients(model, batch)[1] for model in (plain, saving)), strict=True
    ):
        torch.testing.assert_close(*one)


def test_an_export_after_packed_batches_loads_anywhere(tmp_path):
    model = BiEncoder(tiny_bert())
    inputs = texts(4, seed=1)
    before = model.encode(inputs)
    model.encode(laid_out({"query": inputs, "key": inputs}, "packed")["query"])

    model.export(tmp_path)
    loaded = BiEncoder(AutoModel.from_pretrained(tmp_path))

    torch.testing.assert_close(loaded.encode(inputs), before)


def test_a_packed_batch_trains_under_a_trainer():
    from training_cases import Batches

    batch = training_batch("both")
    losses = []
    for layout in ("padded", "chunked", "packed"):
        model = BiEncoder(tiny_bert(), learning_rate=1e-3, warmup_ratio=0.0)
        data = Batches([laid_out(batch, layout)] * 3)
        quiet_trainer(max_epochs=1).fit(model, datamodule=data)
        losses.append(model.loss(copy.copy(batch)).item())

    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_an_encoder_that_would_mix_packed_texts_is_refused():
    model = BiEncoder(MPNetModel(MPNetConfig(**SIZES)))
    batch = laid_out(training_batch(), "packed")

    with pytest.raises(ConfigError, match=r"data\.layout=packed: MPNetModel takes no attention"):
        model.encode(batch["query"])


def test_an_encoder_set_to_packed_texts_refuses_others():
    model = BiEncoder(tiny_bert())
    model.encode(laid_out(training_batch(), "packed")["query"])

    with pytest.raises(ConfigError, match="is set to attention over packed texts, but got"):
        model.encoder(**texts(4, seed=1))
