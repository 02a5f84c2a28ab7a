"""Policies applied by hand: one negative after the other, as the documentation says it."""

import math

from hypothesis import strategies as st
from strategies import candidate_rows

SCALES = (1.0, 1e-3, 1e30, -1.0, -100.0)
SCORES = (-1.5, 0.0, 0.25, 1.0, 3.0)  # those of candidate_rows


@st.composite
def scaled_rows(draw, scored):
    """Rows whose scores are all of one scale and sign or another, and the scale."""
    rows = draw(st.lists(candidate_rows(scored=scored), min_size=1, max_size=4))
    scale, shift = draw(st.sampled_from(SCALES)), draw(st.sampled_from([0.0, 4.0, -4.0]))
    for row in rows:
        if "teacher_scores" in row:
            row["teacher_scores"] = [(score + shift) * scale for score in row["teacher_scores"]]
    return rows, scale


def _scaled(limits):
    def at(scale):
        return {
            name: value * abs(scale)
            if name in ("absolute_margin", "min_score", "max_score")
            else value
            for name, value in limits.items()
        }

    return at


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "range_min": st.integers(0, 2),
        "range_max": st.integers(3, 6),
        "min_score": st.sampled_from(SCORES),
        "max_score": st.sampled_from(SCORES),
        "absolute_margin": st.sampled_from([0.0, 0.25, 2.0]),
        "relative_margin": st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    },
).map(_scaled)


def left_by(row, policy, select_positive, positive, only_false=False):
    """(negatives that go, all negatives), as positions in the row.

    Args:
        row: as a file has it.
        policy: the limits.
        select_positive: the strategy.
        positive: the position of the chosen positive.
        only_false: only those that are taken for positives.
    """
    n_pos, keys = len(row["pos"]), row["pos"] + row["neg"]
    negatives = [i for i in range(n_pos, len(keys)) if keys[i] not in (*row["pos"], keys[positive])]
    scores = row.get("teacher_scores")
    ranked = negatives if scores is None else sorted(negatives, key=lambda i: -scores[i])
    gone, false_texts = set(), set()
    by_teacher = select_positive.startswith("teacher") or not n_pos
    if scores is not None:
        p = scores[positive] if by_teacher else min(scores[:n_pos])
    for rank, i in enumerate(ranked):
        if rank < (policy.range_min or 0) or rank >= (policy.range_max or math.inf):
            gone.add(i)
        if scores is None:
            continue
        s = scores[i]
        if policy.min_score is not None and s < policy.min_score:
            gone.add(i)
        bounds = [policy.max_score]
        if policy.absolute_margin is not None:
            bounds.append(p - policy.absolute_margin)
        if policy.relative_margin is not None:
            bounds.append(p - policy.relative_margin * abs(p))
        if any(bound is not None and s > bound for bound in bounds):
            false_texts.add(keys[i])
    false = [i for i in negatives if keys[i] in false_texts]
    return (false if only_false else sorted(gone.union(false))), negatives
