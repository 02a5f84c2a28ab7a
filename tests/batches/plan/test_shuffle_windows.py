"""With a shuffle window, rows that are trained on together lie close together in the files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import ConfigError, EpochPlan
from llm_embedder_data.batches.plan.rest_of_epoch import RestOfEpoch
from llm_embedder_data.batches.plan.row_shuffle import CHUNKS, RowShuffle


@given(st.integers(1, 3000), st.integers(16, 4000), st.integers(0, 2**63), st.data())
def test_dealing_is_a_permutation_and_is_found_back(n, window, seed, data):
    shuffle = RowShuffle(window)
    dealt = shuffle.dealt(np.arange(n), np.array(n), np.array(seed, np.uint64))

    assert sorted(dealt.tolist()) == list(range(n))
    some = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20)))
    assert shuffle.undealt(dealt[some], n, seed).tolist() == some.tolist()


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 99)), min_size=1, max_size=4))
def test_several_passes_are_dealt_at_once_as_they_are_one_by_one(passes):
    shuffle = RowShuffle(50)
    numbers = np.stack([np.arange(9) % n for n, _ in passes])
    together = shuffle.dealt(
        numbers,
        np.array([[n] for n, _ in passes]),
        np.array([[seed] for _, seed in passes], np.uint64),
    )

    for line, own, (n, seed) in zip(numbers, together, passes, strict=True):
        alone = shuffle.dealt(line, np.array(n), np.array(seed, np.uint64))
        assert own.tolist() == alone.tolist()


def test_the_rows_of_a_window_come_from_sixteen_places():
    chunk = 100
    plan = EpochPlan({"a": 96_000}, 32, shuffle_window=chunk * CHUNKS)
    per_window = chunk * CHUNKS // 32

    windows = [
        np.concatenate([rows for _, rows in plan[start : start + per_window]])
        for start in range(0, len(plan), per_window)
    ]
    for rows in windows:
        assert len(np.unique(rows // chunk)) == CHUNKS
    # Neither the chunks of a window nor the rows within them are in the order of the files.
    assert np.ptp(windows[0] // chunk) > 10 * CHUNKS
    assert (np.diff(windows[0]) == 1).mean() < 0.01


def test_each_epoch_has_other_windows():
    plan = EpochPlan({"a": 64_000}, 32, shuffle_window=1600)
    chunks = [{row // 100 for _, rows in plan.at(epoch)[:50] for row in rows} for epoch in (0, 1)]

    assert len(chunks[0] & chunks[1]) < 4


def test_the_dataset_of_each_step_is_that_of_the_plan_without_windows():
    sizes = {"a": 4000, "b": 900}
    plain, windowed = EpochPlan(sizes, 8), EpochPlan(sizes, 8, shuffle_window=160)

    assert [name for name, _ in windowed] == [name for name, _ in plain]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shuffle_window": 15}, r"data.shuffle_window=15: expected at least 16 rows, or null"),
        (
            {"shuffle_window": 100, "organize_method": "random"},
            r"data.shuffle_window=100 with data.organize_method='random'",
        ),
    ],
)
def test_windows_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        EpochPlan({"a": 1000}, 8, **arguments)


def test_the_rest_of_an_epoch_keeps_the_order_of_the_windows():
    before = EpochPlan({"a": 6400, "b": 900}, 32, shuffle_window=1600)
    rest = RestOfEpoch(EpochPlan({"a": 6400, "b": 900}, 48, shuffle_window=1600), before, 50)

    left = [rows for name, rows in before[50:] if name == "a"]
    planned = np.concatenate(left)
    taken = [rows for name, rows in rest[rest.first :] if name == "a"]
    assert np.array_equal(np.concatenate(taken), planned[: len(taken) * 48])


def test_the_rest_of_an_epoch_ends_a_pass_before_the_next_one():
    settings = {"weights": {"a": 2.0}, "shuffle_window": 160}
    before = EpochPlan({"a": 640, "b": 900}, 32, **settings)
    rest = RestOfEpoch(EpochPlan({"a": 640, "b": 900}, 48, **settings), before, 5)

    steps = range(rest.first, rest.first + rest.n_left)
    repeats = [batch.repeat for batch in rest.batches(steps) if batch.dataset == "a"]
    assert repeats == sorted(repeats)
    assert set(repeats) == {0, 1}
