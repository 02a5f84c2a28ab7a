"""Paths that are not files of rows."""

import re
from pathlib import Path

import fsspec
import pytest
from file_cases import ROWS, refused

from llm_embedder_data.config import ConfigError
from llm_embedder_data.rows.schema.reading import read_file
from llm_embedder_data.rows.schema.train import TRAIN_ROWS
from llm_embedder_data.rows.sources.sources import resolve_sources


@pytest.mark.parametrize("form", [str, lambda path: {"a": path}, lambda path: [path]])
def test_a_file_behind_an_address_is_fetched_into_the_cache(tmp_path, form):
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/bucket/train.jsonl", b'{"query": "q", "pos": ["p"]}\n')

    [source] = resolve_sources(
        form("memory://bucket/train.jsonl"),
        setting="data.train_data",
        fields=(),
        cache_dir=tmp_path / "cache",
    )

    assert Path(source.files[0]).is_relative_to(tmp_path / "cache")
    assert Path(source.files[0]).read_bytes() == filesystem.cat("/bucket/train.jsonl")


def test_an_address_without_its_package_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=re.escape("data.x=nope://a/b.jsonl: ")):
        resolve_sources("nope://a/b.jsonl", setting="data.x", fields=(), cache_dir=tmp_path)


def test_the_error_for_a_hub_name_says_that_it_is_one():
    message = refused(lambda: resolve_sources("BAAI/bge-m3-data", setting="data.x", fields=()))

    assert "no such file" in message
    assert "hf://datasets/BAAI/bge-m3-data" in message


def test_a_folder_of_save_to_disk_is_one_dataset(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": rows, "dev": rows}).save_to_disk(tmp_path / "splits")

    for name in ("saved", "splits"):
        [source] = resolve_sources(str(tmp_path / name), setting="data.x", fields=())
        assert (source.name, source.files) == (name, (str(tmp_path / name),))

    [source] = resolve_sources({"a": f"{tmp_path}/saved/data-*.arrow"}, setting="data.x", fields=())
    made = read_file(source.files[0], TRAIN_ROWS, cache_dir=tmp_path / "cache")
    assert made["query"] == ["q 0", "q 1", "q 2", "q 3"]
