import json

import numpy as np
import pytest
from doctor_cases import SOUND, counts, opened, row
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import ConfigError
from llm_embedder_data.inspection.doctor.diagnosis_page import diagnosis_page
from llm_embedder_data.inspection.doctor.gates import check_gates, failures
from llm_embedder_data.inspection.doctor.plan_checks import expected_collisions
from llm_embedder_data.inspection.doctor.train_checks import row_prints

LONG = "a lighthouse keeper counts the ships that pass the cape on every night of the winter"


def diagnosed(module, **more):
    return module.diagnose(**more)


def test_sound_rows_give_no_finding(tmp_path, minilm):
    diagnosis = diagnosed(opened(tmp_path, minilm, {"sound": SOUND}))

    assert counts(diagnosis, "sound") == {}
    assert "No check found anything." in str(diagnosis)
    assert diagnosis["plan"]["steps_per_epoch"] == 2


@pytest.mark.parametrize(
    ("check", "rows", "n_found", "line"),
    [
        (
            "positive_among_negatives",
            [row("q one", ["right  TEXT"], ["wrong"]), row("q ONE", ["other"], ["Right text"])],
            1,
            6,
        ),
        ("duplicate_rows", [SOUND[0]], 1, 5),
        ("duplicate_queries", [row("how deep is harbour 0", ["another"], ["no"])], 2, 1),
        ("short_texts", [row("ab", ["a positive"], ["a negative"])], 1, 5),
        ("short_texts", [row("a query", ["a positive"], ["harbour"])], 1, 5),
        ("scores_above_positive", [row("s", ["p one"], ["n one"], teacher_scores=[1, 2])], 1, 5),
        ("instruction_in_text", [row("find: a thing", ["a positive"], ["a negative"])], 1, 5),
        ("instruction_in_text", [row("own: q", ["a positive"], ["n"], instruction="own: ")], 1, 5),
        ("truncated_positives", [row("a thing", [LONG * 3], ["a negative"])], 1, 5),
        (
            "truncated_positives",
            [row("a thing", ["a ship at sea"], ["no"], instruction={"key": "a ship " * 6})],
            1,
            5,
        ),
    ],
)
def test_each_check_finds_its_fault_and_its_place(tmp_path, minilm, check, rows, n_found, line):
    diagnosis = diagnosed(opened(tmp_path, minilm, {"set": SOUND + rows}))

    found = diagnosis["datasets"]["set"]["checks"][check]
    assert found["count"] == n_found
    assert found["examples"][0]["line"] == line
    assert found["examples"][0]["file"].endswith("t.jsonl")


def test_rows_are_compared_with_those_of_other_sets(tmp_path, minilm):
    other = [row("how deep is harbour 1", ["a pier"], ["Harbour 1 is deep", "no ship"]), SOUND[2]]

    diagnosis = diagnosed(opened(tmp_path, minilm, {"a": SOUND, "b": other}))

    assert counts(diagnosis, "b")["positive_among_negatives"] == 1
    assert counts(diagnosis, "b")["duplicate_rows"] == 1
    assert counts(diagnosis, "a")["duplicate_queries"] == 1


def test_eval_queries_among_the_training_rows_are_found(tmp_path, minilm):
    evals = [{"query": "What is a Tide?", "pos_index": [0]}, {"query": LONG, "pos_index": [1]}]
    corpus = [{"text": "the sea rises"}, {"text": "many ships"}, {"text": "Many  ships"}]
    train = [
        *SOUND,
        row("what is a  tide?", ["a"], ["b"]),
        row("something else", [f"it is said that {LONG} and in summer"], ["c"]),
        row("a negative may hold it", ["d"], [LONG]),
    ]

    diagnosis = diagnosed(opened(tmp_path, minilm, {"set": train}, evals, corpus))

    found = diagnosis["datasets"]["set"]["checks"]["contamination"]
    assert [one["line"] for one in found["examples"]] == [5, 6]
    assert counts(diagnosis, "corpus/e") == {"duplicate_passages": 1}


def test_the_plan_says_which_rows_are_never_sampled(tmp_path, minilm):
    module = opened(tmp_path, minilm, {"a": SOUND + SOUND[:1], "b": SOUND[:1]}, remainder="drop")

    diagnosis = diagnosed(module)

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
    from itertools import combinations

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

    diagnosis = diagnosed(module, fix=tmp_path / "fixed")

    assert diagnosis["fixed"] == {"set": {"duplicate_rows": 1, "positive_among_negatives": 1}}
    lines = (tmp_path / "fixed" / "set.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows[:4] == SOUND
    assert rows[4] == row(
        "the q", ["right one"], ["wrong one"], teacher_scores=[3, 1], query_id="x", task="qa"
    )
    again = diagnosed(opened(tmp_path / "again", minilm, {"set": rows}))
    assert counts(again, "set") == {}


def test_limits_are_counts_or_shares(tmp_path, minilm):
    module = opened(tmp_path, minilm, {"set": [*SOUND, SOUND[0]]})
    datasets = diagnosed(module)["datasets"]

    assert failures(check_gates({"duplicate_rows": 1}), datasets) == []
    assert failures(check_gates({"duplicate_rows": 0.2}), datasets) == []
    [sentence] = failures(check_gates({"duplicate_rows": 0}), datasets)
    assert sentence.startswith("set: duplicate_rows: 1 rows that repeat an earlier row, allowed: 0")
    assert len(failures(check_gates({"duplicate_rows": 0.1}), datasets)) == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"duplicates": 0}, "fail_on='duplicates': expected one of .*did you mean"),
        ({"duplicate_rows": 1.5}, "fail_on.duplicate_rows=1.5: expected a count"),
        ({"duplicate_rows": -1}, "fail_on.duplicate_rows=-1"),
        ({"near_contamination": 0}, r"fail_on.near_contamination: near-.*set near_duplicates=0.8"),
        ([1], r"fail_on=\[1\]: expected a mapping"),
    ],
)
def test_wrong_limits_are_one_sentence(given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_gates(given)


def test_the_page_holds_every_finding_and_escapes_texts(tmp_path, minilm):
    bad = row("<script>alert(1)</script>", ["p one"], ["n one"], teacher_scores=[1, 2])

    page = diagnosis_page(diagnosed(opened(tmp_path, minilm, {"set": [*SOUND, bad]})))

    assert "scores_above_positive" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page


def test_prints_of_rows_do_not_depend_on_the_block(tmp_path, minilm, monkeypatch):
    module = opened(tmp_path, minilm, {"set": SOUND})
    train_set = module.train_sets()["set"]
    instruction = module._builder.instruction_of(train_set)
    whole = row_prints(train_set, instruction, module.tokenizer)

    monkeypatch.setattr("llm_embedder_data.inspection.doctor.kept_tables._ROWS_AT_ONCE", 3)
    parts = row_prints(train_set, instruction, module.tokenizer)

    for name in ("rows", "query", "key", "bounds", "n_pos", "row"):
        assert getattr(whole, name).tolist() == getattr(parts, name).tolist()
