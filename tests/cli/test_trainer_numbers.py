"""Numbers of the trainer that Lightning would take, and fail with or ignore, are refused."""

import pytest

from llm_embedder_data.cli.trainer_numbers import check_trainer_numbers

ITS_TARGET = {"_target_": "lightning.pytorch.Trainer"}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["accumulate_grad_batches=0"], "expected a number of at least 1"),
        (["check_val_every_n_epoch=0"], "expected a number of at least 1"),
        (["log_every_n_steps=-1"], "trainer.log_every_n_steps=-1: expected a number of at least 0"),
        (["num_sanity_val_steps=-2"], "expected a number of at least -1"),
        (["gradient_clip_val=-0.5"], "trainer.gradient_clip_val=-0.5: expected a number"),
        (["val_check_interval=0"], "trainer.limit_val_batches=0 turns validation off"),
        (
            ["min_epochs=3", "max_epochs=2"],
            "trainer.min_epochs=3 is more than trainer.max_epochs=2",
        ),
        (["min_steps=3", "max_steps=2"], "trainer.min_steps=3 is more than trainer.max_steps=2"),
        (
            ["overfit_batches=2", "limit_val_batches=5"],
            "trainer.limit_val_batches=5 has no effect beside trainer.overfit_batches=2",
        ),
        (
            ["max_time={second: 1}"],
            "trainer.max_time='second': expected one of weeks, days, hours",
        ),
        (
            ["gradient_clip_val=null", "gradient_clip_algorithm=norm"],
            "no gradient is clipped, as trainer.gradient_clip_val=null",
        ),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused_at_once(refused, overrides, sentence):
    assert sentence in refused("fit", *(f"trainer.{override}" for override in overrides))


@pytest.mark.parametrize(
    "given",
    [
        {"min_steps": 3, "max_steps": -1},
        {"min_epochs": 3, "max_epochs": None},
        {"min_epochs": 2, "max_epochs": 2},
        {"val_check_interval": False},  # left to the check of types
        {"accumulate_grad_batches": "many"},
        {"overfit_batches": 0.0, "limit_val_batches": 5},
        {"num_sanity_val_steps": -1, "log_every_n_steps": 0, "gradient_clip_val": 0},
    ],
)
def test_what_lightning_reads_as_it_stands_is_left_alone(given):
    check_trainer_numbers({**ITS_TARGET, **given})


def test_a_trainer_of_the_user_may_mean_something_else():
    check_trainer_numbers({"_target_": "mine.Trainer", "accumulate_grad_batches": 0})
