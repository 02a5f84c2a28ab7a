import json

from doctor_cases import SOUND, counts, opened, row


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
