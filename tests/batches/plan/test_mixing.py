"""Mixing: each dataset has its share of an epoch's steps."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import METHODS

from llm_embedder_data import ConfigError, EpochPlan
from llm_embedder_data.batches.plan.mixing import Mixing


@st.composite
def mixed_plans(draw, methods=METHODS):
    """Draw a plan with a mixing, and the share that each dataset is to have."""
    n_ranks = draw(st.integers(1, 3))
    names = draw(st.lists(st.sampled_from("abcde"), min_size=1, unique=True))
    batch_size = {name: draw(st.integers(1, 5)) for name in names}
    sizes = {name: draw(st.integers(batch_size[name] * n_ranks, 60)) for name in names}
    if draw(st.booleans()):
        alpha = draw(st.floats(0, 1))
        setting = {"alpha": alpha}
        parts = {name: sizes[name] ** alpha for name in names}
    else:
        parts = {name: draw(st.integers(1, 50)) / 10 for name in names}
        setting = {"shares": parts}
    plan = EpochPlan(
        sizes,
        batch_size,
        n_ranks,
        draw(st.integers(0, 9)),
        draw(st.sampled_from(methods)),
        draw(st.integers(0, 3)),
        mixing=Mixing.of(setting),
    )
    total = sum(parts.values())
    return plan, {name: part / total for name, part in parts.items()}


@given(mixed_plans(methods=("epoch", "epoch-static", "epoch-random")))
def test_every_epoch_has_each_share_of_the_global_batches_within_one(mixed):
    plan, shares = mixed

    n_batches = Counter(dataset for dataset, _ in plan)

    assert n_batches.keys() == shares.keys()
    for name, share in shares.items():
        assert abs(n_batches[name] - share * len(plan)) < 1 + 1e-6


@given(mixed_plans())
def test_an_epoch_is_as_long_as_without_mixing_unless_a_share_is_less_than_a_step(mixed):
    plan, shares = mixed
    plain = EpochPlan(plan.sizes, plan.batch_size, plan.num_replicas)

    assert len(plan) >= len(plain)
    assert len(plan) == len(plain) or min(shares.values()) * (len(plan) - 1) < 1 + 1e-6


@given(mixed_plans(methods=("epoch", "epoch-static", "epoch-random")))
def test_mixing_is_a_choice_of_weights(mixed):
    plan, _ = mixed
    weighted = EpochPlan(
        plan.sizes,
        plan.batch_size,
        plan.num_replicas,
        plan.seed,
        plan.organize_method,
        plan.epoch,
        weights=plan.weights,
    )

    assert [(name, rows.tolist()) for name, rows in plan] == [
        (name, rows.tolist()) for name, rows in weighted
    ]


def test_freely_drawn_datasets_come_by_their_share():
    mixing = Mixing.of({"shares": {"small": 3, "large": 1}})
    plan = EpochPlan(
        {"small": 9, "large": 4000}, {"small": 5, "large": 2}, 1, 0, "random", mixing=mixing
    )

    n_batches = Counter(dataset for dataset, _ in plan)

    assert n_batches["small"] / len(plan) == pytest.approx(0.75, abs=0.04)


def test_the_temperature_is_one_over_alpha():
    sizes = {"a": 10_000, "b": 100}
    plan = EpochPlan(sizes, 10, mixing=Mixing.of({"temperature": 2}))

    assert plan.steps == EpochPlan(sizes, 10, mixing=Mixing.of({"alpha": 0.5})).steps
    assert plan.steps["a"] / plan.steps["b"] == pytest.approx(10, rel=0.02)  # the square root
    assert plan.weights["b"] == plan.steps["b"] / 10


@pytest.mark.parametrize(
    "setting",
    [
        {},
        [0.5],
        0.5,
        {"alpha": 1.5},
        {"alpha": -0.1},
        {"alpha": True},
        {"alpha": float("nan")},
        {"temperature": 0.5},
        {"shares": {}},
        {"shares": {"a": 0}},
        {"shares": {"a": 1, "b": 1e-7}},
        {"shares": {"a": "1"}},
        {"shares": {"a": 1e308, "b": 1e308}},
        {"alpha": 0.5, "shares": {"a": 1}},
        {"beta": 0.5},
    ],
)
def test_other_settings_are_refused(setting):
    with pytest.raises(ConfigError, match=r"data\.mixing=.*: expected null or a mapping with one"):
        Mixing.of(setting)


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ({"a": 1}, "data.mixing.shares has no share for b"),
        ({"a": 1, "b": 1, "bb": 1}, "data.mixing.shares names dataset 'bb', expected one of a, b"),
    ],
)
def test_shares_name_every_dataset_and_no_other(shares, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        EpochPlan({"a": 9, "b": 9}, 2, mixing=Mixing.of({"shares": shares}))


def test_a_weight_beside_the_mixing_is_refused():
    with pytest.raises(ConfigError, match=r"dataset 'a' has weight=2, but data\.mixing also says"):
        EpochPlan({"a": 9}, 2, weights={"a": 2}, mixing=Mixing.of({"alpha": 1}))
