"""The plan's laws at any size and on thousands of ranks, none of which is a process here."""

import os
import subprocess
import sys
from collections import Counter
from math import gcd

import numpy as np
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from slow_cases import mostly_slow
from strategies import METHODS, lengths_of, plan_like, plans, shared_texts_of

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan

RANKS = st.integers(1, 16) | st.sampled_from([64, 100, 512, 1000, 4096])
WEIGHTS = st.sampled_from([0.3, 0.5, 1.0, 1.7, 2.5, 4.0])


@st.composite
def large_plans(draw, most_rows=10**12, methods=METHODS, ranks=RANKS, epochs=10**6):
    """Plans whose datasets have from four global batches to ``most_rows`` rows, or eight batches.

    Those of not too many rows may deal by length, and shuffle in windows.
    """
    n_ranks = draw(ranks)
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True))
    batch_size = {name: draw(st.integers(1, 4)) for name in names}
    sizes = {}
    for name in names:
        least = 4 * batch_size[name] * n_ranks  # a weight of 0.3 still makes a global batch
        most = max(most_rows, 2 * least)
        sizes[name] = draw(st.integers(least, 2 * least) | st.integers(least, most))
    method = draw(st.sampled_from(methods))
    windowed = most_rows < 10**6 and method != "random"
    return EpochPlan(
        sizes,
        batch_size,
        n_ranks,
        draw(st.integers(0, 2**64 - 1)),
        method,
        draw(st.integers(0, epochs)),
        remainder=draw(st.sampled_from(["rotate", "drop"])),
        weights={name: draw(WEIGHTS) for name in names},
        length_window=draw(st.sampled_from([None, 2, 5])) if windowed else None,
        lengths=lengths_of(sizes) if windowed else None,
        shared_texts=shared_texts_of(sizes) if windowed and draw(st.booleans()) else None,
        shuffle_window=draw(st.sampled_from([None, 16, 1000])) if windowed else None,
    )


def some_steps(draw, plan, most=4):
    return draw(st.lists(st.integers(0, len(plan) - 1), min_size=1, max_size=most))


