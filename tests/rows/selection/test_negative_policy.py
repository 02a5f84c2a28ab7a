import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import ConfigError
from llm_embedder_data.rows.selection.negative_policy import NegativePolicy

SCALES = st.sampled_from([1.0, 100.0, 1e-3])
SCORES = st.integers(-40, 40).map(float)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "range_min": st.integers(0, 3),
        "range_max": st.integers(4, 8),
        "min_score": SCORES,
        "max_score": SCORES,
        "absolute_margin": st.integers(0, 20).map(float),
        "relative_margin": st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    },
)


def judged_plainly(policy, negatives, p):
    """What the limits say, one negative after the other."""
    ranked = sorted(range(len(negatives)), key=lambda i: -negatives[i])
    stays, is_false = [], []
    for i, s in enumerate(negatives):
        false = (
            (policy.max_score is not None and s > policy.max_score)
            or (policy.absolute_margin is not None and s > p - policy.absolute_margin)
            or (policy.relative_margin is not None and s > p - policy.relative_margin * abs(p))
        )
        rank = ranked.index(i)
        in_range = rank >= (policy.range_min or 0) and (
            policy.range_max is None or rank < policy.range_max
        )
        high = policy.min_score is None or s >= policy.min_score
        is_false.append(false)
        stays.append(in_range and high and not false)
    return stays, is_false


@given(
    LIMITS,
    st.lists(st.tuples(st.lists(SCORES, min_size=1, max_size=3), st.lists(SCORES, max_size=9))),
    SCALES,
)
def test_a_policy_judges_each_negative_by_its_own_limits(limits, rows, scale):
    limits = {
        name: value * scale if "score" in name or name == "absolute_margin" else value
        for name, value in limits.items()
    }
    policy = NegativePolicy(**limits)
    width = max((len(pos) + len(neg) for pos, neg in rows), default=1)
    scores = np.full((len(rows), width), np.nan)
    is_negative = np.zeros((len(rows), width), bool)
    for b, (pos, neg) in enumerate(rows):
        scores[b, : len(pos) + len(neg)] = np.array([*pos, *neg]) * scale
        is_negative[b, len(pos) : len(pos) + len(neg)] = True
    lowest = np.array([min(pos) * scale for pos, _ in rows])

    stays, is_false = policy.judge(scores, is_negative, lowest)

    for b, (pos, neg) in enumerate(rows):
        scaled = (np.array(neg) * scale).tolist()
        expected = judged_plainly(policy, scaled, min(pos) * scale)
        own = slice(len(pos), len(pos) + len(neg))
        assert (stays[b, own].tolist(), is_false[b, own].tolist()) == expected
    assert not (stays | is_false)[~is_negative].any()


def test_a_row_without_scores_knows_ranks_in_the_order_of_the_file():
    policy = NegativePolicy(range_min=1, range_max=3, max_score=0.0, relative_margin=0.1)
    is_negative = np.array([[False, True, True, True, True]])

    stays, is_false = policy.judge(np.full((1, 5), np.nan), is_negative, np.array([np.nan]))

    assert stays.tolist() == [[False, False, True, True, False]]
    assert not is_false.any()


def test_a_margin_below_a_negative_score_lies_below_it():
    policy = NegativePolicy(relative_margin=0.1)
    scores = np.array([[-10.0, -10.5, -11.0, -12.0]])  # log-likelihoods, the positive's first

    stays, _ = policy.judge(scores, np.array([[False, True, True, True]]), np.array([-10.0]))

    assert stays.tolist() == [[False, False, True, True]]


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"range_min": -1}, "range_min=-1: expected an integer of at least 0, or null"),
        ({"range_min": 1.5}, "range_min=1.5"),
        ({"range_max": True}, "range_max=True"),
        ({"max_score": math.nan}, "max_score=nan: expected a finite number, or null"),
        ({"relative_margin": "0.1"}, "relative_margin='0.1'"),
        ({"range_min": 5, "range_max": 5}, "range_max=5 leaves no negative from range_min=5 on"),
    ],
)
def test_limits_that_mean_nothing_are_refused(limits, sentence):
    with pytest.raises(ConfigError, match=sentence):
        NegativePolicy(**limits)
