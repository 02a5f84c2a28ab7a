"""``VERB --help``."""

import pytest


@pytest.mark.parametrize("verb", ["fit", "validate"])
def test_help_lists_keys_with_their_comments(run, verb):
    lines = run(verb, "--help", "data.batch_size=3", "recipe=bge").splitlines()

    for key, comment in (
        ("  batch_size: 3", "queries per rank and step"),
        ("metrics_file: null", "JSON file for the unrounded metrics"),
        ("  temperature: null", ""),
        ("  max_epochs: 1", ""),
    ):
        assert any(line.startswith(key) and comment in line for line in lines), key
    assert any(line.strip().startswith("recipe: auto, bge") for line in lines)


def test_help_of_a_setting_that_is_wrong_says_so(refused):
    assert "no key 'data.batchsize'" in refused("fit", "--help", "data.batchsize=3")
