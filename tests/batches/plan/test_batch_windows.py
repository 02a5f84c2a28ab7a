"""Global batches of rows of like length."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import lengths_of, plan_like, plans

from llm_embedder_data.batches.plan import batch_windows
from llm_embedder_data.batches.plan.batch_windows import deal_by_length
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.config import ConfigError


def by_pass(plan):
    """{(dataset, pass of the epoch): its rows, sorted} and the datasets of the steps."""
    rows, datasets = {}, []
    for batch in plan.batches(range(len(plan))):
        rows.setdefault((batch.dataset, batch.repeat), []).extend(batch.rows.tolist())
        datasets.append((batch.dataset, batch.repeat))
    return {at: sorted(some) for at, some in rows.items()}, datasets


@given(plans(methods=("epoch", "epoch-static", "epoch-random"), weights=(1.0, 2.0)))
def test_a_window_changes_neither_the_steps_datasets_nor_the_rows_of_a_pass(plan):
    without = plan_like(plan, length_window=None, shared_texts=None)

    assert by_pass(plan) == by_pass(without)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**64 - 1))
def test_the_batches_of_a_window_do_not_overlap_in_length(n_batches, global_batch, key):
    planned = np.random.default_rng(key).permutation(n_batches * global_batch)
    planned = planned.reshape(n_batches, global_batch)
    lengths = planned % 7

    dealt = deal_by_length(planned, lengths, key)

    assert sorted(dealt.ravel().tolist()) == list(range(n_batches * global_batch))
    spans = sorted((batch.min(), batch.max()) for batch in dealt % 7)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_rows_of_one_length_keep_their_planned_company():
    planned = np.random.default_rng(0).permutation(1600).reshape(50, 32)

    dealt = deal_by_length(planned, planned % 3, 5)

    rows = sorted(planned.ravel().tolist(), key=lambda row: row % 3)
    wanted = {frozenset(rows[start : start + 32]) for start in range(0, 1600, 32)}
    assert {frozenset(batch) for batch in dealt.tolist()} == wanted


def padding_share(plan, lengths):
    """Of tensors as wide as their longest row."""
    widest = np.array([lengths[rows].max() for _, rows in plan])
    real = sum(lengths[rows].sum() for _, rows in plan)
    return 1 - real / (widest * plan.batch_size["a"] * plan.num_replicas).sum()


def test_batches_of_mixed_lengths_pad_less():
    lengths = np.random.default_rng(1).lognormal(4, 1, 6400)

    without = padding_share(EpochPlan({"a": 6400}, 32), lengths)
    windowed = padding_share(
        EpochPlan({"a": 6400}, 32, length_window=25, lengths={"a": lengths}), lengths
    )

    assert without > 0.75
    assert windowed < 0.4


def test_lengths_neither_rise_with_the_steps_nor_differ_between_ranks():
    lengths = np.random.default_rng(1).lognormal(4, 1, 64_000)
    plan = EpochPlan({"a": 64_000}, 8, 8, length_window=10, lengths={"a": lengths})

    ranks = np.stack([lengths[rows].reshape(8, 8).mean(axis=1) for _, rows in plan])  # [1000, 8]
    steps = ranks.mean(axis=1)

    assert abs(np.corrcoef(np.arange(1000), steps)[0, 1]) < 0.15  # five standard deviations
    assert abs(np.corrcoef(steps[:-1], steps[1:])[0, 1]) < 0.15
    assert np.ptp((ranks / steps[:, None]).mean(axis=0)) < 0.05


def test_lengths_do_not_rise_with_the_epochs_that_a_pass_is_broken_into():
    lengths = np.arange(40)
    plan = EpochPlan({"a": 40}, 4, weights={"a": 0.5}, length_window=10, lengths={"a": lengths})

    means = [np.mean([lengths[rows].mean() for _, rows in plan.at(epoch)]) for epoch in range(80)]

    assert abs(np.mean(means[::2]) - np.mean(means[1::2])) < 6  # 20 if the short ones came first


def test_windows_that_are_no_longer_kept_are_dealt_alike_again(monkeypatch):
    monkeypatch.setattr(batch_windows, "_ROWS_KEPT", 1 << 10)
    n_rows = 3 << 10
    lengths = {"a": np.arange(n_rows, dtype=np.int32) * 7919 % 1000}
    plan = EpochPlan({"a": n_rows}, 1 << 7, length_window=8, lengths=lengths)  # 3 windows
    steps = [0, 5, 11, 17, 23]

    first = [rows for _, rows in map(plan.__getitem__, steps)]

    for step, rows in zip(reversed(steps), reversed(first), strict=True):
        assert np.array_equal(plan[step][1], rows)


def test_a_batch_that_a_caller_changes_stays_the_plans():
    plan = EpochPlan({"a": 40}, 4, length_window=3, lengths=lengths_of({"a": 40}))
    rows = plan[2][1].copy()

    plan[2][1][:] = -1

    assert np.array_equal(plan[2][1], rows)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"length_window": 1}, "data.length_window=1: expected at least 2 global batches, or null"),
        ({"organize_method": "random"}, "with data.organize_method='random', which draws each"),
        ({"lengths": None}, "the lengths of dataset 'a' have the shape (), expected (40,)"),
        (
            {"lengths": {"a": [1] * 39}},
            "have the shape (39,), expected (40,) (give one length per row)",
        ),
    ],
)
def test_a_window_that_cannot_be_is_refused(arguments, sentence):
    given_ones = {"length_window": 3, "lengths": {"a": [1] * 40}} | arguments

    with pytest.raises(ConfigError, match=re.escape(sentence)):
        EpochPlan({"a": 40}, 4, **given_ones)
