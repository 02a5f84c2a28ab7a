"""Batches of rows that name documents by id are those of the same rows written out as texts."""

import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from datamodule_cases import RECIPE, make_datamodule, opened, write
from hypothesis import given, settings
from hypothesis import strategies as st
from id_cases import FORMATS, N_PASSAGES, SCORED_ONLY, passage_text, plain, rows_of, two_corpora

from llm_embedder_data import read_rows
from llm_embedder_data.batches.plan.sampler import BatchIndex
from llm_embedder_data.rows.written_rows import write_rows

NO_INSTRUCTIONS = {"instruction": {"qa": {"query": "", "key": ""}}}


def as_texts(folder, source):
    """The same rows with texts in place of ids, in a file that names no corpus."""
    path = folder / "texts" / "a.jsonl"
    path.parent.mkdir(exist_ok=True)
    settings = dict(source) if isinstance(source, dict) else {"path": source}
    write_rows(read_rows(settings.pop("path"), **settings), path, "train")
    return str(path)


def batches(folder, source, epochs=1, **arguments):
    datamodule = opened(make_datamodule(folder, train_data={"a": source}, **arguments))
    loader = datamodule.train_dataloader()
    found = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        found += list(loader)
    return found, datamodule


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])


def assert_same(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one.nan_to_num(nan=-1), other.nan_to_num(nan=-1))
    else:
        assert one == other


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
@pytest.mark.parametrize("name", FORMATS)
def test_batches_of_every_format_of_ids_are_those_of_texts(tmp_path, name, tokenize):
    source = FORMATS[name](tmp_path, rows_of(scored=name in SCORED_ONLY))
    arguments = {"tokenize": tokenize, "recipe": RECIPE, "epochs": 2}

    found, by_id = batches(tmp_path, source, **arguments)
    expected, by_text = batches(tmp_path, as_texts(tmp_path, source), **arguments)

    assert by_id.train_sets()["a"].passages is not None
    assert by_text.train_sets()["a"].passages is None
    assert_equal(found, expected)


@settings(max_examples=40)
@given(
    scored=st.booleans(),
    on_disk=st.booleans(),
    layout=st.sampled_from(["padded", "chunked", "packed"]),
    cross=st.booleans(),
    choice=st.sampled_from(["first", "random", "teacher", "teacher-pos"]),
    negatives=st.sampled_from(["first", "random", "teacher+", "teacher-"]),
    group_size=st.integers(2, 9),
    more=st.sampled_from(
        [
            {},
            {"length_window": 2},
            {"on_no_negatives": "keep", "max_sample_num": 14},
            {"teacher_scores_margin": 1.0, "stable_distill": True},
            {"add_instruction": False, "unique_keys": True},
            {"relative_margin": 0.1, "range_max": 4},
        ]
    ),
    seed=st.integers(0, 99),
)
def test_batches_of_ids_are_those_of_texts(
    tmp_path, scored, on_disk, layout, cross, choice, negatives, group_size, more, seed
):
    if not scored:
        more = {n: v for n, v in more.items() if n.split("_")[0] in ("length", "on", "add", "unique", "max")}
        choice, negatives = choice.split("-")[0].replace("teacher", "first"), negatives[:6].rstrip("+-")
        negatives = negatives if negatives in ("first", "random") else "random"
    if cross:
        more = {name: value for name, value in more.items() if name != "unique_keys"}
        layout = "padded" if layout == "packed" else layout
    folder = tmp_path / ("scored" if scored else "plain")
    folder.mkdir(exist_ok=True)
    source = plain(folder, rows_of(scored=scored))
    arguments = {
        "tokenize": "cached" if on_disk else "on-the-fly",
        "layout": layout,
        "cross": cross,
        "select_positive": choice,
        "select_negative": negatives,
        "train_group_size": group_size,
        "seed": seed,
        **more,
    }

    found, _ = batches(folder, source, **arguments)
    expected, _ = batches(folder, as_texts(folder, source), **arguments)

    assert_equal(found, expected)
