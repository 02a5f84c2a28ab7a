"""Mini-batches change neither the loss nor a gradient, whatever else is on."""

import lightning
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from processes import returned, run_on_ranks
from slow_cases import mostly_slow
from test_bi_encoder_layouts import batch_with_repeats, laid_out, loss_and_gradients, qwen
from torch.testing import assert_close
from training_cases import Batches, quiet_trainer, share, tiny_bert, training_batch
from transformers import BertConfig, BertModel

from llm_embedder_data.training.bi_encoder import BiEncoder

LAYOUTS = ["padded", "chunked", "packed"]


def bert_with_dropout():
    torch.manual_seed(0)
    return BertModel(
        BertConfig(
            vocab_size=60,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=32,
            hidden_dropout_prob=0.4,
            attention_probs_dropout_prob=0.4,
            initializer_range=0.5,
        )
    )


SIZES = [(size, unique) for size in (1, 5, 100) for unique in (False, True)]


@pytest.mark.parametrize("size_and_unique", mostly_slow(SIZES, (1, True), (5, False), (100, True)))
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("make", "pooling"), [(tiny_bert, "mean"), (qwen, "last")], ids=["bert", "qwen"]
)
def test_the_loss_and_all_gradients_are_those_of_the_whole_batch(
    make, pooling, layout, size_and_unique
):
    size, unique = size_and_unique
    torch.manual_seed(1)
    plain = BiEncoder(make(), pooling=pooling, temperature=0.5)
    small = BiEncoder(plain.encoder, pooling=pooling, temperature=0.5, mini_batch_size=size)
    batch = laid_out(batch_with_repeats(), layout, unique)
    wanted_loss, wanted = loss_and_gradients(plain, batch)

    loss, gradients = loss_and_gradients(small, batch)

    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    assert max(float(one.abs().max()) for one in wanted) > 1e-2
    for found, expected in zip(gradients, wanted, strict=True):
        assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_encoder_is_never_given_more_texts_and_keeps_nothing_of_them(layout):
    model = BiEncoder(tiny_bert(), mini_batch_size=3)
    batch = laid_out(training_batch(), layout)
    seen, kept = [], []

    def look(module, args, inputs):
        bounds = inputs.get("cu_seq_lens_q")
        seen.append(len(inputs["input_ids"]) if bounds is None else len(bounds) - 1)

    model.encoder.register_forward_pre_hook(look, with_kwargs=True)
    weights = {one.data_ptr() for one in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda one: kept.append(one) or one, lambda one: one
    ):
        model.loss(batch)

    assert sum(seen) >= 4 + 12
    assert max(seen) <= 3
    # Of two layers of width 16 over 16 texts of 6 tokens it would be thousands of values.
    assert sum(one.numel() for one in kept if one.data_ptr() not in weights) < 3000


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_prompts_are_left_out_of_the_mean_of_each_mini_batch(layout, side):
    plain = BiEncoder(tiny_bert(), pooling="mean", temperature=0.5)
    small = BiEncoder(plain.encoder, pooling="mean", temperature=0.5, mini_batch_size=5)
    plain.include_prompt = small.include_prompt = False
    batch = laid_out(training_batch(), layout, unique=layout != "padded")
    if layout == "padded" and side == "left":
        batch["key"] = {name: one.flip(1) for name, one in batch["key"].items()}
    batch |= {
        "query_prompt_length": torch.tensor([1, 0, 1, 1]),
        "key_prompt_length": torch.arange(12) % 2,
    }
    wanted_loss, wanted = loss_and_gradients(plain, batch)
    without_prompts = batch | {
        "query_prompt_length": torch.zeros(4).long(),
        "key_prompt_length": torch.zeros(12).long(),
    }

    loss, gradients = loss_and_gradients(small, batch)

    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    assert loss != pytest.approx(plain.loss(without_prompts).item(), rel=1e-4)
    for found, expected in zip(gradients, wanted, strict=True):
        assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_is_the_same_when_a_mini_batch_is_encoded_again(checkpointing):
    batch = laid_out(training_batch(), "chunked")  # chunks of at most 5: the calls are the same
    settings = {"temperature": 0.5, "gradient_checkpointing": checkpointing}
    found = []
    for size in (None, 5):
        model = BiEncoder(bert_with_dropout(), mini_batch_size=size, **settings)
        torch.manual_seed(7)
        found.append((*loss_and_gradients(model, batch), torch.get_rng_state()))

    assert found[0][0] == found[1][0]
    for one in zip(found[0][1], found[1][1], strict=True):
        assert_close(*one, rtol=1e-5, atol=1e-6)
    assert torch.equal(found[0][2], found[1][2])  # the next step draws the same numbers


