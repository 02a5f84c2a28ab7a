import json

from doctor_cases import SOUND, opened, row, write

from llm_embedder_data import RetrievalDataModule
from llm_embedder_data.inspection.doctor.results.diagnosis_page import diagnosis_page


def scored(i, positive, negative):
    return SOUND[i] | {"teacher_scores": [positive, negative]}


def test_each_reason_has_the_place_of_its_first_row(tmp_path, minilm):
    rows = [
        *(scored(i, 2, 0) for i in range(4)),
        {"query": "bad", "pos": []},
        scored(0, 0.25, 0) | {"query": "low scores"},
        {"query": "bad too", "pos": [3]},
        scored(0, 2, 1.9) | {"query": "close scores"},
        {"query": "alone", "pos": ["a positive"], "teacher_scores": [2]},
    ]
    settings = {"teacher_scores_min": 0.5, "teacher_scores_margin": 0.2, "max_score": 1.0}
    module = opened(tmp_path, minilm, {"set": rows}, on_bad_row="skip", **settings)

    diagnosis = module.diagnose()

    entry = diagnosis["datasets"]["set"]
    places = {
        reason: (place["file"].split("/")[-1], place["line"])
        for reason, place in entry["first_dropped"].items()
    }
    assert entry["dropped"] == dict.fromkeys(places, 1) | {"bad_row": 2}
    assert places == {
        "bad_row": ("t.jsonl", 5),
        "no_negatives": ("t.jsonl", 9),
        "teacher_scores_margin": ("t.jsonl", 8),
        "teacher_scores_min": ("t.jsonl", 6),
    }
    assert "2 bad_row (first: t.jsonl:5)" in " ".join(str(diagnosis).split())
    assert "2 bad_row (first: t.jsonl:5)" in diagnosis_page(diagnosis)
    json.dumps(diagnosis)


def test_limits_and_samples_have_a_first_row_too(tmp_path, minilm):
    rows = [scored(i, 2, 0) for i in range(4)] + [scored(0, 2, 1.9) | {"query": "close"}]
    limited = opened(tmp_path / "limited", minilm, {"set": rows}, max_score=1.0).diagnose()
    sampled = opened(tmp_path / "sampled", minilm, {"set": rows}, max_sample_num=2)

    first = limited["datasets"]["set"]["first_dropped"]
    assert first["no_negatives_left"]["line"] == 5
    first = sampled.diagnose()["datasets"]["set"]["first_dropped"]["max_sample_num"]["line"]
    left_out = set(range(5)) - set(sampled.train_sets()["set"].kept.tolist())
    assert first == min(left_out) + 1


def test_records_of_other_formats_that_give_no_row_have_a_place(tmp_path, minilm):
    prompted = [one | {"prompt": "Answer: "} for one in SOUND]
    rows = [*prompted[:2], prompted[2] | {"pos": []}, prompted[3], prompted[3] | {"pos": []}]
    rows += [prompted[3] | {"pos": [3]}]

    entry = opened(tmp_path, minilm, {"set": rows}, on_bad_row="skip").diagnose()
    entry = entry["datasets"]["set"]

    assert entry["dropped"]["rows without a positive"] == 2
    assert entry["first_dropped"].keys() == entry["dropped"].keys()
    lines = {reason: place["line"] for reason, place in entry["first_dropped"].items()}
    assert lines.pop("rows without a positive") == 3
    assert list(lines.values()) == [6]
    assert {place["file"] for place in entry["first_dropped"].values()} == {
        str(tmp_path / "set" / "t.jsonl")
    }


def test_eval_sets_and_corpora_have_places(tmp_path, minilm):
    passages = [{"id": str(i), "text": f"passage {i}"} for i in range(4)]
    passages[2]["text"] = ["no text"]
    evals = [
        {"query": "one", "pos_index": [0]},
        {"query": "outside", "pos_index": [7]},
        {"query": "", "pos_index": [1]},
    ]
    module = RetrievalDataModule(
        str(minilm),
        eval_data={"e": write(tmp_path / "e.jsonl", evals)},
        corpus={"e": write(tmp_path / "c.jsonl", passages)},
        on_bad_row="skip",
        cache_dir=tmp_path / "cache",
    )
    module.prepare_data()
    module.setup()

    datasets = module.diagnose()["datasets"]

    assert datasets["eval/e"]["dropped"] == {"bad_row": 2}
    assert datasets["eval/e"]["first_dropped"]["bad_row"]["line"] == 2
    [place] = datasets["corpus/e"]["first_dropped"].values()
    assert place == {"file": str(tmp_path / "c.jsonl"), "line": 3}


def test_queries_whose_documents_no_corpus_has_have_a_place(tmp_path, minilm):
    ids = enumerate("abxy")
    evals = [{"query": f"q {i}", "query_id": i, "relevant": {one: 1}} for i, one in ids]
    module = RetrievalDataModule(
        str(minilm),
        eval_data={"e": write(tmp_path / "e.jsonl", evals)},
        corpus={"e": write(tmp_path / "c.jsonl", [{"id": i, "text": f"text {i}"} for i in "ab"])},
        on_bad_row="skip",
        cache_dir=tmp_path / "cache",
    )
    module.prepare_data()
    module.setup()

    entry = module.diagnose()["datasets"]["eval/e"]

    assert entry["dropped"] == {"documents unknown": 2}
    assert entry["first_dropped"]["documents unknown"]["line"] == 3


def test_nothing_dropped_has_no_place(tmp_path, minilm):
    entry = opened(tmp_path, minilm, {"set": [*SOUND, row("a", ["b c"], ["d e"])]}).diagnose()

    assert entry["datasets"]["set"]["first_dropped"] == {}
