"""Files written, and read as training rows, for the tests of files."""

import itertools
import json

import pytest

from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.schema.reading import read_file
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS, TRAIN_ROWS
from llm_embedder_data.rows.selection.train_settings import TrainSettings
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.sources import resolve_sources
from llm_embedder_data.rows.train_sets import build_train_sets

ROWS = [{"query": f"q {i}", "pos": [f"p {i}"], "neg": ["n"], "task": "qa"} for i in range(4)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)

COUNT = itertools.count()


def written(folder, content, name="train.jsonl"):
    path = folder / f"shape-{next(COUNT)}" / name
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines_of(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(path):
    return read_file(str(path), TRAIN_ROWS, cache_dir=path.parent / "cache")


def train(path, on_bad_row="raise", settings=None, **source):
    [resolved] = resolve_sources(
        {"path": str(path), **source}, setting="data.train_data", fields=TRAIN_FIELDS
    )
    [made] = build_train_sets(
        resolved,
        ReadingSettings(load_recipe("bge"), on_bad_row=on_bad_row, cache_dir=path.parent / "cache"),
        settings_of=lambda task: settings or TrainSettings(),
    )
    return made


def refused(call):
    with pytest.raises(DataError) as raised:
        call()
    return str(raised.value)
