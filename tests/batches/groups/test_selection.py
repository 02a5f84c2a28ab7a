"""Which positive and which negatives a query gets."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import candidate_rows

from llm_embedder_data.batches.groups.selection import Candidates, select, selection_seed

POSITIVE = ("first", "teacher", "teacher-pos")
NEGATIVE = ("first", "teacher+", "teacher-")
GROUP_SIZES = st.integers(1, 6)


def candidates_of(rows):
    """Rows as flat arrays, written down plainly."""
    keys = [row["pos"] + row["neg"] for row in rows]
    scores = [
        row.get("teacher_scores", [np.nan] * len(k)) for row, k in zip(rows, keys, strict=True)
    ]
    return Candidates(
        starts=np.cumsum([0, *map(len, keys)])[:-1],
        n_keys=np.array(list(map(len, keys))),
        n_pos=np.array([len(row["pos"]) for row in rows]),
        first_same=np.array([one.index(text) for one in keys for text in one], np.int32),
        scores=np.array([score for one in scores for score in one]),
    )


def choose(rows, positive, negative, *, group_size=4, stable=False, numbers=None, key=0):
    """Chosen places within each row, -1 for none: a list a row."""
    candidates = candidates_of(rows)
    chosen = select(
        candidates,
        group_size=group_size,
        select_positive=positive,
        select_negative=negative,
        stable_distill=stable,
        rows=np.arange(len(rows)) if numbers is None else np.array(numbers),
        seed=key,
    )
    places = np.where(chosen < 0, -1, chosen - candidates.starts[:, None])
    return places.tolist()


def reference(row, positive, negative, *, group_size, stable):
    """One row by Python's own sorted, as LLM-Embedder does it."""
    n_pos, keys, scores = len(row["pos"]), row["pos"] + row["neg"], row["teacher_scores"]
    chosen = 0
    if positive == "teacher":
        chosen = max(range(len(keys)), key=scores.__getitem__)
    elif positive == "teacher-pos":
        chosen = max(range(n_pos), key=scores.__getitem__)
    left = [i for i in range(n_pos, len(keys)) if keys[i] not in (*keys[:n_pos], keys[chosen])]
    if negative == "teacher+":
        left = sorted(left, key=lambda i: -scores[i])
    elif negative == "teacher-":
        left = sorted(left, key=lambda i: scores[i])
    if not left:
        return [chosen] + [-1] * (group_size - 1)
    negatives = [left[i % len(left)] for i in range(group_size - 1)]
    if stable:
        negatives = sorted(negatives, key=lambda i: -scores[i])
    return [chosen, *negatives]


@pytest.mark.parametrize(("positive", "negative"), list(product(POSITIVE, NEGATIVE)))
@given(st.lists(candidate_rows(scored=True), min_size=1, max_size=5), GROUP_SIZES, st.booleans())
def test_deterministic_strategies_are_the_originals(positive, negative, rows, group_size, stable):
    wanted = [
        reference(row, positive, negative, group_size=group_size, stable=stable) for row in rows
    ]

    assert choose(rows, positive, negative, group_size=group_size, stable=stable) == wanted


@given(st.lists(candidate_rows(scored=True, min_pos=0), min_size=1, max_size=5), GROUP_SIZES)
def test_the_teacher_chooses_among_rows_without_a_labelled_positive(rows, group_size):
    wanted = [
        reference(row, "teacher", "first", group_size=group_size, stable=False) for row in rows
    ]

    assert choose(rows, "teacher", "first", group_size=group_size) == wanted


STRATEGIES = st.tuples(
    st.sampled_from([*POSITIVE, "random"]), st.sampled_from([*NEGATIVE, "random"]), st.booleans()
)


@given(st.lists(candidate_rows(), min_size=1, max_size=5), STRATEGIES, GROUP_SIZES)
def test_no_positive_is_ever_a_negative(rows, strategies, group_size):
    positive, negative, stable = strategies
    chosen = choose(rows, positive, negative, group_size=group_size, stable=stable)

    for row, (first, *negatives) in zip(rows, chosen, strict=True):
        keys = row["pos"] + row["neg"]
        forbidden = {*row["pos"], keys[first]}
        assert not {keys[place] for place in negatives if place >= 0} & forbidden
        assert positive == "teacher" or first < len(row["pos"])


