"""Verbs run as functions on a composed configuration, as in a notebook, without a job of Hydra."""

import pytest
from cli_cases import write_rows
from hydra.core.hydra_config import HydraConfig

from llm_embedder_data.cli.verbs.embed import embed
from llm_embedder_data.cli.verbs.export import export
from llm_embedder_data.cli.verbs.score import score
from llm_embedder_data.config.composing import load_config


@pytest.fixture
def composed(tiny, tmp_path, monkeypatch):
    """Compose a verb's configuration where no job of Hydra ever ran."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    folder = write_rows(tmp_path / "data")

    def compose(verb, out, **settings):
        paths = {name: f"{folder}/{file}" for name, file in settings.items()}
        return load_config(
            [
                f"encoder={tiny}",
                f"data.cache_dir={tmp_path}/cache",
                "trainer.accelerator=cpu",
                f"out={tmp_path}/{out}",
                *(f"data.{name}={path}" for name, path in paths.items()),
                *([f"teacher={tiny}", "kind=bi-encoder"] if verb == "score" else []),
            ],
            config_name=verb,
            output_dir=str(tmp_path / "outputs"),
        )

    return compose


def test_embed(composed, tmp_path):
    embed(composed("embed", "store", corpus="corpus.jsonl"))

    [store] = (tmp_path / "store").iterdir()
    assert (store / "store.json").is_file()


def test_score(composed, tmp_path):
    score(composed("score", "scores.jsonl", train_data="train.jsonl"))

    assert (tmp_path / "scores.jsonl").read_text()


def test_export(composed, tmp_path):
    export(composed("export", "exported"))

    assert (tmp_path / "exported" / "modules.json").is_file()
