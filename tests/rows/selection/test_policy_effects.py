"""Which training rows a policy leaves, what it counts, and which settings it takes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_cases import LIMITS, left_by, scaled_rows
from set_cases import BEST, ROW, SCORED, train, write
from slow_cases import mostly_slow

from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.selection.negative_policy import NegativePolicy
from llm_embedder_data.rows.selection.policy_schedule import PolicySchedule

CLOSE = {**ROW, "neg": ["n", "m", "o"], "teacher_scores": [1.0, 0.99, 0.5, -2.0]}


def only(path, limits, **arguments):
    [train_set] = train(path, limits=limits, **arguments)
    return train_set


@pytest.mark.parametrize("on_no_negatives", mostly_slow(["drop", "keep"], "drop"))
@given(
    rows_at_scale=scaled_rows(scored=True),
    limits=LIMITS,
    strategy=st.sampled_from(["first", "random", "teacher-pos"]),
)
def test_rows_and_negatives_are_kept_or_counted(
    tmp_path_factory, on_no_negatives, rows_at_scale, limits, strategy
):
    rows, scale = rows_at_scale
    limits = limits(scale)
    rows = [*rows, {**ROW, "teacher_scores": [0.0, 0.0, 0.0]}]
    path = write(tmp_path_factory.mktemp("policies"), rows)
    policy, judged, n_left = NegativePolicy(**limits), [], []
    for number, row in enumerate(rows):
        n_pos = len(row["pos"])
        scores = row["teacher_scores"]
        best = max(range(n_pos), key=scores.__getitem__) if strategy == "teacher-pos" else 0
        gone, negatives = left_by(row, policy, strategy, best)
        if negatives or on_no_negatives == "keep":
            judged.append(number)
            n_left.append((len(negatives) - len(gone), len(gone)))
    wanted = [
        number
        for number, (left, _) in zip(judged, n_left, strict=True)
        if left or on_no_negatives == "keep"
    ]

    if not wanted:
        with pytest.raises(DataError, match="no_negatives"):
            only(path, limits, select_positive=strategy, on_no_negatives=on_no_negatives)
        return
    found = only(path, limits, select_positive=strategy, on_no_negatives=on_no_negatives)

    assert found.kept.tolist() == wanted
    assert found.n_read == len(found.kept) + sum(found.dropped.values())
    assert found.dropped.get("no_negatives_left", 0) == len(judged) - len(wanted)
    assert found.most_negatives == max(left for left, _ in n_left)
    assert found.n_scored == len(wanted)
    assert found.n_without_negatives == (
        sum(not left for left, _ in n_left) if on_no_negatives == "keep" else 0
    )
    counts = [sum(by_policy) for by_policy in found.left_out_by_limit.values()]
    assert sum(counts) == sum(gone for _, gone in n_left)
    assert set(found.left_out_by_limit) == set(limits)


def test_a_negative_counts_for_the_first_limit_that_it_breaks(tmp_path):
    path = write(tmp_path, [CLOSE, CLOSE])

    found = only(path, {"range_min": 1, "min_score": -1.0, "relative_margin": 0.1})

    assert found.left_out_by_limit == {"range_min": [2], "min_score": [2], "relative_margin": [0]}
    assert found.most_negatives == 1


def test_a_text_that_is_false_once_goes_wherever_it_stands(tmp_path):
    row = {**ROW, "neg": ["n", "m", "n"], "teacher_scores": [1.0, 0.95, 0.1, 0.2]}

    found = only(write(tmp_path, [row]), {"relative_margin": 0.1})

    assert found.left_out_by_limit == {"relative_margin": [2]}
    assert found.most_negatives == 1


def test_the_teachers_choice_is_what_margins_are_measured_from(tmp_path):
    row = {**ROW, "neg": ["n", "m", "o"], "teacher_scores": [0.1, 1.0, 0.95, 0.5]}
    path = write(tmp_path, [row])

    for strategy, n_left_out in (("first", 3), ("teacher", 1)):
        found = only(
            path, {"relative_margin": 0.1}, select_positive=strategy, on_no_negatives="keep"
        )
        assert found.left_out_by_limit == {"relative_margin": [n_left_out]}


def test_a_row_stays_if_it_has_a_negative_in_any_epoch(tmp_path):
    late = {**ROW, "teacher_scores": [1.0, 0.9, 0.9]}  # left by the later margin only
    never = {**ROW, "teacher_scores": [1.0, 1.0, 1.0]}
    path = write(tmp_path, [SCORED, late, never, BEST])

    found = only(path, {"relative_margin": {0: 0.2, 3: 0.05}})

    assert found.kept.tolist() == [0, 1, 3]
    assert found.dropped == {"no_negatives_left": 1}
    assert (found.n_sometimes_without_negatives, found.n_without_negatives) == (1, 0)
    assert found.left_out_by_limit == {"relative_margin": [4, 2]}
    assert found.most_negatives == 2


def test_a_policy_that_leaves_nothing_is_one_error(tmp_path):
    sentence = "dropped 2 for no_negatives_left (loosen the limits on negatives"

    with pytest.raises(DataError, match=re.escape(sentence)):
        only(write(tmp_path, [SCORED, SCORED]), {"max_score": -5.0})


def test_a_source_wins_over_what_is_given_for_all(tmp_path):
    path = write(tmp_path, [CLOSE])
    source = {"relative_margin": 0.0, "range_max": 2}

    found = only(path, {"relative_margin": 9.0}, source=source)

    assert found.settings.limits == {"relative_margin": 0.0, "range_max": 2}
    assert found.left_out_by_limit == {"range_max": [1], "relative_margin": [0]}


def test_a_source_takes_a_limit_back(tmp_path):
    found = only(write(tmp_path, [CLOSE]), {"max_score": -9.0}, source={"max_score": {0: None}})

    assert found.policies is None
    assert found.settings.limits == {}


@pytest.mark.parametrize("name", ["min_score", "max_score", "absolute_margin", "relative_margin"])
def test_a_limit_on_scores_needs_scores_if_the_user_gave_it(tmp_path, name):
    path = write(tmp_path, [ROW])
    sentence = f"no teacher_scores, which {name}=0.5 needs for task 'qa'; 1 of 1 rows have none"

    with pytest.raises(DataError, match=re.escape(sentence)):
        only(path, {}, source={name: 0.5})
    with pytest.raises(DataError, match=re.escape(sentence)):
        only(path, {name: 0.5}, asked=frozenset([name]))

    found = only(path, {name: 0.5, "range_max": 1}, asked=frozenset())
    note = found.notes[-1]
    assert f"the recipe's {name}=0.5 for task 'qa' is ignored" in note
    assert found.settings.limits == {"range_max": 1}
    assert found.most_negatives == 1


def test_rows_without_scores_lose_nothing_to_a_recipes_limit_on_scores(tmp_path):
    path = write(tmp_path, [ROW, CLOSE, CLOSE])

    found = only(path, {"max_score": 0.6}, asked=())

    assert "1 of 3 rows have no teacher_scores: max_score leaves no negative out" in found.notes[-1]
    assert found.left_out_by_limit == {"max_score": [2]}


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"range_min": 1.5}, "range_min=1.5: expected a whole number of at least 0, or such"),
        ({"range_max": -1}, "range_max=-1: expected a whole number"),
        ({"range_min": True}, "range_min=True: expected"),
        ({"max_score": float("nan")}, "max_score=nan: expected a finite number, or such"),
        ({"max_score": {}}, "max_score={}: expected"),
        ({"max_score": {"0": 1.0}}, "max_score={'0': 1.0}: expected"),
        ({"max_score": {-1: 1.0}}, "max_score={-1: 1.0}: expected"),
        ({"relative_margin": {0: "a"}}, "relative_margin={0: 'a'}: expected"),
    ],
)
def test_a_limit_that_means_nothing_is_refused_where_it_stands(tmp_path, limits, sentence):
    path = write(tmp_path, [SCORED])

    with pytest.raises(ConfigError, match=re.escape(sentence)):
        train(path, source=limits)
    with pytest.raises(ConfigError, match=re.escape(f"training.qa.{sentence}")):
        load_recipe({"training": {"qa": limits}})


def test_ranks_that_exclude_each_other_are_refused_with_the_dataset(tmp_path):
    path = write(tmp_path, [SCORED])

    with pytest.raises(ConfigError, match="dataset 'qa': range_max=2 leaves no negative"):
        only(path, {"range_max": 5, "range_min": {0: 1, 4: 2}}, source={"range_max": 2})


@given(
    st.dictionaries(
        st.sampled_from(["range_min", "min_score", "relative_margin"]),
        st.one_of(
            st.integers(0, 3),
            st.dictionaries(st.integers(0, 6), st.none() | st.integers(0, 3), min_size=1),
        ),
    ),
    st.integers(0, 9),
)
def test_an_epoch_has_the_latest_value_of_each_limit(limits, epoch):
    schedule = PolicySchedule.of(limits)

    wanted = {}
    for name, limit in limits.items():
        by_epoch = limit if isinstance(limit, dict) else {0: limit}
        for first in sorted(by_epoch):
            if first <= epoch:
                wanted[name] = by_epoch[first]
    wanted = {name: value for name, value in wanted.items() if value is not None}
    found = schedule and schedule.at(epoch)
    assert found == (NegativePolicy(**wanted) if wanted else None)
