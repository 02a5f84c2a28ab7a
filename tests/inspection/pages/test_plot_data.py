import json

import numpy as np
import pytest
from inspection_cases import opened

from llm_embedder_data.inspection.pages import plot_data as module_of_plots


def test_lengths_are_those_of_real_batches(tmp_path, minilm):
    module = opened(tmp_path, minilm)

    facts = module.plot_data(epochs=2)

    for name, steps in facts["sampled_steps"].items():
        shown = [module.show(step) for step in steps]
        assert {one["dataset"] for one in shown} == {name}
        lengths = [q["decoded"]["n_tokens"] for one in shown for q in one["queries"]]
        own = facts["lengths"][name]["query"]
        assert sum(own["counts"]) == len(lengths)
        assert own["at_limit"] == pytest.approx(np.mean(np.array(lengths) == own["limit"]))
        n_real = sum(
            k["role"] != "padding" for one in shown for q in one["queries"] for k in q["keys"]
        )
        assert sum(facts["lengths"][name]["key"]["counts"]) == n_real


def test_scores_are_those_of_the_chosen_keys(tmp_path, minilm):
    module = opened(tmp_path, minilm)

    facts = module.plot_data(epochs=1)

    assert list(facts["scores"]) == ["tool"]
    keys = [
        key
        for step in facts["sampled_steps"]["tool"]
        for query in module.show(step)["queries"]
        for key in query["keys"]
    ]
    for role in ("positive", "negative"):
        assert sum(facts["scores"]["tool"][role]) == sum(key["role"] == role for key in keys)
    assert facts["scores"]["tool"]["edges"][0] == min(key["teacher_score"] for key in keys)


@pytest.mark.parametrize("settings", [{}, {"unique_keys": True}, {"cross": True}])
def test_packed_has_no_padding_and_chunks_have_no_more_than_padded(
    tmp_path, minilm_model, settings
):
    module = opened(tmp_path, minilm_model, chunk_size=2, pad_to_multiple_of=None, **settings)

    padding = module.plot_data(epochs=1)["padding"]

    assert set(padding) == {"qa", "tool", "chat"}
    for shares in padding.values():
        assert shares["packed"] == 0
        assert shares["chunked"] <= shares["padded"] + 1e-9
    assert any(shares["padded"] > 0.02 for shares in padding.values())


@pytest.mark.parametrize("settings", [{}, {"organize_method": "random"}, {"remainder": "drop"}])
def test_coverage_is_the_share_of_rows_that_a_step_held(tmp_path, minilm, settings):
    module = opened(tmp_path, minilm, **settings)
    seen = {}

    facts = module.plot_data(epochs=3, world_size=1)

    assert facts["coverage_is_exact"]
    for epoch in range(3):
        for name, rows in module.plan(epoch):
            seen.setdefault(name, set()).update(rows.tolist())
        for name, rows in seen.items():
            n_kept = len(module.train_sets()[name].kept)
            assert facts["coverage"][name][epoch] == pytest.approx(len(rows) / n_kept)


@pytest.mark.parametrize(
    "settings", [{}, {"remainder": "drop"}, {"organize_method": "epoch-static"}]
)
def test_coverage_from_sizes_is_near_to_what_is_counted(tmp_path, minilm, settings, monkeypatch):
    module = opened(tmp_path, minilm, **settings)
    counted = module.plot_data(epochs=6)["coverage"]
    monkeypatch.setattr(module_of_plots, "_MOST_ROWS", 1)

    facts = module.plot_data(epochs=6)

    assert not facts["coverage_is_exact"]
    for name, shares in facts["coverage"].items():
        assert shares == pytest.approx(counted[name], abs=0.02)


def test_tasks_are_the_plans(tmp_path, minilm):
    module = opened(tmp_path, minilm)

    tasks = module.plot_data(epochs=1)["tasks"]

    assert tasks["steps"] == len(module.plan())
    of_step = [module.train_sets()[name].task for name, _ in module.plan()]
    for step, task in enumerate(of_step):
        assert {name: own[step] for name, own in tasks["shares"].items() if own[step]} == {task: 1}


def test_collisions_are_those_that_the_doctor_expects(tmp_path, minilm):
    module = opened(tmp_path, minilm, small_datasets="drop")

    collisions = module.plot_data(epochs=1)["collisions"]["qa"]

    for world, pairs in zip(collisions["worlds"], collisions["pairs"], strict=True):
        found = module.diagnose(world_size=world)["datasets"]["qa"]["checks"]["expected_collisions"]
        assert found["count"] == pytest.approx(pairs)
    assert collisions["worlds"] == [1, 2, 4]
    assert collisions["pairs"][-1] > 0


def test_a_large_dataset_is_not_read_in_full(tmp_path, minilm, monkeypatch):
    monkeypatch.setattr(module_of_plots, "MOST_COMPARED_ROWS", 12)

    facts = opened(tmp_path, minilm).plot_data(epochs=1)

    assert [name for name, own in facts["collisions"].items() if own is None] == ["qa", "tool"]
    json.dumps(facts, allow_nan=False)
