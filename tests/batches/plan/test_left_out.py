"""The rows that an epoch leaves out, against the plan itself."""

import numpy as np
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from strategies import shared_texts_of

from llm_embedder_data import ConfigError, EpochPlan
from llm_embedder_data.batches.plan.permutation import permute, unpermute


@st.composite
def plans(draw):
    method = draw(st.sampled_from(["epoch", "epoch-static", "epoch-random", "random"]))
    sizes = draw(st.dictionaries(st.sampled_from("abc"), st.integers(1, 60), min_size=1))
    weights = {name: draw(st.floats(0.05, 5.0)) for name in sizes}
    window = draw(st.none() | st.integers(2, 4)) if method != "random" else None
    seed = draw(st.integers(0, 99))
    random = np.random.default_rng(seed)
    try:
        return EpochPlan(
            sizes,
            {name: draw(st.integers(1, 9)) for name in sizes},
            draw(st.integers(1, 3)),
            seed,
            method,
            remainder=draw(st.sampled_from(["rotate", "drop"])),
            small_datasets=draw(st.sampled_from(["drop", "repeat"])),
            weights=weights,
            length_window=window,
            shuffle_window=draw(st.none() | st.integers(16, 64)) if method != "random" else None,
            lengths={name: random.integers(0, 5, n_rows) for name, n_rows in sizes.items()},
            shared_texts=draw(st.sampled_from([None, shared_texts_of(sizes)]))
            if method != "random"
            else None,
        )
    except ConfigError:  # a weight without a batch, or no dataset left
        return None


@given(plans())
@tried(300)
def test_the_rows_left_out_are_those_that_the_plan_does_not_hold(plan):
    if plan is None:
        return
    missing = {name: set(range(n_rows)) for name, n_rows in plan.sizes.items()}
    for name, rows in plan.at(0):
        missing[name] -= set(rows.tolist())

    assert plan.rows_left_out() == {name: len(rows) for name, rows in missing.items()}


@pytest.mark.parametrize("weight", [0.25, 1.0, 1.5, 3.0])
def test_a_billion_rows_cost_no_more_than_a_thousand(weight):
    plan = EpochPlan({"a": 10**9}, 32, 8, weights={"a": weight})
    counted = plan.rows_left_out()["a"]

    assert counted == max(0, 10**9 - len(plan) * 256) if weight < 1 else counted <= 10**9 % 256


def test_random_draws_beyond_counting_are_expected():
    plan = EpochPlan({"a": 10**8, "b": 10**6}, 64, 8, organize_method="random")
    counted = plan.rows_left_out()

    assert counted["a"] == pytest.approx(10**8 * np.exp(-1), rel=0.001)
    assert counted["b"] == pytest.approx(10**6 * np.exp(-1), rel=0.001)


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_unpermute_takes_permute_back(n, key):
    assert unpermute(permute(np.arange(n), n, key), n, key).tolist() == list(range(n))