@given(st.lists(candidate_rows(), min_size=1, max_size=5), STRATEGIES, st.integers(2, 9))
def test_all_negatives_are_taken_before_any_is_taken_again(rows, strategies, group_size):
    positive, negative, stable = strategies
    chosen = choose(rows, positive, negative, group_size=group_size, stable=stable)

    for row, (first, *negatives) in zip(rows, chosen, strict=True):
        keys = row["pos"] + row["neg"]
        left = [
            place
            for place in range(len(row["pos"]), len(keys))
            if keys[place] not in {*row["pos"], keys[first]}
        ]
        times = [negatives.count(place) for place in left]
        assert sum(times) == (len(negatives) if left else 0)
        assert not left or max(times) - min(times) <= 1
        assert left or set(negatives) == {-1}


@given(
    st.lists(candidate_rows(), min_size=2, max_size=5),
    STRATEGIES,
    st.integers(0, 2**63),
    st.randoms(use_true_random=False),
)
def test_a_rows_choice_depends_on_no_other_row_of_the_batch(rows, strategies, key, random):
    positive, negative, stable = strategies
    numbers = random.sample(range(10**6), len(rows))
    together = choose(rows, positive, negative, stable=stable, numbers=numbers, key=key)

    order = random.sample(range(len(rows)), random.randint(1, len(rows)))
    shuffled = choose(
        [rows[i] for i in order],
        positive,
        negative,
        stable=stable,
        numbers=[numbers[i] for i in order],
        key=key,
    )

    assert shuffled == [together[i] for i in order]


def a_row(n_pos=3, n_neg=20):
    return {"pos": [f"p{i}" for i in range(n_pos)], "neg": [f"n{i}" for i in range(n_neg)]}


def test_random_choices_differ_by_epoch_pass_dataset_seed_and_row():
    keys = {
        selection_seed(seed, dataset, epoch, repeat)
        for seed in (1, 2)
        for dataset in "ab"
        for epoch in (0, 1)
        for repeat in (0, 1)
    }
    drawn = {str(choose([a_row()], "random", "random", key=key)) for key in keys}
    of_rows = {
        str(one)
        for one in choose([a_row()] * 16, "random", "random", key=selection_seed(1, "a", 0))
    }

    assert len(keys) == 16
    assert len(drawn) >= 15  # 3 x 20 x 19 x 18 choices: hardly two alike
    assert len(of_rows) >= 15


def test_random_takes_every_positive_and_negative_equally_often():
    chosen = np.array(choose([a_row()] * 6000, "random", "random"))

    positives = np.bincount(chosen[:, 0], minlength=3)
    assert abs(positives - 2000).max() < 180  # five standard deviations
    negatives = np.bincount(chosen[:, 1:].ravel(), minlength=23)[3:]
    assert abs(negatives - 900).max() < 140
    assert all(len(set(row)) == 4 for row in chosen.tolist())


def test_the_positive_and_the_negatives_are_drawn_apart():
    chosen = np.array(choose([a_row(n_pos=3, n_neg=3)] * 6000, "random", "random", group_size=2))

    pairs = np.bincount(chosen[:, 0] * 3 + chosen[:, 1] - 3, minlength=9)
    assert abs(pairs - 667).max() < 130


def test_a_row_without_scores_takes_the_first_positive_and_random_negatives():
    scored = {**a_row(), "teacher_scores": [float(i) for i in range(23)]}
    for_all = [
        choose([scored, a_row()], p, n, key=k)[1]
        for k in range(8)
        for p, n in [("teacher", "teacher+"), ("teacher-pos", "teacher-")]
    ]

    assert {row[0] for row in for_all} == {0}
    assert len({tuple(row) for row in for_all}) == 8  # one a key, whatever the strategy
    assert choose([scored, a_row()], "teacher", "teacher+")[0] == [22, 21, 20, 19]


def test_ties_keep_file_order():
    row = {"pos": ["p"], "neg": list("abcd"), "teacher_scores": [0.0, 1.0, 2.0, 1.0, 2.0]}

    assert choose([row], "first", "teacher+", group_size=5) == [[0, 2, 4, 1, 3]]
    assert choose([row], "first", "teacher-", group_size=5) == [[0, 1, 3, 2, 4]]
    assert choose([row], "first", "first", group_size=5, stable=True) == [[0, 2, 4, 1, 3]]
    assert choose([row], "teacher", "first", group_size=4) == [[2, 1, 3, 4]]
