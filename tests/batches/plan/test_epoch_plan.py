"""Which rows make up each global batch."""

import re
from collections import Counter
from math import gcd

import numpy as np
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from strategies import METHODS, plan_like, plans

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.plan.permutation import permute
from llm_embedder_data.config import ConfigError
from llm_embedder_data.core.hashing import stream_seed

ONCE = ("epoch", "epoch-static", "epoch-random")  # a row comes once in a pass


def rows_per_dataset(plan):
    """All rows of an epoch, in order, by dataset."""
    rows = {}
    for name, batch in plan:
        rows.setdefault(name, []).extend(batch.tolist())
    return rows


def whole_batches(plan):
    return Counter((name, tuple(rows.tolist())) for name, rows in plan)


@given(plans(weights=(1.0, 1.7, 2.5)))
def test_the_length_is_the_number_of_steps(plan):
    steps = list(plan)

    assert len(steps) == len(plan) == sum(plan.steps.values()) > 0
    with pytest.raises(IndexError, match=rf"step must be in \[0, {len(plan)}\), got {len(plan)}"):
        plan[len(plan)]


@given(plans(weights=(1.0, 2.5)))
def test_every_epoch_has_the_same_length(plan):
    assert len({len(plan.at(epoch)) for epoch in range(4)}) == 1


@given(plans(weights=(1.0, 2.5)))
def test_the_ranks_share_the_global_batch_in_order(plan):
    for step in range(len(plan)):
        name, whole = plan[step]
        shares = [plan.for_rank(step, rank) for rank in range(plan.num_replicas)]
        assert {share[0] for share in shares} == {name}
        assert {len(share[1]) for share in shares} == {plan.batch_size[name]}
        assert np.array_equal(np.concatenate([share[1] for share in shares]), whole)


@given(plans(weights=(1.0, 2.5)))
def test_no_row_is_twice_in_a_global_batch(plan):
    for name, rows in plan:
        assert len(set(rows.tolist())) == len(rows) == plan.batch_size[name] * plan.num_replicas
        assert 0 <= rows.min() <= rows.max() < plan.sizes[name]


@given(plans(weights=(1.0, 2.5)))
def test_the_number_of_ranks_does_not_change_the_global_batch(plan):
    alone = plan_like(
        plan,
        batch_size={name: size * plan.num_replicas for name, size in plan.batch_size.items()},
        num_replicas=1,
    )

    assert len(alone) == len(plan)
    for (name, rows), (other_name, other_rows) in zip(plan, alone, strict=True):
        assert name == other_name
        assert np.array_equal(rows, other_rows)


@given(plans(methods=ONCE))
def test_an_epoch_takes_each_row_once_but_for_the_remainder(plan):
    rows = rows_per_dataset(plan)

    assert set(rows) == set(plan.sizes)
    for name, taken in rows.items():
        global_batch = plan.batch_size[name] * plan.num_replicas
        assert len(set(taken)) == len(taken) == plan.sizes[name] // global_batch * global_batch


