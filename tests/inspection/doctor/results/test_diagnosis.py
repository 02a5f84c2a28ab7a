from doctor_cases import SOUND, counts, opened


def test_sound_rows_give_no_finding(tmp_path, minilm):
    diagnosis = opened(tmp_path, minilm, {"sound": SOUND}).diagnose()

    assert counts(diagnosis, "sound") == {}
    assert "No check found anything." in str(diagnosis)
    assert diagnosis["plan"]["steps_per_epoch"] == 2
