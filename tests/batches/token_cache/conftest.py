"""Fixtures of the token cache."""

import pytest

from llm_embedder_data.batches.token_cache import growing_table


@pytest.fixture(autouse=True)
def small_records(monkeypatch):
    monkeypatch.setattr(growing_table, "_RECORD_EVERY", 100)
