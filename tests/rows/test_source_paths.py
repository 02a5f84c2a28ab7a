"""Paths that are not files of rows."""

import pytest
from file_cases import ROWS, refused

from llm_embedder_data.config import ConfigError
from llm_embedder_data.rows.reading import read_file
from llm_embedder_data.rows.schema.train import TRAIN_ROWS
from llm_embedder_data.rows.sources import resolve_sources


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/a.jsonl", "hf://datasets/x/y", "http://x.org/a.jsonl", "gs://b/*.jsonl"],
)
@pytest.mark.parametrize("form", [str, lambda path: {"a": path}, lambda path: [path]])
def test_the_error_for_a_url_says_that_it_is_one(address, form):
    with pytest.raises(ConfigError, match="is a URL, and URLs are not read") as raised:
        resolve_sources(form(address), setting="data.train_data", fields=())

    assert address in str(raised.value)


def test_the_error_for_a_hub_name_says_that_it_is_one():
    message = refused(lambda: resolve_sources("BAAI/bge-m3-data", setting="data.x", fields=()))

    assert "no such file" in message
    assert "hf download BAAI/bge-m3-data" in message


def test_the_error_for_a_save_to_disk_folder_says_that_it_is_one(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": rows, "dev": rows}).save_to_disk(tmp_path / "splits")

    message = refused(lambda: resolve_sources(str(tmp_path / "saved"), setting="data.x", fields=()))
    assert f"{{saved: {tmp_path}/saved/data-*.arrow}}" in message
    message = refused(
        lambda: resolve_sources(str(tmp_path / "splits"), setting="data.x", fields=())
    )
    assert "DatasetDict that save_to_disk wrote, of dev, train" in message

    [source] = resolve_sources({"a": f"{tmp_path}/saved/data-*.arrow"}, setting="data.x", fields=())
    made = read_file(source.files[0], TRAIN_ROWS, cache_dir=tmp_path / "cache")
    assert made["query"] == ["q 0", "q 1", "q 2", "q 3"]
