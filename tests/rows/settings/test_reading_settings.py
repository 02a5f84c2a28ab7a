"""The settings with which sources are read, and the cache folder that they stand for."""

from pathlib import Path

import datasets

from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.rows.settings.cache_folder import cache_folder
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings


def test_the_default_cache_folder_moves_with_that_of_datasets(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))

    assert cache_folder() == tmp_path / "llm_embedder_data"
    assert ReadingSettings(load_recipe("bge")).cache_folder == tmp_path / "llm_embedder_data"


def test_a_given_cache_folder_is_used_and_its_tilde_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")

    assert cache_folder("~/cache") == Path("/home/someone/cache")
    assert cache_folder(Path("/data/cache")) == Path("/data/cache")
