"""ExportEncoder writes the model of a fit, and the fit goes on as if it had not."""

import json

import lightning
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_models import ONE_LAYER, save_bert
from torch.testing import assert_close

from llm_embedder_data import BiEncoder, ConfigError, RetrievalDataModule
from llm_embedder_data.callbacks.export_encoder import ExportEncoder


@pytest.fixture(scope="module")
def bert(minilm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    return save_bert(folder, minilm, max_position_embeddings=32, **ONE_LAYER)


class Worse(lightning.Callback):
    """Logs a value that is best at the first validation."""

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("worse", -float(trainer.global_step))


@pytest.fixture
def fit(bert, tmp_path):
    """Fit for some steps, a validation after each two, with a callback that exports."""
    lines = [{"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"n {i}"]} for i in range(16)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def call(callback, *, steps=4, ckpt_path=None, validates=True, **settings):
        data = RetrievalDataModule(
            bert,
            train_data={"mine": f"{tmp_path}/train.jsonl"},
            eval_data={"mine": lines[:4]} if validates else None,
            eval_method="rerank",
            batch_size=2,
            train_group_size=2,
            query_max_length=16,
            key_max_length=16,
            cache_dir=tmp_path / "cache",
        )
        lightning.seed_everything(1, verbose=False)
        model = BiEncoder(bert, learning_rate=0.01, schedule="constant", warmup_ratio=0)
        keep = ModelCheckpoint(tmp_path / "checkpoints", save_last=True)
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=steps,
            val_check_interval=2 if validates else None,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Worse(), *([callback] if callback else []), keep],
            **settings,
        )
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
        return model, keep.last_model_path

    return call


def weights(folder):
    return BiEncoder(str(folder)).encoder.state_dict()


@pytest.mark.parametrize("which", ["last", "best", "every"])
def test_the_folder_has_the_weights_of_its_moment_and_the_fit_is_the_same(fit, tmp_path, which):
    expected, _ = fit(None)

    model, _ = fit(ExportEncoder(tmp_path / "out", which, monitor="val/mrr@10"))

    assert_close(model.state_dict(), expected.state_dict(), atol=0, rtol=0)
    if which == "every":
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == ["step-000002", "step-000004"]
        first, _ = fit(None, steps=2)
        assert_close(
            weights(tmp_path / "out/step-000002"), first.encoder.state_dict(), atol=0, rtol=0
        )
    last = tmp_path / {"every": "out/step-000004"}.get(which, "out")
    if which != "best":
        assert_close(weights(last), model.encoder.state_dict(), atol=0, rtol=0)
    assert "| optimizer steps |" in (last / "README.md").read_text()


def test_best_is_the_best_so_far_and_stays_so_after_a_resume(fit, tmp_path):
    def best():
        return ExportEncoder(tmp_path / "out", "best", monitor="worse")

    first, _ = fit(None, steps=2)
    _, checkpoint = fit(best())
    assert_close(weights(tmp_path / "out"), first.encoder.state_dict(), atol=0, rtol=0)
    fit(best(), steps=6, ckpt_path=checkpoint)

    assert_close(weights(tmp_path / "out"), first.encoder.state_dict(), atol=0, rtol=0)


def test_a_folder_with_files_is_refused_before_the_first_step(fit, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").touch()

    with pytest.raises(ConfigError, match="exists and has files"):
        fit(ExportEncoder(tmp_path / "out"), steps=4)

    assert not (tmp_path / "checkpoints").exists()


def test_a_resumed_fit_writes_the_folder_of_a_step_again(fit, tmp_path):
    _, checkpoint = fit(ExportEncoder(tmp_path / "more", "every"), steps=2)
    fit(ExportEncoder(tmp_path / "more", "every"), steps=4, ckpt_path=checkpoint)
    fit(ExportEncoder(tmp_path / "more", "every"), steps=4, ckpt_path=checkpoint)

    assert sorted(path.name for path in (tmp_path / "more").iterdir()) == [
        "step-000002",
        "step-000004",
    ]
    with pytest.raises(ConfigError, match="exists and has files"):
        fit(ExportEncoder(tmp_path / "more", "every"))


def test_a_name_that_is_not_logged_is_one_sentence(fit, tmp_path):
    with pytest.raises(ConfigError, match=r"monitor='val/map' was not logged; there are .*mrr@10"):
        fit(ExportEncoder(tmp_path / "out", "best", monitor="val/map"))


def test_a_fit_without_validation_says_that_nothing_was_exported(fit, tmp_path):
    with pytest.warns(UserWarning, match="exported nothing"):
        fit(ExportEncoder(tmp_path / "out", "best"), validates=False)


def test_choices_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="which='first': expected one of last, best, every"):
        ExportEncoder(tmp_path, "first")
