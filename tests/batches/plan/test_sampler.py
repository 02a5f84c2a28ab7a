"""This rank's share of the plan."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import plans

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.plan.sampler import (
    BatchIndex,
    OverfitSampler,
    SameTaskSampler,
    ShardSampler,
)


@given(plans(weights=(1.0, 2.5)))
def test_at_each_step_the_ranks_hold_one_dataset_and_together_the_global_batch(plan):
    samplers = [SameTaskSampler(plan, rank=rank) for rank in range(plan.num_replicas)]
    for sampler in samplers:
        sampler.set_epoch(plan.epoch)

    for step, indices in enumerate(zip(*samplers, strict=True)):
        name, rows = plan[step]
        assert {(i.epoch, i.step, i.dataset) for i in indices} == {(plan.epoch, step, name)}
        assert [row for index in indices for row in index.rows] == rows.tolist()


@given(plans(), st.integers(0, 30))
def test_a_start_skips_exactly_the_steps_before_it(plan, step):
    whole = SameTaskSampler(plan)
    whole.set_epoch(3)
    step = min(step, len(plan))

    resumed = SameTaskSampler(plan, start=(3, step))
    resumed.set_epoch(3)  # a resumed run calls it with the epoch it is at

    assert list(resumed) == list(whole)[step:]
    assert len(resumed) == len(whole) == len(plan)


def test_the_next_epoch_begins_at_its_first_step():
    plan = EpochPlan({"a": 24}, 4)
    sampler = SameTaskSampler(plan, start=(1, 4))

    sampler.set_epoch(2)

    assert [(index.epoch, index.step) for index in sampler] == [(2, step) for step in range(6)]


def test_epochs_of_a_sampler_differ():
    sampler = SameTaskSampler(EpochPlan({"a": 24}, 4))
    first = [index.rows for index in sampler]

    sampler.set_epoch(1)

    assert [index.rows for index in sampler] != first


def test_overfitting_repeats_the_first_batches_in_every_epoch():
    sampler = OverfitSampler(EpochPlan({"a": 24}, 4), start=(2, 3))
    first = list(sampler)

    sampler.set_epoch(5)

    assert list(sampler) == first == list(SameTaskSampler(EpochPlan({"a": 24}, 4)))


def test_an_index_and_a_sampler_survive_pickling():
    sampler = SameTaskSampler(EpochPlan({"a": 24}, 4, 2), rank=1)

    assert list(pickle.loads(pickle.dumps(sampler))) == list(sampler)
    assert isinstance(next(iter(sampler)), BatchIndex)


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 5))
def test_shards_hold_every_row_once_in_order(n_rows, batch_size, n_ranks):
    samplers = [
        ShardSampler(n_rows, batch_size, rank=rank, num_replicas=n_ranks) for rank in range(n_ranks)
    ]
    batches = [list(sampler) for sampler in samplers]

    rows = [row for shard in batches for batch in shard for row in batch.tolist()]
    assert rows == list(range(n_rows))
    assert all(len(batch) <= batch_size for shard in batches for batch in shard)
    assert len({len(shard) for shard in batches}) == 1
    assert [len(shard) for shard in batches] == [len(sampler) for sampler in samplers]


@given(st.integers(0, 40), st.integers(1, 9), st.integers(2, 5))
def test_a_shards_batches_are_those_of_one_rank(n_rows, batch_size, n_ranks):
    alone = [batch.tolist() for batch in ShardSampler(n_rows, batch_size)]
    shared = [
        batch.tolist()
        for rank in range(n_ranks)
        for batch in ShardSampler(n_rows, batch_size, rank=rank, num_replicas=n_ranks)
        if len(batch)
    ]

    assert shared == alone
    sizes = set(map(len, alone))
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_shards_are_the_same_in_every_epoch():
    sampler = ShardSampler(7, 2)
    first = np.concatenate(list(sampler))

    sampler.set_epoch(1)

    assert np.array_equal(np.concatenate(list(sampler)), first)


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_outside_is_refused(rank):
    with pytest.raises(ValueError, match=rf"rank must be in \[0, 2\), got {rank}"):
        SameTaskSampler(EpochPlan({"a": 24}, 4, 2), rank=rank)
    with pytest.raises(ValueError, match=rf"rank must be in \[0, 2\), got {rank}"):
        ShardSampler(7, 2, rank=rank, num_replicas=2)


@pytest.mark.parametrize("steps_ahead", [0, 3, 1000])
def test_later_steps_are_announced_before_a_step_is_given(steps_ahead):
    announced = []
    plan = EpochPlan({"a": 80}, 4)
    sampler = SameTaskSampler(plan, fetch_ahead=announced.append, steps_ahead=steps_ahead)

    given_indices = []
    for index in sampler:
        given_indices.append(index)
        assert len(announced) == min(len(given_indices) + steps_ahead, len(plan))
    assert given_indices == announced == list(SameTaskSampler(plan))
