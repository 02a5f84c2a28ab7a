"""Steps are found by their rows as they are by drawing the epoch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import plans

from llm_embedder_data import EpochPlan


@given(plans(weights=(1.0, 1.5, 2.5)), st.data())
def test_no_other_step_has_the_rows_and_without_windows_each_one_has(plan, data):
    name = data.draw(st.sampled_from(list(plan.sizes)))
    row = st.integers(0, plan.sizes[name] - 1)
    rows = np.array(data.draw(st.lists(row, min_size=1, max_size=3)), np.int64)
    drawn = [
        step
        for step, (dataset, own) in enumerate(plan)
        if dataset == name and np.isin(rows, own).any()
    ]

    found = plan.steps_with(name, rows).tolist()

    assert set(drawn) <= set(found)
    assert found == sorted(set(found))
    assert max(found, default=0) < len(plan)
    has_windows = plan.length_window is not None or plan.separates_texts
    if plan.organize_method != "random" and not has_windows:
        assert found == drawn


@given(st.integers(1, 9))
def test_a_small_dataset_that_is_repeated_is_looked_for_in_all_steps(epoch):
    plan = EpochPlan({"a": 3, "b": 40}, 4, epoch=epoch, small_datasets="repeat")

    assert plan.steps_with("a", np.array([1])).tolist() == list(range(len(plan)))


def test_a_dropped_dataset_is_in_no_step():
    plan = EpochPlan({"a": 3, "b": 40}, 4, small_datasets="drop")

    assert plan.steps_with("a", np.array([1])).tolist() == []


def test_a_billion_rows_are_no_more_work_than_a_thousand():
    plan = EpochPlan({"a": 10**9, "b": 10**6}, 32, 8, epoch=5)
    name, rows = plan[1_234_567]

    assert 1_234_567 in plan.steps_with(name, rows[:1]).tolist()