@given(st.integers(1, 9).flatmap(lambda batch: st.tuples(st.just(batch), st.integers(batch, 24))))
@tried(60)
def test_every_row_is_left_out_equally_often(shape):
    global_batch, n_rows = shape
    drawn = np.zeros(n_rows, int)

    for epoch in range(n_rows // gcd(n_rows, n_rows % global_batch)):
        for rows in rows_per_dataset(EpochPlan({"a": n_rows}, global_batch, epoch=epoch)).values():
            drawn[rows] += 1
        assert np.ptp(drawn) <= 1
    assert np.ptp(drawn) == 0


@given(plans(methods=("epoch", "epoch-random"), remainders=("rotate",)))
def test_the_rows_left_out_are_the_next_places_of_one_fixed_order(plan):
    for name, taken in rows_per_dataset(plan).items():
        n_rows = plan.sizes[name]
        order = np.arange(n_rows)
        if plan.shuffle_window is None:
            order = permute(order, n_rows, stream_seed(plan.seed, "row order", name))
        r = n_rows % (plan.batch_size[name] * plan.num_replicas)
        left_out = {int(order[(plan.epoch * r + i) % n_rows]) for i in range(r)}
        assert set(range(n_rows)) - set(taken) == left_out


@given(plans(methods=ONCE, remainders=("drop",)))
def test_drop_leaves_the_same_rows_out_in_every_epoch(plan):
    epochs = [rows_per_dataset(plan.at(epoch)) for epoch in range(3)]

    for name in plan.sizes:
        assert set(epochs[0][name]) == set(epochs[1][name]) == set(epochs[2][name])


@given(plans(methods=("epoch-static",), weights=(1.0, 2.5)))
def test_epoch_static_has_the_batches_of_epoch_0(plan):
    assert whole_batches(plan) == whole_batches(plan.at(0))


@pytest.mark.parametrize("method", METHODS)
def test_epochs_and_seeds_differ_and_a_plan_is_the_same_again(method):
    sizes = {"a": 64, "b": 48}

    def steps(seed, epoch):
        plan = EpochPlan(sizes, 4, 2, seed, method, epoch)
        return [(name, *rows.tolist()) for name, rows in plan]

    assert steps(1, 0) == steps(1, 0)
    assert len({str(steps(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("method", METHODS)
def test_each_step_is_drawn_from_a_dataset_in_proportion(method):
    """At any step of an epoch; for epoch-random that is the draw from what is left."""
    counts = Counter()
    for epoch in range(400):
        plan = EpochPlan({"big": 90, "small": 30}, 3, 1, 5, method, epoch)
        counts += Counter(plan[step][0] for step in (0, 17, 39))

    assert abs(counts["big"] / 1200 - 0.75) < 0.06  # five standard deviations


def test_random_draws_datasets_by_rows_times_weight_whatever_their_batch_size():
    plan = EpochPlan(
        {"a": 60_000, "b": 10_000},
        {"a": 10, "b": 5},
        organize_method="random",
        weights={"b": 2.0},
    )

    counts = Counter(plan[step][0] for step in range(4000))

    assert abs(counts["b"] / 4000 - 0.25) < 0.035  # 2 x 10,000 of 80,000 rows


def test_a_weight_is_passes_and_each_pass_takes_every_row_once():
    taken, repeats = Counter(), []
    for epoch in range(2):
        plan = EpochPlan({"a": 12, "b": 40}, 4, epoch=epoch, weights={"a": 2.5})
        batches = [plan.batch(step) for step in range(len(plan))]
        of_a = [batch for batch in batches if batch.dataset == "a"]
        taken += Counter(row for batch in of_a for row in batch.rows.tolist())
        repeats.append(Counter(batch.repeat for batch in of_a))
        assert plan.steps == {"a": 7, "b": 10}

    assert repeats == [{0: 3, 1: 3, 2: 1}, {0: 2, 1: 3, 2: 2}]
    assert sorted(taken) == list(range(12))
    assert sum(taken.values()) == 56
    assert np.ptp(list(taken.values())) <= 1  # 14 batches are four passes and two batches


def test_a_row_drawn_in_two_passes_of_an_epoch_has_two_repeats():
    plan = EpochPlan({"a": 12}, 4, weights={"a": 2.0})

    seen = Counter((row, batch.repeat) for batch in map(plan.batch, range(6)) for row in batch.rows)

    assert set(seen.values()) == {1}
    assert len(seen) == 24


def test_ten_to_the_nine_rows_plan_like_a_thousand():
    plan = EpochPlan({"a": 10**9, "b": 10**9}, 32, 8, epoch=3)

    name, rows = plan[len(plan) - 1]

    assert len(plan) == 2 * (10**9 // 256)
    assert name in ("a", "b")
    assert len(set(rows.tolist())) == 256


def test_slices_and_negative_steps_work_as_in_a_list():
    plan = EpochPlan({"a": 20}, 4)
    steps = [rows.tolist() for _, rows in plan]

    assert [rows.tolist() for _, rows in plan[1:4]] == steps[1:4]
    assert plan[-1][1].tolist() == steps[-1]


def test_a_dataset_too_small_is_an_error_that_names_it_and_the_remedies():
    with pytest.raises(
        ConfigError,
        match=re.escape(
            "dataset 'qa' has 18 rows, fewer than one global batch of 1000 (500 per rank x 2 ranks)"
            "\n(make data.batch_size smaller, or set data.small_datasets to drop or repeat)"
        ),
    ):
        EpochPlan({"qa": 18, "chat": 5000}, 500, 2)


def test_small_datasets_can_be_dropped_and_are_named():
    plan = EpochPlan({"qa": 3, "chat": 40}, 4, 2, small_datasets="drop")

    assert plan.dropped == {"qa": 3}
    assert set(rows_per_dataset(plan)) == {"chat"}


@pytest.mark.parametrize("method", METHODS)
def test_small_datasets_can_be_repeated_every_row_equally_often(method):
    counts = Counter()
    for epoch in range(3):
        plan = EpochPlan({"qa": 3, "chat": 8}, 4, 1, 1, method, epoch, small_datasets="repeat")
        for name, rows in plan:
            assert len(rows) == 4
            if name == "qa":
                counts.update(rows.tolist())

    if method in ("epoch", "epoch-random"):
        assert set(counts.values()) == {4}  # 3 epochs x 4 places / 3 rows
    else:
        assert set(counts) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"organize_method": "epochs"}, "data.organize_method='epochs': expected one of epoch, "),
        ({"organize_method": "epochs"}, "did you mean 'epoch'?"),
        ({"remainder": "keep"}, "data.remainder='keep': expected one of rotate, drop"),
        ({"small_datasets": "skip"}, "data.small_datasets='skip': expected one of error, drop"),
        ({"num_replicas": 0}, "num_replicas=0: expected a whole number from 1 to"),
        ({"epoch": -1}, "epoch=-1: expected a whole number of at least 0"),
        ({"seed": "7"}, "seed='7': expected a whole number of at least 0"),
        ({"batch_size": 0}, "batch_size=0: expected a whole number from 1 to"),
        ({"batch_size": 2.5}, "batch_size=2.5: expected a whole number from 1 to"),
        ({"batch_size": True}, "batch_size=True: expected a whole number from 1 to"),
        (
            {"batch_size": 10**30, "small_datasets": "repeat"},
            "expected a whole number from 1 to",
        ),
        ({"batch_size": {"qa": "4"}}, "batch_size['qa']='4': expected a whole number from 1"),
        ({"sizes": {"qa": 20.0}}, "sizes['qa']=20.0: expected a whole number of at least 0"),
        ({"sizes": [("qa", 20)]}, "sizes=[('qa', 20)]: expected the rows of each dataset"),
        ({"batch_size": {"qas": 4}}, "batch_size names dataset 'qas', expected one of qa; did you"),
        (
            {"batch_size": {}},
            "batch_size has no value for dataset 'qa' (give one for each dataset)",
        ),
        ({"weights": {"qa": "2"}}, "weights['qa']='2': expected a number above 0"),
        ({"weights": {"aq": 2.0}}, "weights names dataset 'aq', expected one of qa"),
        ({"weights": {"qa": 0.1}}, "weight 0.1 of dataset 'qa' gives it 0 global batches an epoch"),
        ({"weights": {"qa": 0.1}}, "a pass has 5 (give a weight of at least 0.2)"),
        ({"weights": {"qa": -1.0}}, "weight -1 of dataset 'qa' gives it -5 global batches"),
        ({"weights": {"qa": float("nan")}}, "weight nan of dataset 'qa' gives it nan global"),
        ({"weights": {"qa": float("inf")}}, "weight inf of dataset 'qa' gives it inf global"),
        ({"sizes": {}}, "no dataset to train on (give data.train_data)"),
        (
            {"sizes": {"qa": 3}, "small_datasets": "drop"},
            "no dataset is left to train on (data.small_datasets='drop' took all of them out)",
        ),
        ({"sizes": {"qa": 0}, "small_datasets": "repeat"}, "dataset 'qa' has 0 rows"),
    ],
)
def test_an_impossible_value_is_refused(arguments, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        EpochPlan(**{"sizes": {"qa": 20}, "batch_size": 4} | arguments)


def test_a_rank_outside_is_refused():
    with pytest.raises(IndexError, match=r"rank must be in \[0, 2\), got 2"):
        EpochPlan({"a": 20}, 4, 2).for_rank(0, 2)


@pytest.mark.parametrize("step", [1.5, 1.0, "1", None])
def test_a_step_or_rank_that_is_no_integer_is_refused(step):
    plan = EpochPlan({"a": 20}, 4, 2)
    with pytest.raises(TypeError, match="integer"):
        plan[step]
    with pytest.raises(TypeError, match="integer"):
        plan.for_rank(step, 0)
    with pytest.raises(TypeError, match="integer"):
        plan.for_rank(0, 1.0)

    assert plan[np.int64(1)][1].tolist() == plan[1][1].tolist()


def test_a_dataset_whose_row_numbers_do_not_fit_64_bits_is_refused():
    rows = EpochPlan({"a": 2**62}, 64, 1024)[-1][1]
    assert 0 <= rows.min() <= rows.max() < 2**62

    with pytest.raises(ConfigError, match=r"sizes\['a'\]=\d+: a dataset has at most 4,611,686"):
        EpochPlan({"a": 2**62 + 1}, 4)


def test_a_global_batch_beyond_32_bits_is_refused():
    with pytest.raises(ConfigError, match=r"on 4 ranks: a global batch has at most 2,147,483,647"):
        EpochPlan({"a": 8}, 2**30, 4, small_datasets="repeat")
