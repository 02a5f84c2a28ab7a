"""``metrics_file``: a path that cannot be written, metrics by dataset."""

import pytest

from llm_embedder_data.cli.metrics_file import by_dataset


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("data", "is a folder"),
        ("' '", "expected the path of a file"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_at_once(
    refused, settings, evaluation, value, sentence
):
    assert sentence in refused("validate", *settings, *evaluation, f"metrics_file={value}")


def test_metrics_are_grouped_by_dataset_and_what_is_no_number_is_null():
    logged = {"val/a/b/mrr@10": 1.0, "val/qa/ndcg@10": float("nan"), "val/ndcg@10": 1.0, "loss": 2}

    assert by_dataset(logged) == {"a/b": {"mrr@10": 1.0}, "qa": {"ndcg@10": None}}
