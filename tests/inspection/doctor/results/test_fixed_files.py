import json

import pytest
from doctor_cases import SOUND, counts, opened, row, write

from llm_embedder_data import ConfigError, RetrievalDataModule, read_rows
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


def scored(i, score):
    return texts_of(i) | {"teacher_scores": [score, 0.0]}


def test_rows_that_a_setting_leaves_out_are_written(tmp_path, minilm):
    rows = [scored(i, i / 10) for i in range(8)] + [{"query": "alone", "pos": ["a positive"]}]
    faults = [rows[0], {"query": "bad", "pos": []}, {"query": 3, "pos": ["p"]}]
    module = opened(
        tmp_path,
        minilm,
        {"set": [*rows, *faults]},
        teacher_scores_min=0.25,
        max_sample_num=3,
        on_bad_row="skip",
    )
    assert len(module.train_sets()["set"].kept) == 3

    diagnosis = module.diagnose(fix=tmp_path / "fixed")

    assert diagnosis["fixed"] == {"set": {"bad_row": 2, "duplicate_rows": 1}}
    assert "set: not in the cleaned file: 2 bad_row, 1 duplicate_rows" in str(diagnosis)
    written = (tmp_path / "fixed" / "set.jsonl").read_text().splitlines()
    assert [json.loads(line)["query"] for line in written] == [one["query"] for one in rows]


def test_rows_that_limits_on_negatives_leave_out_are_written(tmp_path, minilm):
    rows = [scored(0, 1.0), scored(1, 1.0) | {"teacher_scores": [1.0, 0.9]}]
    module = opened(tmp_path, minilm, {"set": rows * 2}, max_score=0.5)
    assert module.report()["train"]["set"]["dropped"] == {"no_negatives_left": 2}

    diagnosis = module.diagnose(fix=tmp_path / "fixed")

    assert diagnosis["fixed"] == {"set": {"duplicate_rows": 2}}
    written = (tmp_path / "fixed" / "set.jsonl").read_text().splitlines()
    assert list(map(json.loads, written)) == [one | {} for one in rows]


def test_rows_that_differ_in_their_instructions_are_no_duplicates(tmp_path, minilm):
    rows = [texts_of(0), texts_of(0) | {"instruction": {"query": "Other: ", "key": None}}]
    module = opened(tmp_path, minilm, {"set": [*rows, *SOUND[1:]]}, add_instruction=False)

    assert module.diagnose(fix=tmp_path / "fixed")["fixed"] == {"set": {}}
    written = (tmp_path / "fixed" / "set.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written][:2] == rows


def test_a_row_without_labels_whose_candidates_are_known_positives_is_counted(tmp_path, minilm):
    bare = {"query": texts_of(0)["query"], "history": texts_of(0)["pos"], "teacher_scores": [1.0]}
    settings = {"select_positive": "teacher", "on_no_negatives": "keep"}
    rows = [scored(i, 1.0) for i in range(4)]
    module = opened(tmp_path, minilm, {"set": [*rows, bare]}, **settings)

    assert module.diagnose(fix=tmp_path / "fixed")["fixed"] == {"set": {"no_candidates_left": 1}}
    assert len((tmp_path / "fixed" / "set.jsonl").read_text().splitlines()) == len(rows)


def test_rows_of_one_negative_stay_so(tmp_path, minilm):
    rows = [
        texts_of(i) | {"neg": ["no ship", f"no {i}"], "type": "only_1neg", "query_id": f"q{i}"}
        for i in range(4)
    ]
    rows[1] |= {"prompt": "Answer: ", "pos_scores": [2.0], "neg_scores": [1.0, -1.0]}
    rows[2] |= {"passage_prompt": "P: "}
    module = opened(tmp_path / "first", minilm, {"set": [*rows, rows[0]]})

    module.diagnose(fix=tmp_path / "fixed")

    fixed = tmp_path / "fixed" / "set.jsonl"
    canonical = list(read_rows(str(tmp_path / "first" / "set" / "t.jsonl")))
    assert list(read_rows(str(fixed))) == canonical[:-1]
    written = list(map(json.loads, fixed.read_text().splitlines()))
    again = opened(tmp_path / "again", minilm, {"set": written})
    assert again.train_sets()["set"].largest_group == 2


def test_two_sets_with_one_cleaned_file_are_refused(tmp_path, minilm):
    folder = tmp_path / "data"
    module = opened(folder, minilm, {"a/B": SOUND, "a_b": SOUND})

    with pytest.raises(ConfigError, match=r"'a/B' and 'a_b' would both be written to a_b\.jsonl"):
        module.diagnose(fix=tmp_path / "fixed")

    assert not (tmp_path / "fixed").exists()
