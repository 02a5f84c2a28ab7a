"""Keys that do not exist are refused, with the nearest key that does."""

import pytest


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("data.batchsize=64", "there is no key 'data.batchsize'; did you mean 'data.batch_size'?"),
        ("+data.batchsize=64", "there is no key 'data.batchsize'; did you mean 'data.batch_size'?"),
        ("trainr.devices=2", "there is no key 'trainr.devices'; did you mean 'trainer'?"),
        ("~data", "the verb needs data"),
        ("~encoder", "the verb needs encoder"),
        ("logger=null", "logger is a group, from which a name is chosen"),
        ("callbacks=[1]", "callbacks is a group, from which a name is chosen"),
        ("data@=1", "data is a group, from which a name is chosen"),
        ("recipe={a: 1}", "(data.recipe=... takes a path or a mapping; recipe.KEY=VALUE sets"),
        ("recipe=bgee", "the group recipe has no 'bgee'; there are auto, bge, e5"),
        ("logger=[csv,wandbb]", "csv, tensorboard, wandb; did you mean 'wandb'?"),
        ("experiment=dmo", "experiment=dmo: the group experiment has no 'dmo'; there are demo"),
    ],
)
def test_a_key_that_does_not_exist_is_named(refused, argument, sentence):
    assert sentence in refused("fit", argument)


def test_an_entry_of_a_mapping_that_is_null_by_default_needs_no_plus(run):
    printed = run("fit", "model.lora.r=4", "trainer.max_time.hours=2", "--cfg", "job")

    assert "  lora:\n    r: 4\n" in printed
    assert "  max_time:\n    hours: 2\n" in printed


def test_a_new_callback_needs_a_plus_and_the_message_says_so_alone(refused):
    said = refused("fit", "callbacks.mine._target_=users_classes.Recorder")

    assert "use +callbacks.mine._target_=users_classes.Recorder" in said
    assert "full_key" not in said
    assert "object_type" not in said
