"""What a policy does to the keys and known positives of a batch, for every strategy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_cases import LIMITS, left_by, scaled_rows
from slow_cases import mostly_slow
from strategies import candidate_rows

from llm_embedder_data.batches.groups.selection import Candidates, select
from llm_embedder_data.batches.groups.training_groups import positive_ids
from llm_embedder_data.rows.selection.negative_policy import NegativePolicy

POSITIVE = ("first", "random", "teacher", "teacher-pos", "first-else-teacher")
NEGATIVE = ("first", "random", "teacher+", "teacher-")


def candidates_of(rows):
    keys = [row["pos"] + row["neg"] for row in rows]
    return Candidates(
        starts=np.cumsum([0, *map(len, keys)])[:-1],
        n_keys=np.array(list(map(len, keys))),
        n_pos=np.array([len(row["pos"]) for row in rows]),
        first_same=np.array([one.index(text) for one in keys for text in one], np.int32),
        scores=np.array(
            [
                score
                for row, one in zip(rows, keys, strict=True)
                for score in row.get("teacher_scores", [np.nan] * len(one))
            ]
        ),
    )


def selected(rows, policy, positive, negative, *, stable=False, group_size=4, seed=3):
    return select(
        candidates_of(rows),
        group_size=group_size,
        select_positive=positive,
        select_negative=negative,
        stable_distill=stable,
        rows=np.arange(len(rows)),
        seed=seed,
        policy=policy,
    )


def positions(rows, chosen):
    """Positions of the chosen keys in their rows, -1 for none: a list a row."""
    starts = candidates_of(rows).starts
    return np.where(chosen < 0, -1, chosen - starts[:, None]).tolist()


def without(row, left_out):
    """A row without some candidates, and the positions of the others."""
    stay = [i for i in range(len(row["pos"]) + len(row["neg"])) if i not in left_out]
    keys = row["pos"] + row["neg"]
    less = row | {"neg": [keys[i] for i in stay if i >= len(row["pos"])]}
    if "teacher_scores" in row:
        less["teacher_scores"] = [row["teacher_scores"][i] for i in stay]
    return less, stay


@pytest.mark.parametrize("negative", ["first", "teacher+", "teacher-"])
@pytest.mark.parametrize("positive", mostly_slow(POSITIVE, "random", "teacher-pos"))
@given(scaled_rows(scored=True), LIMITS, st.booleans())
def test_a_row_is_chosen_from_as_if_it_had_no_left_out_negatives(
    positive, negative, scaled, limits, stable
):
    rows, scale = scaled
    policy = NegativePolicy(**limits(scale))
    found = selected(rows, policy, positive, negative, stable=stable)

    for b, (row, chosen) in enumerate(zip(rows, positions(rows, found.chosen), strict=True)):
        left_out, _ = left_by(row, policy, positive, chosen[0])
        less, stay = without(row, left_out)
        together = [less if i == b else one for i, one in enumerate(rows)]
        wanted = selected(together, None, positive, negative, stable=stable)
        wanted = positions(together, wanted.chosen)[b]
        assert chosen == [-1 if i < 0 else stay[i] for i in wanted]


@pytest.mark.parametrize("positive", POSITIVE)
@given(scaled_rows(scored=None), LIMITS, st.integers(0, 5))
def test_random_negatives_are_drawn_from_what_is_left_until_all_are_used(
    positive, scaled, limits, seed
):
    rows, scale = scaled
    policy = NegativePolicy(**limits(scale))
    found = selected(rows, policy, positive, "random", group_size=30, seed=seed)

    for row, chosen in zip(rows, positions(rows, found.chosen), strict=True):
        left_out, negatives = left_by(row, policy, positive, chosen[0])
        assert set(chosen[1:]) - {-1} == set(negatives) - set(left_out)


@pytest.mark.parametrize("negative", NEGATIVE)
@pytest.mark.parametrize("positive", mostly_slow(POSITIVE, "first", "teacher"))
@given(st.lists(candidate_rows(), min_size=1, max_size=5), st.booleans())
def test_limits_that_leave_nothing_out_change_no_bit(positive, negative, rows, stable):
    loose = NegativePolicy(range_min=0, range_max=99, max_score=1e9, absolute_margin=-1e9)
    wanted = selected(rows, None, positive, negative, stable=stable)
    found = selected(rows, loose, positive, negative, stable=stable)

    assert found.chosen.tobytes() == wanted.chosen.tobytes()
    assert found.is_false is None


@pytest.mark.parametrize("positive", POSITIVE)
@given(scaled_rows(scored=None), LIMITS)
def test_what_is_taken_for_a_positive_is_a_known_positive_of_its_query(positive, scaled, limits):
    rows, scale = scaled
    policy = NegativePolicy(**limits(scale))
    candidates = candidates_of(rows)
    found = selected(rows, policy, positive, "random")
    ids = positive_ids(candidates, found, lambda at: at + 1)

    for row, start, chosen, known in zip(
        rows, candidates.starts, positions(rows, found.chosen), ids.tolist(), strict=True
    ):
        keys = row["pos"] + row["neg"]
        false = left_by(row, policy, positive, chosen[0], only_false=True)[0]
        wanted = {*range(len(row["pos"])), chosen[0], *(keys.index(keys[i]) for i in false)}
        n_known = len([i for i in known if i])
        assert {i - 1 - start for i in known if i} == wanted
        assert n_known == len(wanted)
        assert not any(known[n_known:])  # zeros come last
