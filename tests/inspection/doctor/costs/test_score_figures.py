from doctor_cases import SOUND, opened

from llm_embedder_data.inspection.doctor.results.diagnosis_page import diagnosis_page

NAN, INF = float("nan"), float("inf")


def figures(folder, minilm, rows):
    diagnosis = opened(folder, minilm, {"set": rows}, on_bad_row="skip").diagnose()
    return diagnosis["datasets"]["set"]["scores"], diagnosis


def scored(i, *scores):
    return SOUND[i] | {"teacher_scores": list(scores)}


def test_scores_are_counted_with_their_range_and_their_gaps(tmp_path, minilm):
    rows = [scored(0, 4.5, -2), SOUND[1], scored(2, 3, 0), SOUND[3]]
    bad = [scored(3, NAN, 90), scored(3, None, -90), scored(3, INF, NAN), scored(3, 1)]

    found, diagnosis = figures(tmp_path, minilm, rows + bad)

    assert found == {
        "are_teacher_scores": True,
        "rows_with_scores": 2,
        "rows_without_scores": 2,
        "lowest": -2,
        "highest": 4.5,
        "rows_with_negative_scores": 1,
        "null_scores": 1,
        "nan_scores": 3,
        "rows_with_incomplete_scores": 3,
    }
    line = (
        "set: teacher scores: 2 rows with, 2 without; from -2 to 4.5, negative ones in 1 rows; "
        "3 rows with incomplete scores (1 null, 3 NaN or infinite)"
    )
    assert line in " ".join(str(diagnosis).split())
    assert line in diagnosis_page(diagnosis)


def test_incomplete_scores_of_other_formats_are_counted(tmp_path, minilm):
    rows = [
        SOUND[i] | {"pos_scores": [one], "neg_scores": [0.5]}
        for i, one in enumerate([1.5, NAN, None, 2.0])
    ]

    found, _ = figures(tmp_path, minilm, rows)

    assert (found["rows_with_scores"], found["rows_without_scores"]) == (2, 2)
    assert (found["lowest"], found["highest"]) == (0.5, 2.0)
    assert found["rows_with_incomplete_scores"] == 2
    assert found["rows_with_negative_scores"] == 0


def test_rows_without_scores_have_no_range(tmp_path, minilm):
    found, diagnosis = figures(tmp_path, minilm, SOUND)

    assert (found["rows_with_scores"], found["lowest"], found["highest"]) == (0, None, None)
    assert "teacher scores" not in str(diagnosis)
