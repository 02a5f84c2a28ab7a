"""``pkg://`` paths: files inside an installed package, without importing it."""

import sys

import pytest

from llm_embedder_data import ConfigError, DataError, RetrievalDataModule


@pytest.fixture
def mined(tmp_path, monkeypatch):
    """Installed packages that leave a file behind when they are imported."""
    for folder in ("mined", "mined/sub", "mined/bare"):
        (tmp_path / "modules" / folder).mkdir(parents=True)
        (tmp_path / "modules" / folder / "train.jsonl").write_text("{}\n")
        if folder != "mined/bare":
            text = 'from pathlib import Path\nPath("boom").touch()\n'
            (tmp_path / "modules" / folder / "__init__.py").write_text(text)
    (tmp_path / "modules/mined/one.py").write_text('open("boom", "w")')
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return tmp_path / "boom"


@pytest.mark.parametrize(
    "path",
    [
        "pkg://",
        "pkg:///",
        "pkg:///train.jsonl",
        "pkg://nowhere",
        "pkg://nowhere/train.jsonl",
        "pkg://nowhere.sub/train.jsonl",
        "pkg://mined.nowhere/train.jsonl",
        "pkg://mined.one/train.jsonl",
        "pkg://mined.one.more/train.jsonl",
        "pkg://mined/nothing.jsonl",
        "pkg://mined/*.parquet",
        "pkg://mined/../modules/mined/train.jsonl",
        "pkg://mined//etc/passwd",
        "pkg://.mined/train.jsonl",
        "pkg://mined./train.jsonl",
        "pkg://mined..sub/train.jsonl",
        "pkg://mi ned/train.jsonl",
        "pkg://mined-sub/train.jsonl",
        "pkg://sys/train.jsonl",
        "pkg://json.decoder/train.jsonl",
        "pkg://\x1b[31m/train.jsonl",
        "PKG://mined/train.jsonl",
        "pkg:/mined/train.jsonl",
    ],
)
def test_a_path_into_a_missing_package_is_a_clear_error(minilm, mined, path):
    data = RetrievalDataModule(minilm, train_data=path, cache_dir=mined.parent / "cache")

    with pytest.raises((ConfigError, DataError)) as refusal:
        data.prepare_data()

    said = str(refusal.value)
    assert repr(path)[1:-1] in said
    assert "\n" not in said
    assert not mined.exists()
    assert not {name for name in sys.modules if name.startswith("mined")}


def test_a_path_into_a_package_imports_nothing(minilm, mined):
    for package in ("mined", "mined.sub", "mined.bare"):
        path = f"pkg://{package}/train.jsonl"
        data = RetrievalDataModule(minilm, train_data=path, cache_dir=mined.parent / "cache")
        with pytest.raises(DataError, match="query"):  # the file was read: its row has none
            data.prepare_data()
    data = RetrievalDataModule(minilm, train_data="pkg://mined.nowhere/train.jsonl")
    with pytest.raises(ConfigError, match=r"there is no package 'mined\.nowhere'"):
        data.prepare_data()

    assert not mined.exists()
