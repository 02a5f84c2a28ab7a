"""Question answering with marked passages, and tools."""

import pytest

from llm_embedder_data.core.errors import DataError

LISTS = {
    "context": [["A", ["One. ", "Two  is."]], ["B", ["Three."]]],
    "supporting_facts": [["A", 0]],
}
HUB = {
    "context": {"title": ["A", "B"], "sentences": [["One. ", "Two  is."], ["Three."]]},
    "supporting_facts": {"title": ["A"], "sent_id": [0]},
}


@pytest.mark.parametrize("shape", [LISTS, HUB])
def test_hotpotqa(folder, shape):
    row = folder.row([{"_id": "5", "question": "q", **shape}])
    assert row == {"query": "q", "pos": ["A One. Two is."], "neg": ["B Three."], "query_id": "5"}


def test_hotpotqa_titles_that_are_missing(folder):
    facts = [["A", 0], ["C", 0], ["A", 1]]
    assert folder.row([{"question": "q", **LISTS, "supporting_facts": facts}])["pos"] == [
        "A One. Two is."
    ]
    assert folder.left_out == {"supporting titles that the context does not have": 1}
    assert folder.rows([{"question": "q", **LISTS, "supporting_facts": [["C", 0]]}]) == []


def test_musique(folder):
    paragraphs = [
        {"title": "A", "paragraph_text": "one", "is_supporting": True},
        {"title": "B", "text": "two", "is_supporting": False},
        {"title": "A", "text": "one", "is_supporting": True},
    ]
    row = folder.row([{"id": 5, "question": "q", "answer": ["x"], "paragraphs": paragraphs}])
    assert row == {"query": "q", "pos": ["A one"], "neg": ["B two"], "query_id": 5}


def test_squad(folder):
    qas = [
        {"question": "q", "id": "1", "answers": [{"text": "x"}]},
        {"question": "r", "id": "2", "answers": [], "is_impossible": True},
    ]
    articles = [
        {"title": "T", "paragraphs": [{"context": "a", "qas": []}, {"context": "b", "qas": qas}]}
    ]
    squad = {"version": "2.0", "data": articles}
    assert folder.row(squad, "s.json") == {"query": "q", "pos": ["T b"], "query_id": "1"}
    assert folder.left_out == {"questions without an answer": 1}
    (row,) = folder.rows(squad, "s.json", kind="eval")
    assert row["relevant"] == {"1": 1}
    assert [row["text"] for row in folder.rows(squad, "s.json", kind="corpus")] == ["T a", "T b"]


def test_squad_as_the_hub_has_it(folder):
    record = {"id": "1", "title": "T", "context": "a", "question": "q", "answers": {"text": ["x"]}}
    none = {**record, "answers": {"text": []}}
    assert folder.row([record, none]) == {"query": "q", "pos": ["T a"], "query_id": "1"}
    assert folder.left_out == {"questions without an answer": 1}


@pytest.mark.parametrize("name", ["answer", "answers"])
def test_lists_of_short_answers_are_refused(folder, name):
    with pytest.raises(DataError, match="short answers and no passages"):
        folder.rows([{"question": "q", name: ["1988", "in 1988"]}])
    row = folder.row([{"question": "q", name: ["a b c d e f"]}])
    assert row["pos"] == ["a b c d e f"]
    assert folder.row([{"question": "q", name: ["1988 then"]}], format="columns")["pos"]


def test_short_answers_that_are_strings_are_counted(folder):
    folder.rows([{"question": "q", "answer": "in 1988"}, {"question": "r", "answer": "no"}])
    assert [n for reason, n in folder.left_out.items() if "no passages" in reason] == [2]
    folder.rows([{"question": "q", "answer": "潮汐表列出了每天的高潮和低潮时间"}])
    assert not folder.left_out


def test_toolbench(folder):
    apis = [
        {"tool_name": "a", "api_name": name, "api_description": f"does {name}"} for name in "bcd"
    ]
    record = {"query_id": 5, "query": "q", "api_list": apis, "relevant APIs": [["a", "c"]]}
    assert folder.row([record]) == {
        **{"query": "q", "query_id": 5, "pos": ["a: c: does c"]},
        "neg": ["a: b: does b", "a: d: does d"],
    }


def test_llamaindex(folder):
    whole = {
        "queries": {"1": "q"},
        "corpus": {"d1": "a", "d2": "b"},
        "relevant_docs": {"1": ["d2"]},
        "mode": "text",
    }
    assert folder.row(whole, "l.json") == {"query": "q", "pos": ["b"], "query_id": "1"}
    (row,) = folder.rows(whole, "l.json", kind="eval")
    assert row["relevant"] == {"d2": 1}
    assert len(folder.rows(whole, "l.json", kind="corpus")) == 2
    whole["relevant_docs"]["1"] = ["d2", "d9"]
    with pytest.raises(DataError, match="1 of 2 document ids"):
        folder.rows(whole, "l.json")
