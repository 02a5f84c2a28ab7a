"""The files beside a model: damaged ones, and those in the cache of the hub."""

import json
import re

import pytest
from convention_cases import AUTO
from transformers import BertConfig

import llm_embedder_data.config.model_files as model_files
from llm_embedder_data import ConfigError, RetrievalDataModule
from llm_embedder_data.config.model_pooling import pooled
from llm_embedder_data.config.model_prompts import with_conventions
from llm_embedder_data.config.recipes import Instruction


@pytest.mark.parametrize("name", ["config_sentence_transformers.json", "modules.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b"3", b'"text"', b"[{}]"])
def test_a_damaged_file_of_a_model_is_one_clear_error_or_says_nothing(tmp_path, name, content):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_bytes(content)

    with pytest.raises(ConfigError, match=re.escape(name)):
        RetrievalDataModule(str(folder)).recipe, pooled(str(folder), BertConfig())


def hub_cache(root, name, files, *, missing=()):
    """A model as Hugging Face's cache has it, with what it knows to be missing."""
    folder = root / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    for file, content in files.items():
        path = folder / "snapshots" / "abc" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    for file in missing:
        path = folder / ".no_exist" / "abc" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_name_on_the_hub_is_read_from_its_cache_without_a_network(tmp_path, monkeypatch):
    prompt_file = "config_sentence_transformers.json"
    hub_cache(tmp_path, "org/has", {prompt_file: {"prompts": {"query": "q: "}}})
    hub_cache(tmp_path, "org/lacks", {}, missing=[prompt_file, "modules.json"])
    hub_cache(tmp_path, "org/unknown", {})
    find = model_files.try_to_load_from_cache
    monkeypatch.setattr(
        model_files,
        "try_to_load_from_cache",
        lambda model, name: find(model, name, cache_dir=str(tmp_path)),
    )

    assert with_conventions(AUTO, "org/has").instruction("qa") == Instruction("q: ", "")
    assert "could not be fetched" not in with_conventions(AUTO, "org/lacks").origin
    # Not "none" without a word: the file may be there.
    assert "could not be fetched" in with_conventions(AUTO, "org/unknown").origin