def with_ranks(plan, n_ranks):
    """The same global batches on another number of ranks."""
    return plan_like(
        plan,
        batch_size={n: plan.num_replicas * size // n_ranks for n, size in plan.batch_size.items()},
        num_replicas=n_ranks,
    )


@pytest.mark.parametrize("most_rows", mostly_slow([30_000, 10**12], 10**12))
@given(st.data())
@tried(300)
def test_thousands_of_ranks_share_one_global_batch_whatever_their_number(most_rows, data):
    plan = data.draw(large_plans(most_rows))
    divisors = [n for n in (1, 2, 5, 64, plan.num_replicas) if plan.num_replicas % n == 0]
    other = with_ranks(plan, data.draw(st.sampled_from(divisors)))

    assert len(other) == len(plan) == sum(plan.steps.values())
    for step in some_steps(data.draw, plan):
        name, whole = plan[step]
        assert len(set(whole.tolist())) == len(whole) == plan.batch_size[name] * plan.num_replicas
        assert 0 <= whole.min() <= whole.max() < plan.sizes[name]
        for cut in (plan, other):
            share = cut.batch_size[name]
            ranks = {0, cut.num_replicas - 1, data.draw(st.integers(0, cut.num_replicas - 1))}
            for rank in ranks:
                own_name, rows = cut.for_rank(step, rank)
                assert own_name == name
                assert np.array_equal(rows, whole[rank * share : (rank + 1) * share])


@given(large_plans(methods=("epoch", "epoch-static", "epoch-random")), st.data())
@tried(200)
def test_the_global_batches_of_a_pass_of_any_size_have_no_row_in_common(plan, data):
    batches = [plan.batch(step) for step in set(some_steps(data.draw, plan, most=12))]

    # A weight below 1 breaks a pass, and its next part belongs to the next epoch.
    at = Counter()
    for batch in batches:
        at.update((batch.dataset, batch.repeat, row) for row in batch.rows.tolist())
    assert set(at.values()) == {1}


@given(
    large_plans(
        200, methods=("epoch", "epoch-random"), ranks=st.sampled_from([1, 2, 3, 16]), epochs=0
    ),
    st.integers(1, 5),
)
def test_passes_are_whole_and_share_the_epochs_in_the_exact_proportion(plan, n_epochs):
    passes = {}
    for epoch in range(n_epochs):
        for batch in plan.at(epoch).batches(range(len(plan))):
            global_batch = plan.batch_size[batch.dataset] * plan.num_replicas
            per_pass = plan.sizes[batch.dataset] // global_batch
            number = epoch * plan.steps[batch.dataset] // per_pass + batch.repeat
            passes.setdefault(batch.dataset, {}).setdefault(number, []).append(batch.rows)

    for name, of_pass in passes.items():
        global_batch = plan.batch_size[name] * plan.num_replicas
        per_pass = plan.sizes[name] // global_batch
        assert plan.steps[name] == int(plan.weights[name] * per_pass + 1e-9)
        n_whole, rest = divmod(n_epochs * plan.steps[name], per_pass)
        assert sorted(of_pass) == list(range(n_whole + bool(rest)))
        for number, batches in of_pass.items():
            assert len(batches) == (per_pass if number < n_whole else rest)
            assert len(np.unique(batches)) == len(batches) * global_batch


@given(
    st.integers(1, 4).flatmap(lambda batch: st.tuples(st.just(batch), st.integers(batch, 14))),
    st.sampled_from([1.0, 1.5, 2.5]),
    st.sampled_from(["epoch", "epoch-random"]),
)
@tried(60)
def test_rotation_leaves_every_row_out_equally_often_at_any_weight(shape, weight, method):
    global_batch, n_rows = shape
    per_pass, left_out = n_rows // global_batch, n_rows % global_batch
    plan = EpochPlan({"a": n_rows}, global_batch, 1, 3, method, weights={"a": weight})
    turn = per_pass * n_rows // gcd(n_rows, left_out)  # global batches until all have sat out
    n_epochs = turn // gcd(turn, len(plan))

    drawn = np.zeros(n_rows, int)
    for epoch in range(n_epochs):
        for _, rows in plan.at(epoch):
            drawn[rows] += 1

    assert set(drawn.tolist()) == {n_epochs * len(plan) * global_batch // n_rows}


@given(plans(weights=(1.0, 2.5)), st.data())
@tried(200)
def test_a_step_alone_is_the_step_in_sequence(plan, data):
    """In any order, one by one or many together, for one rank or for all."""
    rank = data.draw(st.none() | st.integers(0, plan.num_replicas - 1))
    sequence = list(plan.batches(range(len(plan)), rank))
    order = data.draw(st.permutations(range(len(plan))))

    shuffled = list(plan.batches(order, rank))
    alone = [plan.at(plan.epoch + 1).at(plan.epoch).batch(step, rank) for step in order]

    for step, *both in zip(order, shuffled, alone, strict=True):
        for batch in both:
            assert (batch.dataset, batch.repeat) == (sequence[step].dataset, sequence[step].repeat)
            assert np.array_equal(batch.rows, sequence[step].rows)


def test_steps_computed_ahead_are_the_steps_one_by_one_where_shares_differ():
    plan = EpochPlan({"a": 9000, "b": 700, "c": 40_000}, {"a": 7, "b": 1, "c": 100}, 3)

    for rank in (None, 2):
        for step, batch in enumerate(plan.batches(range(len(plan)), rank)):
            alone = plan.batch(step, rank)
            assert (batch.dataset, batch.repeat) == (alone.dataset, alone.repeat)
            assert np.array_equal(batch.rows, alone.rows)


@pytest.mark.parametrize("method", METHODS)
def test_200_datasets_of_10_to_the_9_rows_on_4096_ranks(method):
    sizes = {f"dataset {i}": 10**9 + 12_345 * i for i in range(200)}
    plan = EpochPlan(sizes, 32, 4096, 7, method, epoch=3)

    for step in (0, len(plan) // 2, len(plan) - 1):
        shares = [plan.for_rank(step, rank) for rank in (0, 1, 2047, 4095)]
        assert len({name for name, _ in shares}) == 1
        assert len(np.unique([rows for _, rows in shares])) == 4 * 32


DIGEST = """
import hashlib
from itertools import product
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
seen = hashlib.blake2b(digest_size=8)
methods = ("epoch", "epoch-static", "epoch-random", "random")
for n, (method, remainder, window) in enumerate(product(methods, ("rotate", "drop"), (None, 3))):
    sizes = {"qa": 50 + n, "tool": 131, "chat": 10**4}
    windowed = None if method == "random" else window
    plan = EpochPlan(
        sizes, {"qa": 2, "tool": 3, "chat": 5}, 1 + n % 4, 11 + n, method, n, remainder=remainder,
        weights={"tool": 1.5}, length_window=windowed,
        lengths={name: [row % 17 for row in range(rows)] for name, rows in sizes.items()},
    )
    for step in (*range(40), len(plan) - 1):
        batch = plan.batch(step)
        seen.update(f"{batch.dataset} {batch.repeat} {batch.rows.tolist()}".encode())
print(seen.hexdigest())
"""


def test_a_plan_is_the_same_in_every_version(capsys):
    """Checkpoints rely on it: where this word changes, a resumed run goes on with other batches."""
    exec(DIGEST, {})

    assert capsys.readouterr().out == "14909d70292316c7\n"


@pytest.mark.slow
def test_a_plan_is_the_same_in_every_process():
    """Whatever order Python gives the members of a set."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "4242")
    ]
    seen = [process.communicate()[0] for process in running]

    assert len(seen[0]) > 16
    assert len(set(seen)) == 1
