"""Values that are refused before anything is loaded."""

import pytest


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("callbacks.progress=3", "callbacks.progress=3: expected a mapping with a _target_"),
        ("data.train_data=${nope}", "Interpolation key 'nope' not found"),
        ("seed=abc", "seed='abc': expected a whole number"),
        ("seed=-1", "seed=-1: expected a whole number"),
        ("encoder=no/such/folder", "there is no such folder (give a folder that holds a model"),
        ("encoder=./nowhere", "encoder='./nowhere': there is no such folder"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(refused, argument, sentence):
    assert sentence in refused("fit", argument)


def test_one_metrics_file_for_all_jobs_is_refused(refused):
    said = refused("fit", "-m", "seed=1,2", "metrics_file=metrics.json")

    assert "every job of --multirun would replace the file" in said
    assert "metrics_file='${output_dir}/metrics.json'" in said
