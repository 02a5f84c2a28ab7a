from doctor_cases import SOUND, opened, row

from llm_embedder_data.inspection.doctor.results.diagnosis_page import diagnosis_page


def test_the_page_holds_every_finding_and_escapes_texts(tmp_path, minilm):
    bad = row("<script>alert(1)</script>", ["p one"], ["n one"], teacher_scores=[1, 2])

    page = diagnosis_page(opened(tmp_path, minilm, {"set": [*SOUND, bad]}).diagnose())

    assert "scores_above_positive" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page
