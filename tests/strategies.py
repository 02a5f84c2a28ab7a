"""Hypothesis strategies; each constructs valid cases only."""

import math

import numpy as np
from hypothesis import strategies as st

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.plan.shared_texts import SharedTexts

METHODS = ("epoch", "epoch-static", "epoch-random", "random")

# Few texts, so that a row often holds the same text twice. Few scores, so that there are ties.
TEXTS = ("a", "b", "c", "d", "e", "f", "g\u00e9", "h h")
SCORES = (-1.5, 0.0, 0.25, 1.0, 3.0)


def lengths_of(sizes):
    """Return a length for each row of each dataset; many rows share one."""
    return {name: np.arange(n_rows) * 7919 % 13 for name, n_rows in sizes.items()}


def shared_texts_of(sizes):
    """Return the texts that rows of each dataset share: each row has two, some of them frequent."""
    shared = {}
    for name, n_rows in sizes.items():
        rows = np.arange(n_rows)
        texts = np.stack([rows % (n_rows // 3 + 1), 1000 + rows * 31 % 47])
        shared[name] = SharedTexts(np.tile(rows, 2), texts.ravel())
    return shared


def plan_like(plan, **changes):
    """Return a plan with the arguments of one that ``plans`` drew, but for some changes."""
    arguments = {
        "sizes": plan.sizes,
        "batch_size": plan.batch_size,
        "num_replicas": plan.num_replicas,
        "seed": plan.seed,
        "organize_method": plan.organize_method,
        "epoch": plan.epoch,
        "remainder": plan.remainder,
        "weights": plan.weights,
        "length_window": plan.length_window,
        "lengths": lengths_of(plan.sizes) if plan.length_window else None,
        "shared_texts": shared_texts_of(plan.sizes) if plan.separates_texts else None,
        "shuffle_window": plan.shuffle_window,
    }
    return EpochPlan(**(arguments | changes))


@st.composite
def plans(
    draw, methods=METHODS, weights=(1.0,), remainders=("rotate", "drop"), windows=(None, 2, 3)
):
    """Draw a plan whose datasets all fill a global batch."""
    n_ranks = draw(st.integers(1, 4))
    names = draw(st.lists(st.sampled_from("abcde"), min_size=1, unique=True))
    batch_size = {name: draw(st.integers(1, 5)) for name in names}
    sizes = {name: draw(st.integers(batch_size[name] * n_ranks, 60)) for name in names}
    method = draw(st.sampled_from(methods))
    return EpochPlan(
        sizes,
        batch_size,
        n_ranks,
        draw(st.integers(0, 9)),
        method,
        draw(st.integers(0, 5)),
        remainder=draw(st.sampled_from(remainders)),
        weights={name: draw(st.sampled_from(weights)) for name in names},
        length_window=None if method == "random" else draw(st.sampled_from(windows)),
        lengths=lengths_of(sizes),
        shared_texts=None
        if method == "random"
        else draw(st.sampled_from([None, shared_texts_of(sizes)])),
        shuffle_window=None if method == "random" else draw(st.sampled_from([None, 16, 40])),
    )


@st.composite
def candidate_rows(draw, scored=None, min_pos=1, min_neg=0):
    """Rows of a training file: pos, neg and, where scored, one teacher score for each."""
    pos = draw(st.lists(st.sampled_from(TEXTS), min_size=min_pos, max_size=4))
    neg = draw(st.lists(st.sampled_from(TEXTS), min_size=max(min_neg, not pos), max_size=12))
    row = {"query": draw(st.sampled_from(TEXTS)), "pos": pos, "neg": neg}
    if draw(st.booleans()) if scored is None else scored:
        size = len(pos) + len(neg)
        scores = st.lists(st.sampled_from(SCORES), min_size=size, max_size=size)
        row["teacher_scores"] = draw(scores)
    return row


def file_texts():
    """Any text that a file may hold, never blank."""
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).map(
        lambda text: text if text.strip() else f"x{text}"
    )


@st.composite
def file_rows(draw):
    """Rows of one file, ids all of one type."""
    ids = draw(st.sampled_from([st.none(), st.integers(-(2**63), 2**63 - 1), file_texts()]))
    finite = st.floats(-1e9, 1e9).filter(math.isfinite)

    @st.composite
    def row(draw):
        pos = draw(st.lists(file_texts(), min_size=1, max_size=3))
        neg = draw(st.lists(file_texts(), max_size=3))
        size = len(pos) + len(neg)
        scores = st.one_of(st.none(), st.lists(finite, min_size=size, max_size=size))
        return {
            "query": draw(file_texts()),
            "query_id": draw(ids),
            "pos": pos,
            "neg": neg,
            "teacher_scores": draw(scores),
        }

    return draw(st.lists(row(), min_size=1, max_size=6))
