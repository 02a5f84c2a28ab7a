import json

import pytest
from doctor_cases import SOUND, counts, opened, row, write

from llm_embedder_data import RetrievalDataModule, read_rows
from llm_embedder_data.mining.scoring.scored_rows import RowsToScore


def test_fixed_files_read_back_without_the_faults(tmp_path, minilm):
    faulty = [
        *SOUND,
        SOUND[0],
        row(
            "the q",
            ["right one"],
            ["RIGHT one", "wrong one"],
            teacher_scores=[3, 2, 1],
            query_id="x",
            task="qa",
        ),
    ]
    module = opened(tmp_path / "first", minilm, {"set": faulty})

    diagnosis = module.diagnose(fix=tmp_path / "fixed")

    assert diagnosis["fixed"] == {"set": {"duplicate_rows": 1, "positive_among_negatives": 1}}
    lines = (tmp_path / "fixed" / "set.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows[:4] == SOUND
    assert rows[4] == row(
        "the q", ["right one"], ["wrong one"], teacher_scores=[3, 1], query_id="x", task="qa"
    )
    again = opened(tmp_path / "again", minilm, {"set": rows}).diagnose()
    assert counts(again, "set") == {}


def texts_of(i):
    return row(f"how deep is harbour {i}", [f"harbour {i} is deep"], [f"no ship {i}"])


NATIVE = [
    texts_of(0) | {"instruction": "Answer: ", "query_id": 7, "teacher_scores": [2.5, -1.5]},
    texts_of(1) | {"instruction": {"query": "", "key": "passage: "}, "answers": ["deep", "11 m"]},
    texts_of(2) | {"answers": "deep", "context": "harbour 2 is deep, says the map"},
    {"query": "no label", "history": ["one turn", "two turns"], "teacher_scores": [1.0, 2.0]},
]
FLAGEMBEDDING = [
    texts_of(0) | {"prompt": "Answer: ", "pos_scores": [2.5], "neg_scores": [-1.5]},
    texts_of(1) | {"prompt": "Group: ", "type": "symmetric_sts", "answers": ["deep"]},
    texts_of(2) | {"query_prompt": "Q: ", "passage_prompt": "P: ", "query_id": "q2"},
]


@pytest.mark.parametrize("rows", [NATIVE, FLAGEMBEDDING], ids=["native", "flagembedding"])
def test_fixed_files_train_on_the_same_rows(tmp_path, minilm, rows):
    module = opened(tmp_path / "first", minilm, {"set": [*rows, rows[0]]})

    module.diagnose(fix=tmp_path / "fixed")

    fixed = tmp_path / "fixed" / "set.jsonl"
    canonical = list(read_rows(str(tmp_path / "first" / "set" / "t.jsonl")))
    assert list(read_rows(str(fixed))) == canonical[:-1]
    answers = [json.loads(line).get("answers") for line in fixed.read_text().splitlines()]
    expected = [one.get("answers") for one in rows]
    assert answers == [[one] if isinstance(one, str) else one for one in expected]
    again = opened(
        tmp_path / "again", minilm, {"set": list(map(json.loads, fixed.read_text().splitlines()))}
    )
    report, before = again.report()["train"]["set"], module.report()["train"]["set"]
    assert report["format"] == "llm_embedder"
    assert report["rows_with_own_instructions"] == before["rows_with_own_instructions"] - 1
    assert again.diagnose()["datasets"]["set"]["checks"]["duplicate_rows"]["count"] == 0


def test_a_task_of_the_source_is_written(tmp_path, minilm):
    path = write(tmp_path / "t.jsonl", SOUND)
    module = RetrievalDataModule(
        str(minilm),
        train_data={"set": {"path": path, "task": "tool"}},
        batch_size=2,
        cache_dir=tmp_path / "cache",
    )
    module.prepare_data()
    module.setup("fit")

    module.diagnose(fix=tmp_path / "fixed")

    tasks = {one["task"] for one in read_rows(str(tmp_path / "fixed" / "set.jsonl"))}
    assert tasks == {"tool"}


@pytest.mark.parametrize("field", ["answers", "answer"])
def test_answers_of_fixed_files_are_those_that_a_likelihood_is_scored_with(tmp_path, minilm, field):
    rows = [texts_of(i) | {field: [f"answer {i}"], "context": f"context {i}"} for i in range(3)]
    module = opened(tmp_path / "first", minilm, {"set": rows})

    module.diagnose(fix=tmp_path / "fixed")

    scored = RowsToScore(str(tmp_path / "fixed" / "set.jsonl"), needs_answers=True)
    assert [(one.answers, one.context) for one in scored] == [
        ((f"answer {i}",), f"context {i}") for i in range(3)
    ]
