import pytest
from doctor_cases import SOUND, counts, opened, row

LONG = "a lighthouse keeper counts the ships that pass the cape on every night of the winter"


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
        ("short_texts", [row("a query", ["a positive"], ["ship"])], 1, 5),
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
    diagnosis = opened(tmp_path, minilm, {"set": SOUND + rows}).diagnose()

    found = diagnosis["datasets"]["set"]["checks"][check]
    assert found["count"] == n_found
    assert found["examples"][0]["line"] == line
    assert found["examples"][0]["file"].endswith("t.jsonl")


def test_rows_are_compared_with_those_of_other_sets(tmp_path, minilm):
    other = [row("how deep is harbour 1", ["a pier"], ["Harbour 1 is deep", "no ship"]), SOUND[2]]

    diagnosis = opened(tmp_path, minilm, {"a": SOUND, "b": other}).diagnose()

    assert counts(diagnosis, "b")["positive_among_negatives"] == 1
    assert counts(diagnosis, "b")["duplicate_rows"] == 1
    assert counts(diagnosis, "a")["duplicate_queries"] == 1
