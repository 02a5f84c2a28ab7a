"""Paths in a home folder."""

from pathlib import Path

import pytest

from llm_embedder_data import ConfigError
from llm_embedder_data.core.home_paths import with_home


def test_a_home_folder_is_found_and_other_paths_stay_as_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert with_home("~/rows.jsonl") == tmp_path / "rows.jsonl"
    assert with_home("a/~b") == Path("a/~b")
    assert with_home("./~b").name == "~b"


def test_a_user_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match=r"'~nobody-here/x': there is no user"):
        with_home("~nobody-here/x")
