"""Pairs and lists with labels, and conversations with labels."""

import re

import pytest

from llm_embedder_data.core.errors import DataError


def test_pairs_are_grouped_by_their_first_text(folder):
    records = [
        {"sentence1": "q", "sentence2": "a b", "label": 1},
        {"sentence1": "r", "sentence2": "x y", "label": 0},
        {"sentence1": "q", "sentence2": "c d", "label": 0},
    ]
    assert folder.row(records) == {"query": "q", "pos": ["a b"], "neg": ["c d"]}
    assert folder.left_out == {"queries without a positive": 1}


@pytest.mark.parametrize("names", [("text1", "text2"), ("text", "text_b"), ("sent1", "sent2")])
def test_labels_of_text_files_are_numbers_too(folder, names):
    text = f"{names[0]}\t{names[1]}\tlabel\n0001\ta b\t1\n0001\tc d\t0\n"
    assert folder.row(text, "rows.tsv") == {"query": "0001", "pos": ["a b"], "neg": ["c d"]}


def test_a_text_that_is_both_is_positive_and_counted(folder):
    records = [{"sentence1": "q", "sentence2": "a b", "label": label} for label in (0, 1)]
    assert folder.row(records) == {"query": "q", "pos": ["a b"]}
    assert sum(folder.left_out.values()) == 1


def test_scores_need_a_threshold(folder):
    records = [
        {"sentence1": "q", "sentence2": text, "score": s} for text, s in (("a", 4), ("b", 2.5))
    ]
    with pytest.raises(DataError, match=re.escape("(give threshold: 0.8, or the like)")):
        folder.rows(records)
    assert folder.row(records, threshold=4) == {"query": "q", "pos": ["a"], "neg": ["b"]}


def test_scores_need_a_threshold_even_if_bad_rows_are_skipped(folder):
    pair = {"sentence1": "q", "sentence2": "a", "score": 4}
    with pytest.raises(DataError, match=r"score=4 is a score.*give threshold"):
        folder.rows([pair], on_bad_row="skip")


def test_a_bad_row_is_skipped_whatever_words_it_holds(folder):
    pairs = [
        {"sentence1": "q", "sentence2": "a", "label": 1},
        {"sentence1": "q", "sentence2": "b", "label": "threshold"},
    ]
    assert folder.row(pairs, on_bad_row="skip") == {"query": "q", "pos": ["a"]}
    turn = {"role": "user", "content": "q"}
    records = [
        {"messages": [turn], "positive_messages": [[{**turn, "content": "a"}]], "label": label}
        for label in (1, "threshold")
    ]
    assert folder.row(records, on_bad_row="skip") == {"query": "q", "pos": ["a"]}


def test_a_bad_number_of_a_list_is_named_by_its_column(folder):
    record = {"query": "q", "docs": ["a", "b"], "labels": ["1", "0"]}
    with pytest.raises(DataError, match="labels: expected numbers, found '1'"):
        folder.rows([record])


def test_inference_labels_as_words(folder):
    records = [
        {"premise": "q", "hypothesis": text, "label": label}
        for text, label in (("a", "entailment"), ("b", "neutral"), ("c", "contradiction"))
    ]
    assert folder.row(records) == {"query": "q", "pos": ["a"], "neg": ["c"]}
    assert folder.left_out == {"neutral pairs": 1}


@pytest.mark.parametrize(
    ("first", "labels"), [("sentence1", [0, 1, 2]), ("premise", [0, 1]), ("sentence1", ["0", "2"])]
)
def test_inference_labels_as_integers_are_asked_for(folder, first, labels):
    second = {"sentence1": "sentence2", "premise": "hypothesis"}[first]
    records = [{first: "q", second: f"a {label}", "label": label} for label in labels]
    with pytest.raises(DataError, match="write the labels as words"):
        folder.rows(records)


def test_a_label_beside_query_and_document_is_read(folder):
    records = [{"query": "q", "document": f"text {n}", "label": n} for n in (0, 1)]
    assert folder.row(records) == {"query": "q", "pos": ["text 1"], "neg": ["text 0"]}


def test_a_list_is_split_by_its_labels(folder):
    record = {"query": "q", "docs": ["a", "b", "c"], "labels": [0, 1, 0]}
    assert folder.row([record]) == {"query": "q", "pos": ["b"], "neg": ["a", "c"]}
    assert folder.row([{**record, "scores": [1, 3, 2]}])["teacher_scores"] == [3.0, 1.0, 2.0]
    assert folder.rows([{**record, "labels": [0, 0, 0]}]) == []
    assert folder.left_out == {"rows without a positive": 1}


def test_scores_in_place_of_labels_are_candidates(folder):
    records = [
        {"query": "q", "docs": ["a", "b"], "scores": [0.25, 3]},
        {"query": "r", "docs": ["a", "b"], "scores": [1, 0]},
    ]
    rows = folder.rows(records)
    assert [row["candidates"] for row in rows] == [["a", "b"], ["a", "b"]]
    assert [row["teacher_scores"] for row in rows] == [[0.25, 3.0], [1.0, 0.0]]


