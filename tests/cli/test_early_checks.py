"""Values that are refused before anything is loaded."""

import pytest


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("callbacks.progress=3", "callbacks.progress=3: expected a mapping with a _target_"),
        (
            "data.train_data=${nope}",
            "data.train_data='${nope}': Interpolation key 'nope' not found",
        ),
        ("data.batch_size=${oc.env:NO_SUCH}", "data.batch_size='${oc.env:NO_SUCH}': KeyError"),
        ("data.batch_size=${no_resolver:1}", "Unsupported interpolation type no_resolver"),
        ("data.batch_size=${data.batch_size}", "Recursive interpolation detected"),
        ("data.train_data=[${nope}]", "data.train_data.0='${nope}'"),
        (f"metrics_file={'x' * 300}", "File name too long (name another)"),
        (f"ckpt_path={'x' * 300}", "there is no such file"),
        ("metrics_file=~nobody-here/x.json", "there is no user with the home folder"),
        ("seed=abc", "seed='abc': expected a whole number"),
        ("seed=-1", "seed=-1: expected a whole number"),
        ("encoder=no/such/folder", "there is no such folder (give a folder that holds a model"),
        ("export=no", "export='no': expected true or false"),
        ("validate_before=0", "validate_before=0: expected true or false"),
        ("trainer.default_root_dir=/dev/null", "there is a file of that name (name a folder)"),
        ("trainer.default_root_dir=''", "trainer.default_root_dir='': expected the folder"),
        ('output_dir=""', "output_dir='': expected the folder for checkpoints, logs"),
        ("output_dir=3", "output_dir=3: expected the folder"),
        ("output_dir=/dev/null/out", "'/dev/null' is a file, not a folder"),
        ("encoder=3", "encoder=3: expected the folder of a model, or its name"),
        ("encoder=[a]", "encoder=['a']: expected the folder of a model"),
        ('encoder=""', "encoder='': expected the folder of a model"),
        ("encoder=./nowhere", "encoder='./nowhere': there is no such folder"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(refused, argument, sentence):
    assert sentence in refused("fit", argument)


def test_one_metrics_file_for_all_jobs_is_refused(refused):
    said = refused("fit", "-m", "seed=1,2", "metrics_file=metrics.json")

    assert "every job of --multirun would replace the file" in said
    assert "metrics_file='${output_dir}/metrics.json'" in said
