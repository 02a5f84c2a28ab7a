"""An epoch that goes on with other global batches."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import plan_like, plans

from llm_embedder_data.batches.plan.rest_of_epoch import RestOfEpoch

ONCE = ("epoch", "epoch-static", "epoch-random")  # a row comes once in a pass


@st.composite
def others(draw, plan):
    """The plan of the same data and settings on other ranks with other batch sizes."""
    n_ranks = draw(st.integers(1, 4))
    most = {name: n_rows // n_ranks for name, n_rows in plan.sizes.items()}
    if not min(most.values()):
        n_ranks, most = 1, plan.sizes
    return plan_like(
        plan,
        batch_size={name: draw(st.integers(1, min(size, 9))) for name, size in most.items()},
        num_replicas=n_ranks,
    )


@st.composite
def begun_epochs(draw, weights=(1.0, 1.7, 2.5)):
    """(runs that trained steps of an epoch: each plan, its first step, the first it left; rest)."""
    plan = draw(plans(methods=ONCE, weights=weights))
    first, runs = 0, []
    for _ in range(draw(st.integers(1, 3))):
        end = plan.first + plan.n_left if runs else len(plan)
        step = draw(st.integers(first, end))
        runs.append((plan, first, step))
        plan = RestOfEpoch(draw(others(plan)), plan, step)
        first = plan.first
    return runs, plan


def of(plan, start, stop):
    return list(plan.batches(range(start, stop)))


@given(begun_epochs())
def test_no_row_of_a_pass_comes_twice_in_an_epoch(epoch):
    runs, rest = epoch
    seen = [batch for run in runs for batch in of(*run)]
    seen += of(rest, rest.first, rest.first + rest.n_left)

    counts = Counter(
        (batch.dataset, batch.repeat, row) for batch in seen for row in batch.rows.tolist()
    )
    assert not counts or max(counts.values()) == 1


@given(begun_epochs(weights=(1.0,)))
def test_what_is_left_out_fills_no_global_batch(epoch):
    """With one pass per dataset, fewer rows than a global batch are left out of the rest."""
    runs, rest = epoch
    before, _, step = runs[-1]
    end = before.first + before.n_left if len(runs) > 1 else len(before)
    left = Counter(
        (batch.dataset, row) for batch in of(before, step, end) for row in batch.rows.tolist()
    )
    come = Counter(
        (batch.dataset, row)
        for batch in of(rest, rest.first, rest.first + rest.n_left)
        for row in batch.rows.tolist()
    )

    assert come <= left
    missing = Counter(dataset for dataset, _ in (left - come).elements())
    for dataset, n_rows in missing.items():
        assert n_rows < rest.batch_size[dataset] * rest.num_replicas
    assert rest.n_rows == left.total()
    assert rest.n_left_out == missing.total()
    assert rest.first + rest.n_left == len(rest)


@given(begun_epochs())
def test_the_rest_is_whole_global_batches_that_the_ranks_share(epoch):
    _, rest = epoch
    for step in range(rest.first, rest.first + rest.n_left):
        whole = rest.batch(step)
        shares = [rest.batch(step, rank) for rank in range(rest.num_replicas)]
        assert len(set(whole.rows.tolist())) == len(whole.rows)
        assert {len(batch.rows) for batch in shares} == {rest.batch_size[whole.dataset]}
        assert {batch.dataset for batch in shares} == {whole.dataset}
        assert {batch.repeat for batch in shares} == {whole.repeat}
        assert np.array_equal(np.concatenate([batch.rows for batch in shares]), whole.rows)


@given(st.data(), plans(methods=ONCE, weights=(1.0, 2.5)))
def test_every_other_epoch_is_that_of_a_run_with_these_global_batches(data, plan):
    new_plan = data.draw(others(plan))
    rest = RestOfEpoch(new_plan, plan, data.draw(st.integers(0, len(plan))))

    for epoch in {*range(4)} - {plan.epoch}:
        assert [(name, rows.tolist()) for name, rows in rest.at(epoch)] == [
            (name, rows.tolist()) for name, rows in new_plan.at(epoch)
        ]
    assert len(rest) == len(new_plan)


@given(st.data(), plans(methods=ONCE, weights=(1.0, 2.5)))
def test_another_share_of_the_ranks_makes_the_same_rest(data, plan):
    new_plan = data.draw(others(plan))
    sizes = {name: size * new_plan.num_replicas for name, size in new_plan.batch_size.items()}
    alone = plan_like(new_plan, batch_size=sizes, num_replicas=1)
    step = data.draw(st.integers(0, len(plan)))

    one, other = RestOfEpoch(new_plan, plan, step), RestOfEpoch(alone, plan, step)

    assert one.first == other.first
    assert [(n, rows.tolist()) for n, rows in one] == [(n, rows.tolist()) for n, rows in other]
