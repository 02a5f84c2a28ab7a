"""LoRA adapters: few weights are trained and saved, and an export needs none of them."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf
from test_bi_encoder_layouts import laid_out, loss_and_gradients, qwen
from torch.testing import assert_close
from training_cases import Batches, quiet_trainer, texts, tiny_bert, training_batch
from transformers import AutoModel

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.training.bi_encoder import BiEncoder

peft = pytest.importorskip("peft")


@pytest.fixture
def saved_bert(tmp_path):
    tiny_bert().save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def trained(model, folder):
    """The model after two steps, and the path of its checkpoint."""
    keep = ModelCheckpoint(folder, save_last=True)
    trainer = quiet_trainer(max_epochs=1, enable_checkpointing=True, callbacks=keep)
    trainer.fit(model, datamodule=Batches([training_batch("both")] * 2))
    return Path(keep.last_model_path)


def adapted(encoder):
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="FEATURE_EXTRACTION")
    return peft.get_peft_model(encoder, config)


def lora_model(encoder, **settings):
    return BiEncoder(
        encoder, lora={"r": 4}, learning_rate=0.05, warmup_ratio=0.0, pooling="mean", **settings
    )


def test_only_adapters_are_trained(saved_bert, tmp_path):
    model = lora_model(saved_bert)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    trained(model, tmp_path / "checkpoints")

    for name, one in model.named_parameters():
        assert one.requires_grad == ("lora_" in name)
        assert torch.equal(one, before[name]) == ("lora_" not in name)
    assert "attention.self.query.lora_A" in " ".join(before)
    assert "intermediate.dense.lora_A" in " ".join(before)  # all linear layers


def test_a_checkpoint_holds_adapters_alone_and_loads_again(saved_bert, tmp_path):
    settings = OmegaConf.create({"r": 4})
    model = BiEncoder(saved_bert, lora=settings, learning_rate=0.05, warmup_ratio=0.0)
    path = trained(model, tmp_path / "checkpoints")
    state = torch.load(path, weights_only=True)["state_dict"]

    assert state
    assert all("lora_" in name for name in state)
    loaded = BiEncoder.load_from_checkpoint(path)
    assert loaded.hparams["lora"] == {"r": 4}
    inputs = texts(3, seed=0)
    assert_close(loaded.eval().encode(inputs), model.eval().encode(inputs), atol=0, rtol=0)


def test_a_fit_goes_on_from_adapters_alone(saved_bert, tmp_path):
    path = trained(lora_model(saved_bert), tmp_path / "checkpoints")
    trainer = quiet_trainer(max_epochs=2)
    trainer.fit(
        lora_model(saved_bert), datamodule=Batches([training_batch("both")] * 2), ckpt_path=path
    )

    assert trainer.global_step == 4


def test_a_checkpoint_may_hold_all_weights(saved_bert, tmp_path):
    path = trained(lora_model(saved_bert, save_base_weights=True), tmp_path / "checkpoints")

    state = torch.load(path, weights_only=True)["state_dict"]
    assert any("word_embeddings" in name for name in state)


def test_adapters_are_refused_beside_other_base_weights(saved_bert, tmp_path):
    path = trained(lora_model(saved_bert), tmp_path / "checkpoints")
    tiny_bert(seed=1).save_pretrained(saved_bert)

    with pytest.raises(ConfigError, match="only adapters, and they were trained with other frozen"):
        BiEncoder.load_from_checkpoint(path)


def test_an_export_holds_the_merged_weights(saved_bert, tmp_path):
    model = lora_model(saved_bert)
    trained(model, tmp_path / "checkpoints")
    inputs = texts(5, seed=0)
    expected = model.eval().encode(inputs)

    model.export(tmp_path / "out")

    loaded = AutoModel.from_pretrained(tmp_path / "out")
    assert not [name for name in loaded.state_dict() if "lora" in name or "base_layer" in name]
    assert any(name.startswith("pooler.") for name in loaded.state_dict())
    assert_close(BiEncoder(loaded, pooling="mean").eval().encode(inputs), expected)
    assert not torch.allclose(
        BiEncoder(saved_bert, pooling="mean").eval().encode(inputs), expected, atol=1e-3
    )
    assert torch.equal(model.encode(inputs), expected)  # it can be trained further


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("layout", ["padded", "chunked", "packed"])
@pytest.mark.parametrize(("make", "pooling"), [(tiny_bert, "mean"), (qwen, "last")])
def test_a_peft_model_is_an_encoder_in_any_layout(make, pooling, layout, size):
    torch.manual_seed(0)
    model = BiEncoder(adapted(make()), pooling=pooling, temperature=0.5, mini_batch_size=size)
    plain = BiEncoder(model.encoder, pooling=pooling, temperature=0.5)
    batch = training_batch("both")
    wanted_loss, wanted = loss_and_gradients(plain, batch)

    loss, gradients = loss_and_gradients(model, laid_out(batch, layout))

    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    assert 0 < len(wanted) < len(list(model.parameters()))
    for found, expected in zip(gradients, wanted, strict=True):
        assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_folder_of_adapters_is_trained_further(saved_bert, tmp_path):
    encoder = adapted(AutoModel.from_pretrained(saved_bert))
    for name, one in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(one)
    encoder.save_pretrained(tmp_path / "adapters")
    model = BiEncoder(tmp_path / "adapters", pooling="mean")

    assert any(one.requires_grad for one in model.parameters())
    inputs = texts(3, seed=0)
    assert_close(
        model.eval().encode(inputs), BiEncoder(encoder, pooling="mean").eval().encode(inputs)
    )


def test_gradient_checkpointing_reaches_the_adapters():
    batch, found = training_batch("both"), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = BiEncoder(tiny_bert(), lora={"r": 4}, gradient_checkpointing=checkpointing)
        found.append(loss_and_gradients(model, batch)[1])

    assert any(one.abs().max() > 0 for one in found[0])
    for one in zip(*found, strict=True):
        assert_close(*one)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 3}, r"model\.lora\.rank: LoraConfig has no such argument"),
        ({"r": "four"}, r"model\.lora\.r='four': expected a whole number"),
        ({"r": None}, r"model\.lora\.r=None: expected a whole number"),
        ({"bias": "some"}, r"model\.lora\.bias='some': expected none, all or lora_only"),
        ({"r": 0}, r"model\.lora=\{'r': 0\}: "),
        (8, r"model\.lora=8: expected arguments of peft\.LoraConfig"),
        (
            {"target_modules": ["nothing"]},
            r"model\.lora=\{'target_modules': \['nothing'\]\}: .*not found",
        ),
    ],
)
def test_wrong_settings_are_named(lora, message):
    with pytest.raises(ConfigError, match=message):
        BiEncoder(tiny_bert(), lora=lora)


def test_adapters_on_adapters_are_refused():
    with pytest.raises(ConfigError, match=r"model\.lora: the encoder is a PeftModel already"):
        BiEncoder(adapted(tiny_bert()), lora={"r": 4})


@pytest.mark.filterwarnings("error")
def test_activation_checkpointing_warns_of_nothing(saved_bert):
    lora_model(saved_bert, gradient_checkpointing=True)
