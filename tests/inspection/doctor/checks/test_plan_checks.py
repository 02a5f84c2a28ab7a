from itertools import combinations

import numpy as np
import pytest
from doctor_cases import SOUND, counts, opened, write
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import ConfigError, RetrievalDataModule
from llm_embedder_data.inspection.doctor.checks.plan_checks import expected_collisions
from llm_embedder_data.inspection.doctor.results.diagnosis_page import diagnosis_page


def test_the_plan_says_which_rows_are_never_sampled(tmp_path, minilm):
    module = opened(tmp_path, minilm, {"a": SOUND + SOUND[:1], "b": SOUND[:1]}, remainder="drop")

    diagnosis = module.diagnose()

    assert counts(diagnosis, "a")["never_sampled"] == 1
    assert counts(diagnosis, "b")["never_sampled"] == 1
    assert counts(diagnosis, "b")["below_global_batch"] == 1


def made(folder, minilm, train, **settings):
    files = {name: write(folder / name / "t.jsonl", rows) for name, rows in train.items()}
    module = RetrievalDataModule(
        str(minilm), files, batch_size=2, cache_dir=folder / "cache", **settings
    )
    module.prepare_data()
    return module


def test_datasets_below_a_global_batch_are_reported_and_the_others_planned(tmp_path, minilm):
    module = made(tmp_path, minilm, {"a": SOUND, "b": SOUND[:1]})
    with pytest.raises(ConfigError, match="dataset 'b' has 1 rows"):
        module.setup()

    diagnosis = module.diagnose(world_size=2)

    found = diagnosis["datasets"]["b"]["checks"]["below_global_batch"]
    sentence = (
        "1 rows, fewer than one global batch of 4 (2 per rank x 2 ranks): fit refuses to start "
        "(data.small_datasets=error)"
    )
    assert found["count"] == 1
    assert found["examples"][0]["text"] == sentence
    assert counts(diagnosis, "b")["never_sampled"] == 1
    assert counts(diagnosis, "b")["duplicate_rows"] == 1
    assert "below_global_batch" not in counts(diagnosis, "a")
    assert diagnosis["datasets"]["a"]["global_batch"] == 4
    assert (diagnosis["plan"]["steps_per_epoch"], diagnosis["plan"]["num_replicas"]) == (1, 2)
    assert diagnosis["plan"]["tokens_per_epoch"] > 0
    assert "dataset 'b' has 1 rows" in diagnosis["refused"]
    assert "set data.small_datasets to drop or repeat" in diagnosis["refused"]
    for shown in (str(diagnosis), diagnosis_page(diagnosis), diagnosis._repr_html_()):
        assert "ith these settings would be refused" in shown
        assert "data.small_datasets=error" in shown


@pytest.mark.parametrize("small", ["error", "drop"])
def test_without_a_dataset_that_fills_a_global_batch_there_is_no_plan(tmp_path, minilm, small):
    module = made(tmp_path, minilm, {"a": SOUND}, small_datasets=small)
    module.setup()

    diagnosis = module.diagnose(world_size=64)

    assert diagnosis["plan"] is None
    found = counts(diagnosis, "a")
    assert (found["never_sampled"], found["below_global_batch"]) == (4, 4)
    assert "would be refused" in str(diagnosis)
    assert "would be refused" in diagnosis_page(diagnosis)


@pytest.mark.parametrize("small", ["drop", "repeat"])
def test_nothing_is_refused_where_small_datasets_are_allowed(tmp_path, minilm, small):
    module = made(tmp_path, minilm, {"a": SOUND, "b": SOUND[:1]}, small_datasets=small)
    module.setup()

    diagnosis = module.diagnose(world_size=2)

    assert diagnosis["refused"] is None
    assert "refused" not in str(diagnosis)
    assert counts(diagnosis, "b")["below_global_batch"] == 1


@pytest.mark.parametrize("stage", ["fit", None])
def test_training_on_a_dataset_below_a_global_batch_is_refused(tmp_path, minilm, stage):
    module = made(tmp_path, minilm, {"a": SOUND, "b": SOUND[:1]})

    for _ in range(2):
        with pytest.raises(ConfigError, match="dataset 'b' has 1 rows"):
            module.setup(stage)
    with pytest.raises(ConfigError, match="dataset 'b' has 1 rows"):
        module.train_dataloader()


@given(
    st.lists(
        st.lists(st.integers(0, 5), min_size=1, max_size=2, unique=True), min_size=2, max_size=7
    ),
    st.integers(2, 4),
)
def test_expected_collisions_are_the_mean_over_all_global_batches(positives, batch):
    n_rows = len(positives)
    batch = min(batch, n_rows)
    total = batches = 0.0
    for rows in combinations(range(n_rows), batch):
        batches += 1
        for i in rows:
            for j in rows:
                if i != j:
                    own = set(positives[i])
                    total += sum(key in own for key in positives[j]) / len(positives[j])

    prints = type("Prints", (), {})()
    prints.rows = np.arange(n_rows)
    prints.key = np.array([key for one in positives for key in one], np.uint64)
    prints.row_of_key = np.repeat(np.arange(n_rows), [len(one) for one in positives])
    prints.is_positive = np.ones(len(prints.key), bool)
    prints.n_pos = np.array([len(one) for one in positives])
    assert expected_collisions(prints, batch) == pytest.approx(total / batches)
