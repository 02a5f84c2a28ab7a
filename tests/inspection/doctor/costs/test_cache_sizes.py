from doctor_cases import SOUND, opened


def test_caches_are_counted_as_they_lie_on_the_disk(tmp_path, minilm):
    corpus = [{"text": "the sea rises"}, {"text": "many ships"}]
    module = opened(
        tmp_path,
        minilm,
        {"set": SOUND},
        [{"query": "a tide", "pos_index": [0]}],
        corpus,
        tokenize="cached",
    )

    diagnosis = module.diagnose(seconds_to_prepare=1.5)

    on_disk = [
        file.stat().st_size
        for file in (tmp_path / "cache").rglob("*")
        if file.suffix in (".arrow", ".bin")
    ]
    assert diagnosis["plan"]["cache_bytes"] == sum(on_disk)
    assert all(entry["cache_bytes"] > 0 for entry in diagnosis["datasets"].values())
    assert diagnosis["plan"]["seconds_to_prepare"] == 1.5
    assert "written or opened in" in str(diagnosis)
