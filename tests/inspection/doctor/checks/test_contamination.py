from doctor_cases import SOUND, counts, opened, row

LONG = "a lighthouse keeper counts the ships that pass the cape on every night of the winter"


def test_eval_queries_among_the_training_rows_are_found(tmp_path, minilm):
    evals = [{"query": "What is a Tide?", "pos_index": [0]}, {"query": LONG, "pos_index": [1]}]
    corpus = [{"text": "the sea rises"}, {"text": "many ships"}, {"text": "Many  ships"}]
    train = [
        *SOUND,
        row("what is a  tide?", ["a"], ["b"]),
        row("something else", [f"it is said that {LONG} and in summer"], ["c"]),
        row("a negative may hold it", ["d"], [LONG]),
    ]

    diagnosis = opened(tmp_path, minilm, {"set": train}, evals, corpus).diagnose()

    found = diagnosis["datasets"]["set"]["checks"]["contamination"]
    assert [one["line"] for one in found["examples"]] == [5, 6]
    assert counts(diagnosis, "corpus/e") == {"duplicate_passages": 1}
