from itertools import combinations

import numpy as np
import pytest
from doctor_cases import SOUND, counts, opened
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.inspection.doctor.checks.plan_checks import expected_collisions


def test_the_plan_says_which_rows_are_never_sampled(tmp_path, minilm):
    module = opened(tmp_path, minilm, {"a": SOUND + SOUND[:1], "b": SOUND[:1]}, remainder="drop")

    diagnosis = module.diagnose()

    assert counts(diagnosis, "a")["never_sampled"] == 1
    assert counts(diagnosis, "b")["never_sampled"] == 1
    assert counts(diagnosis, "b")["below_global_batch"] == 1


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
