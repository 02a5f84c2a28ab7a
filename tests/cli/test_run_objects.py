"""Objects of a run: classes of the user, callbacks that are left out, objects that refuse."""

from pathlib import Path

import pytest
from cli_cases import small
from lightning.pytorch.callbacks import Checkpoint, ProgressBar

RECORDER = "+callbacks.mine._target_=users_classes.Recorder"


@pytest.mark.parametrize("first", [True, False])
def test_classes_of_the_user_take_arguments_of_their_own(run, settings, seen, first):
    own = ["model._target_=users_classes.OwnModel"]
    more = ["model.lr=0.25", "model.width=8"]
    more += ["model.part={_target_: users_classes.OwnPart, size: 3}"]
    more += ["callbacks.mine.tag=a", "trainer._target_=users_classes.OwnTrainer"]
    run("fit", *settings, *([*own, *more] if first else [*more, *own]), RECORDER)

    [trainer] = seen
    assert type(trainer).__name__ == "OwnTrainer"
    assert trainer.lightning_module.part.size == 3
    assert trainer.global_step == 2


def test_an_argument_that_the_users_class_has_not_is_refused(refused, settings):
    own = "model._target_=users_classes.OwnModel"
    said = refused("fit", *settings, own, "+model.width=8", "model.lrr=1")

    assert "model.lrr: OwnModel has no such argument; did you mean 'lr'?" in said


def test_callbacks_that_are_taken_out_are_out(run, settings, seen):
    run("fit", *settings, RECORDER)
    run("fit", *settings, RECORDER, "~callbacks.progress", "~callbacks.checkpoint")

    for trainer, is_there in zip(seen, (True, False), strict=True):
        for kind in (ProgressBar, Checkpoint):
            assert any(isinstance(callback, kind) for callback in trainer.callbacks) == is_there


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.train_data", "{{mine: {{path: {}}}}}"),
        ("encoder", "{}"),
        ("recipe.tasks", "{{qa: {}}}"),
        ("+callbacks.mine", "{}"),
        ("ckpt_path", "{}"),
        ("metrics_file", "{}"),
    ],
)
def test_the_console_runs_no_target_either(refused, settings, bomb, key, value):
    value = value.format("{_target_: bomb.Made}")
    others = [setting for setting in settings if not setting.startswith(f"{key}=")]
    said = refused("fit", *others, f"{key}={value}")

    assert "bomb.Made" in said
    assert not bomb.exists()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "data.select_positive=frist",
            "data.select_positive='frist': expected one of first",
        ),
        ("data.layout=pakced", "data.layout='pakced': expected one of"),
        ("data.organize_method=epoc", "did you mean 'epoch'?"),
        ("data.train_data=nothing.jsonl", "there is no such file"),
        ("data.recipe=bgee", "recipe='bgee': expected one of auto, bge"),
        ("trainer.devices=two", "trainer: lightning.pytorch.Trainer cannot be made: "),
        ("trainer.devices=true", "trainer.devices=True: expected a list, text or a whole number"),
        ("trainer.max_steps=nan", "trainer.max_steps=nan: expected a whole number"),
        (
            "callbacks.checkpoint.save_top_k=all",
            "callbacks.checkpoint.save_top_k='all': expected a whole number",
        ),
        (
            "+callbacks.figures={_target_: llm_embedder_data.callbacks.data_figures.DataFigures, "
            "every_n_steps: 0}",
            "callbacks.figures.every_n_steps=0: expected a whole number of at least 1",
        ),
        ("callbacks.checkpoint.dirpath=/dev/null/x", "'/dev/null' is a file, not a folder"),
        ("logger.csv.save_dir=''", "logger.csv.save_dir='': expected the folder"),
        ("model.recipe={a: 1}", "model.recipe: unknown key 'a'"),
        ("model.recipe=3", "model.recipe=3: expected a name"),
        ("model.matryoshka_dims=[true]", "expected one or more different integers"),
        ("model._target_=os.system", "model._target_='os.system' is no LightningModule"),
        (
            "+trainer.plugins._target_=os.getcwd",
            "_target_='os.getcwd' is not a class",
        ),
    ],
)
def test_a_value_that_an_object_refuses_ends_in_one_sentence(
    refused, tiny, sample_dir, override, sentence
):
    data = f"data.train_data={sample_dir}/tool/train.jsonl"
    said = refused("fit", *small(tiny), data, override)

    assert sentence in said


@pytest.mark.parametrize("switch", ["trainer.enable_checkpointing=false", "trainer.barebones=true"])
def test_a_switch_of_the_trainer_takes_default_callbacks_out(run, settings, seen, switch):
    run("fit", *settings, switch, "+callbacks.recorder._target_=users_classes.Recorder")

    [trainer] = seen
    assert trainer.checkpoint_callback is None
    assert trainer.barebones is (switch == "trainer.barebones=true")
    assert [*Path().rglob("*.ckpt")] == []


def test_without_batches_of_validation_nothing_is_measured(run, refused, settings, evaluation):
    no_batches = [*settings, *evaluation, "trainer.limit_val_batches=0"]

    assert "trainer.limit_val_batches=0: there is nothing to validate on" in refused(
        "validate", *no_batches
    )
    assert "nothing is measured for metrics_file='x.json'" in refused(
        "fit", *no_batches, "metrics_file=x.json"
    )
    assert "Retrieval metrics" not in run("fit", *no_batches)
