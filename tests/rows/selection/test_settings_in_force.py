"""Settings that need teacher scores, with and without them."""

import re

import pytest
from set_cases import ROW, SCORED, train, write

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.selection.train_settings import TrainSettings

NEEDING = [
    {"select_positive": "teacher"},
    {"select_positive": "teacher-pos"},
    {"select_negative": "teacher+"},
    {"select_negative": "teacher-"},
    {"stable_distill": True},
]


@pytest.mark.parametrize("needing", NEEDING)
def test_a_given_setting_that_needs_scores_is_an_error_without_scores(tmp_path, needing):
    [(name, value)] = needing.items()
    path = write(tmp_path, [SCORED, ROW])

    with pytest.raises(
        DataError,
        match=re.escape(
            f"{path}, row 1 (line 2): no teacher_scores, which {name}={value!r} needs for task "
            "'qa'; 1 of 2 rows have none (score the rows, or remove the setting)"
        ),
    ):
        train(path, **needing)


@pytest.mark.parametrize("needing", NEEDING)
def test_a_recipe_setting_that_needs_scores_is_ignored_without_scores(tmp_path, needing):
    [made] = train(write(tmp_path, [ROW, ROW]), settings=lambda task: TrainSettings(**needing))

    [(name, value)] = needing.items()
    assert made.settings == TrainSettings()
    assert made.notes[-1] == (
        f"dataset 'qa' has no teacher_scores: the recipe's {name}={value!r} for task 'qa' is "
        "ignored, and it is trained with the contrastive loss alone"
    )


@pytest.mark.parametrize("needing", NEEDING)
def test_a_recipe_setting_that_needs_scores_applies_if_some_rows_have_scores(tmp_path, needing):
    [made] = train(write(tmp_path, [SCORED, ROW]), settings=lambda task: TrainSettings(**needing))

    assert made.settings == TrainSettings(**needing)
    assert "1 of 2 rows have no teacher_scores" in made.notes[-1]
    assert made.n_scored == 1


def test_data_with_scores_takes_every_setting_without_a_note(tmp_path):
    [made] = train(write(tmp_path, [{**SCORED, "task": "qa"}]), stable_distill=True)

    assert made.settings.stable_distill
    assert made.notes == ()
