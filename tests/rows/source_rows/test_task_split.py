"""The rows of a source by task."""

import re

import pytest
from set_cases import ROW, train, write

from llm_embedder_data.core.errors import DataError


def test_the_task_is_the_rows_else_the_sources_else_the_default(tmp_path):
    path = write(tmp_path, [ROW, {**ROW, "task": "icl"}])
    plain = write(tmp_path, [ROW])

    assert {
        train_set.task: train_set.kept.tolist()
        for train_set in train(path, source={"task": "chat"})
    } == {
        "chat": [0],
        "icl": [1],
    }
    assert [train_set.task for train_set in train(plain, source={"task": "chat"})] == ["chat"]
    [train_set] = train(plain, default_task="tool")
    assert train_set.task == "tool"
    assert train_set.notes == ("1 rows name no task: taken as 'tool' (data.default_task)",)


def test_rows_of_several_tasks_become_one_dataset_per_task(tmp_path):
    rows = [{**ROW, "task": task} for task in ("qa", "icl", "qa")] + ["no json"]
    train_sets = train(write(tmp_path, rows), on_bad_row="skip", max_sample_num=1)

    assert [(train_set.name, train_set.task, train_set.n_read) for train_set in train_sets] == [
        ("qa:icl", "icl", 2),  # the bad row is counted with the first
        ("qa:qa", "qa", 2),
    ]
    assert [train_set.dropped for train_set in train_sets] == [
        {"bad_row": 1},
        {"max_sample_num": 1},
    ]


def test_rows_without_a_task_beside_rows_of_another_are_an_error(tmp_path):
    path = write(tmp_path, [{**ROW, "task": "icl"}, ROW])

    with pytest.raises(
        DataError,
        match=re.escape(
            f"{path}, row 1 (line 2): no task, while other rows of the source name 'icl' (name a "
            "task in every row, or give the source a task)"
        ),
    ):
        train(path)


def test_the_task_of_a_bad_row_is_ignored(tmp_path):
    path = write(tmp_path, [ROW, {"query": "q", "task": "nonsense"}])

    [train_set] = train(path, on_bad_row="skip")

    assert (train_set.task, train_set.kept.tolist()) == ("qa", [0])


def test_a_task_that_the_recipe_lacks_is_an_error_that_lists_its_tasks(tmp_path):
    path = write(tmp_path, [{**ROW, "task": "qa"}, {**ROW, "task": "tools"}])

    with pytest.raises(
        DataError, match=re.escape(f"{path}, row 1 (line 2): task 'tools' is not")
    ) as e:
        train(path)

    assert "which knows chat, convsearch, icl, lrlm, qa, tool; did you mean 'tool'?" in str(e.value)
    assert [train_set.task for train_set in train(path, recipe="bge")] == ["qa", "tools"]