def turns(*texts, role="user"):
    return [{"role": role, "content": text} for text in texts]


def test_ms_swift_last_turn_earlier_turns_and_system(folder):
    messages = [
        *turns("Find it", role="system"),
        *turns("hello"),
        *turns("hi", role="assistant"),
        *turns("and tides?"),
    ]
    record = {
        "messages": messages,
        "positive_messages": [turns("a b", role="assistant")],
        "negative_messages": [turns("c d")],
        "rejected_messages": turns("e f"),
    }
    assert folder.row([record]) == {
        "query": "user: hello\nassistant: hi\nand tides?",
        "pos": ["a b"],
        "neg": ["c d", "e f"],
        "instruction": {"query": "Find it", "key": None},
    }


def test_ms_swift_labels_may_be_true_and_false(folder):
    records = [
        {"messages": turns("q"), "positive_messages": [turns(text)], "label": label}
        for text, label in (("a", True), ("b", False))
    ]
    assert folder.row(records) == {"query": "q", "pos": ["a"], "neg": ["b"]}


def test_ms_swift_labels(folder):
    records = [
        {"messages": turns("q"), "positive_messages": [turns(text)], "label": label}
        for text, label in (("a", 1.0), ("b", 0))
    ]
    assert folder.row(records) == {"query": "q", "pos": ["a"], "neg": ["b"]}
    records[1]["label"] = 0.8
    with pytest.raises(DataError, match=re.escape("label=0.8 is a score")):
        folder.rows(records)
    assert folder.row(records, threshold=0.5)["pos"] == ["a", "b"]


def test_ms_swift_images_are_refused(folder):
    records = [{"messages": turns("<image> q"), "positive_messages": [turns("a")]}]
    with pytest.raises(DataError, match="images, video or audio are not read"):
        folder.rows(records)
    with pytest.raises(DataError, match="images, video or audio"):
        folder.rows([{"messages": turns("q"), "images": ["a.jpg"], "positive_messages": []}])


def test_ms_swift_before_messages(folder):
    record = {"query": "q", "response": "a", "rejected_response": ["b"], "history": [["u", "v"]]}
    assert folder.row([record]) == {"query": "user: u\nassistant: v\nq", "pos": ["a"], "neg": ["b"]}


@pytest.mark.parametrize("score", [1.0, "1.0"])
def test_a_score_of_one_is_a_score(folder, score):
    record = {"sentence1": "q", "sentence2": "a b", "score": score}
    with pytest.raises(DataError, match="give threshold"):
        folder.rows([record])
    assert folder.row([{"sentence1": "q", "sentence2": "a b", "label": score}])["pos"] == ["a b"]


@pytest.mark.parametrize("label", ["label", "labels"])
@pytest.mark.parametrize(("yes", "no"), [(1, 0), (True, False), ("1", "0"), (1.0, 0.0)])
def test_the_pos_of_a_pair_with_label_0_is_a_negative(folder, label, yes, no):
    records = [
        {"query": "a", "pos": "b", label: yes},
        {"query": "a", "pos": "c", label: no},
        {"query": "x", "pos": "y", label: yes},
    ]
    rows = folder.rows(records)
    assert [(row["query"], row["pos"], row["neg"]) for row in rows] == [
        ("a", ["b"], ["c"]),
        ("x", ["y"], []),
    ]


def test_a_label_of_another_name_is_mapped_with_the_texts(folder):
    lines = "id,question1,question2,is_duplicate\n0,a,b,1\n1,a,c,0\n"
    names = {"query": "question1", "pos": "question2", "label": "is_duplicate"}
    [row] = folder.rows(lines, "quora.csv", **names)
    assert (row["query"], row["pos"], row["neg"]) == ("a", ["b"], ["c"])


def test_a_label_of_rows_with_lists_of_positives_says_nothing_of_them(folder):
    [row] = folder.rows([{"query": "a", "pos": ["b"], "label": 0}])
    assert row["pos"] == ["b"]
    [row] = folder.rows([{"query": "a", "pos": "b", "label": 37}])  # a class
    assert row["pos"] == ["b"]


def test_selected_passages_of_ms_marco_are_positives_and_short_answers_are_not(
    folder,
):
    passages = {"is_selected": [0, 1], "passage_text": ["Kilns.", "It was built in 1827."]}
    record = {
        "query": "when was it built",
        "query_id": 3,
        "passages": passages,
        "answers": ["1827"],
    }
    unanswered = {**record, "query_id": 4, "passages": {**passages, "is_selected": [0, 0]}}
    row = folder.row([record, unanswered])
    assert (row["pos"], row["neg"], row["query_id"]) == (["It was built in 1827."], ["Kilns."], 3)
    assert folder.left_out == {"rows without a positive": 1}
    with pytest.raises(DataError, match=r"row 1 \(line 2\): 1 labels for 2 documents"):
        folder.rows([record, {**record, "passages": {**passages, "is_selected": [1]}}])