def test_mixed_precision_is_that_of_the_first_encoding():
    batch, found = laid_out(training_batch(), "chunked"), []
    for size in (None, 5):
        model = BiEncoder(tiny_bert(), temperature=0.5, mini_batch_size=size)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(batch)
            loss.backward()
        found.append([loss.detach(), *(one.grad for one in model.parameters())])

    assert found[0][0] != BiEncoder(tiny_bert(), temperature=0.5).loss(batch)
    for one in zip(*found, strict=True):
        assert_close(*one, rtol=2e-2, atol=1e-3)


def half_precision():
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))


@pytest.mark.parametrize(
    "settings",
    [
        lambda: {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
        lambda: {"plugins": [half_precision()], "gradient_clip_val": 1.0},
        lambda: {"precision": "bf16-mixed"},
    ],
    ids=["accumulated and clipped", "fp16 with a scaler", "bf16"],
)
def test_a_fit_ends_with_the_same_weights(settings):
    batches = [laid_out(training_batch(seed=seed), "chunked") for seed in range(4)]
    found = []
    for size in (None, 5):
        model = BiEncoder(
            tiny_bert(), learning_rate=0.01, warmup_ratio=0.5, temperature=0.5, mini_batch_size=size
        )
        trainer = quiet_trainer(max_epochs=1, **settings())
        trainer.fit(model, datamodule=Batches(batches))
        found.append({name: one.detach().clone() for name, one in model.named_parameters()})

    start = dict(BiEncoder(tiny_bert()).named_parameters())
    assert max(float((found[0][name] - one).abs().max()) for name, one in start.items()) > 1e-3
    for name, one in found[0].items():
        # AdamW divides by the gradient's size: a tiny gradient's rounding shows in full.
        assert (found[1][name] - one).abs().mean() < 1e-3


class Recorder(lightning.Callback):
    def __init__(self):
        self.gradients = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        named = pl_module.named_parameters()
        self.gradients.append({name: one.grad.clone() for name, one in named})


OPTIONS = {
    "symmetric": True,
    "matryoshka_dims": (4, 8),
    "matryoshka_weights": (1.0, 2.0),
    "false_negative_margin": -0.05,
}
STEPS = [training_batch("contrast", seed=1), training_batch("kl", seed=2)]
# A rank's batches are of one layout, and each rank's mini-batches differ in number.
CASES = [
    (layout, options, accumulate)
    for layout, options, accumulate in (
        ("padded", {}, 1),
        ("chunked", OPTIONS, 2),
        ("packed", OPTIONS, 1),
    )
]


def on_rank(rank):
    found = []
    for layout, options, accumulate in CASES:
        steps = [laid_out(share(step, rank, 2), layout) for step in STEPS]
        model = BiEncoder(
            tiny_bert(), temperature=0.2, learning_rate=0.0, mini_batch_size=2 + rank, **options
        )
        trainer = quiet_trainer(
            max_epochs=1,
            devices=2,
            strategy="ddp",
            accumulate_grad_batches=accumulate,
            callbacks=(recorder := Recorder()),
        )
        trainer.fit(model, datamodule=Batches(steps))
        found.append(recorder.gradients)
    return found


@pytest.mark.slow
@pytest.mark.ranks
def test_two_ranks_with_every_option_have_the_gradient_of_the_whole_batch(tmp_path):
    results = returned(run_on_ranks(on_rank, 2, tmp_path))
    for case, (_, options, accumulate) in enumerate(CASES):
        expected = []
        for step in STEPS:
            model = BiEncoder(tiny_bert(), temperature=0.2, **options)
            model.loss(step).backward()
            expected.append({name: one.grad for name, one in model.named_parameters()})
        if accumulate == 2:
            first, second = expected
            expected = [{name: (first[name] + second[name]) / 2 for name in first}]
        for result in results:
            assert len(result[case]) == len(expected)
            for found, wanted in zip(result[case], expected, strict=True):
                assert_close(found, wanted, atol=1e-5, rtol=1e-4)
