"""Batches dealt by length, out of files."""

import re
from itertools import pairwise

import numpy as np
import pytest
from datamodule_cases import Recorder, batches, make_datamodule, make_trainer, opened, write

from llm_embedder_data import ConfigError


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Queries and keys of one word to forty, as they come."""
    folder = tmp_path_factory.mktemp("mixed")
    lengths = np.random.default_rng(0).integers(1, 40, 96).tolist()
    rows = [
        {"query": "q" * n, "pos": ["p" * n + str(i)], "neg": ["n" * n + str(i)], "task": "qa"}
        for i, n in enumerate(lengths)
    ]
    write(folder / "qa" / "train.jsonl", rows)
    return folder


def mixed_module(folder, **arguments):
    settings = {
        "train_data": {"qa": str(folder / "qa" / "train.jsonl")},
        "pad_to_multiple_of": None,
        "query_max_length": 64,
        "key_max_length": 64,
    }
    return make_datamodule(folder, **(settings | arguments))


def padding_share(seen):
    masks = [batch[side]["attention_mask"] for batch in seen for side in ("query", "key")]
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def test_a_window_pads_less_and_takes_the_same_rows(mixed):
    without = batches(opened(mixed_module(mixed)))
    windowed = batches(opened(mixed_module(mixed, length_window=8)))

    assert padding_share(without) > 0.25
    assert padding_share(windowed) < 0.1
    assert {row for batch in windowed for row in batch["row"].tolist()} == set(range(96))


def test_rows_that_were_dropped_leave_the_lengths_of_the_others_alone(mixed):
    sampled = opened(mixed_module(mixed, length_window=10, max_sample_num=40, batch_size=4))
    lengths = np.random.default_rng(0).integers(1, 40, 96)  # as the fixture has them

    seen = [lengths[batch["row"].numpy()] for batch in batches(sampled)]

    spans = sorted((own.min(), own.max()) for own in seen)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_a_checkpoint_of_another_window_is_refused(folder, tmp_path):
    trainer = make_trainer(max_steps=3)
    trainer.fit(Recorder(), datamodule=make_datamodule(folder, length_window=2))
    trainer.save_checkpoint(tmp_path / "last.ckpt")

    with pytest.raises(ConfigError, match=re.escape("length_window\n  checkpoint: 2\n")):
        make_trainer(max_steps=6).fit(
            Recorder(),
            datamodule=make_datamodule(folder, length_window=3),
            ckpt_path=tmp_path / "last.ckpt",
        )


@pytest.mark.parametrize("value", [1, 0, 2.5, "many", True])
def test_a_window_is_a_whole_number_of_at_least_2(folder, value):
    sentence = f"data.length_window={value!r}: expected a whole number of at least 2, or null"

    with pytest.raises(ConfigError, match=re.escape(sentence)):
        make_datamodule(folder, length_window=value)


def test_random_order_has_no_windows(folder):
    with pytest.raises(ConfigError, match=r"length_window=2 with data\.organize_method='random'"):
        opened(make_datamodule(folder, length_window=2, organize_method="random"))
