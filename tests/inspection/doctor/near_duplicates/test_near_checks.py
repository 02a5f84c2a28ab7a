import sys

import pytest
from doctor_cases import counts, opened, row

from llm_embedder_data import ConfigError
from llm_embedder_data.inspection.doctor.near_duplicates.near_checks import check_near_duplicates
from llm_embedder_data.inspection.doctor.results.diagnosis_page import diagnosis_page
from llm_embedder_data.inspection.doctor.results.gates import check_gates, exceeded

pytest.importorskip("rensa", reason="needs the extra 'near-duplicates'")

QUERY = "which ships pass the cape of good hope on a stormy night in winter"
PASSAGE = (
    "the keeper of the lighthouse counts every ship that passes the cape, and writes it down; in "
    "summer he paints the tower, mends the lamp, and rows to the northern town for oil and bread. "
    "When fog lies on the water he rings a bell, and nobody in the bay has ever lost a boat to it, "
    "although its cliffs are steep and the current runs quickly between two rocks at every tide"
)
ROWS = [
    row(QUERY, [PASSAGE], ["no ship"]),
    row("how deep is the harbour of the northern town", [PASSAGE], ["no ship"]),
    row(QUERY.replace("stormy", "Stormy  "), [PASSAGE.replace("writes", "wrote")], ["a boat"]),
    row("where do gulls nest when the cliffs are wet", ["on the roofs of the town"], ["at sea"]),
]


def near(diagnosis, name="set"):
    return {
        check: [example["line"] for example in found["examples"]]
        for check, found in diagnosis["datasets"][name]["checks"].items()
        if check.startswith("near_")
    }


def test_rows_are_found_whose_query_and_positives_are_nearly_anothers(tmp_path, minilm):
    module = opened(tmp_path, minilm, {"set": ROWS})

    diagnosis = module.diagnose(near_duplicates=0.8)

    # The second row asks something else of the same passage.
    assert near(diagnosis) == {"near_contamination": [], "near_duplicate_rows": [1, 3]}
    [first, _] = diagnosis["datasets"]["set"]["checks"]["near_duplicate_rows"]["examples"]
    assert first["text"].startswith(QUERY[:30])
    assert first["similarity"] >= 0.8
    match = first["match"]
    assert (match["file"][-7:], match["line"], match["text"]) == ("t.jsonl", 3, ROWS[2]["query"])
    assert "near_duplicate_rows" in str(diagnosis)
    assert "nearly those of another row" in diagnosis_page(diagnosis)
    limits = check_gates({"near_duplicate_rows": 1}, 0.8)
    [sentence] = exceeded(limits, diagnosis["datasets"]).values()
    assert sentence.startswith("set: near_duplicate_rows: 2 rows whose query and positives")


def test_a_higher_threshold_finds_less_and_without_one_nothing_is_looked_for(tmp_path, minilm):
    module = opened(tmp_path, minilm, {"set": [*ROWS, ROWS[3]]})

    assert near(module.diagnose(near_duplicates=1))["near_duplicate_rows"] == [4, 5]
    assert near(module.diagnose()) == {}


def test_the_order_of_rows_and_sets_does_not_change_what_is_found(tmp_path, minilm):
    one = opened(tmp_path / "one", minilm, {"a": ROWS[:2], "b": ROWS[2:]})
    other = opened(tmp_path / "other", minilm, {"b": ROWS[:1:-1], "a": ROWS[1::-1]})

    for module, lines in ((one, {"a": [1], "b": [1]}), (other, {"a": [2], "b": [2]})):
        diagnosis = module.diagnose(near_duplicates=0.8)
        for name, found in lines.items():
            assert near(diagnosis, name)["near_duplicate_rows"] == found


def test_eval_queries_in_other_words_are_found_in_queries_and_positives(tmp_path, minilm):
    evals = [{"query": QUERY, "pos_index": [0]}, {"query": "what is a tide?", "pos_index": [0]}]
    train = [
        ROWS[3],
        row(QUERY.replace("hope", "hopes"), ["a ship"], ["no ship"]),
        row("something else", [f"{QUERY}?"], ["no ship"]),
        row("a negative may hold it", ["a ship"], [QUERY]),
    ]
    module = opened(tmp_path, minilm, {"set": train}, evals, [{"text": "the sea rises"}])

    diagnosis = module.diagnose(near_duplicates=0.8)

    assert near(diagnosis)["near_contamination"] == [2, 3]
    assert counts(diagnosis, "set")["near_contamination"] == 2
    [first, _] = diagnosis["datasets"]["set"]["checks"]["near_contamination"]["examples"]
    assert (first["match"]["file"][-7:], first["match"]["line"]) == ("e.jsonl", 1)


@pytest.mark.parametrize("threshold", [True, "0.8", 0.5, 1.01, 80, float("nan"), [0.8]])
def test_a_threshold_that_is_no_similarity_is_one_sentence(threshold):
    with pytest.raises(ConfigError, match=r"near_duplicates=.*expected the least Jaccard"):
        check_near_duplicates(threshold)


def test_without_the_package_one_sentence_says_which_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rensa", None)

    assert check_near_duplicates(None) is None
    with pytest.raises(ConfigError, match=r"pip install \"llm_embedder_data\[near-duplicates\]"):
        check_near_duplicates(0.8)
