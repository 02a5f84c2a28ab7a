"""Rows of query, positives and negatives: LLM-Embedder, FlagEmbedding, columns, arrays, sets."""

import re

import pytest

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.formats.flagembedding import in_batch_negatives_of

SCORELESS = "rows without teacher scores, as some candidates have none"


def test_llm_embedder_takes_teacher_scores_before_other_scores(folder):
    record = {"query": "q", "pos": ["a b"], "neg": ["c d"], "teacher_scores": [2, 1.5], "qid": 7}
    row = folder.row([{**record, "pos_scores": [9, 9, 9], "neg_score": [1] * 17}])
    assert row == {
        **{"query": "q", "pos": ["a b"], "neg": ["c d"], "teacher_scores": [2.0, 1.5]},
        "query_id": 7,
    }


def test_history_is_candidates_without_labels(folder):
    row = folder.row([{"query": "q", "history": ["a b", "c d"], "teacher_scores": [2, 1]}])
    assert row == {"query": "q", "candidates": ["a b", "c d"], "teacher_scores": [2.0, 1.0]}


@pytest.mark.parametrize("score", ["null", "NaN", "-Infinity"])
def test_a_score_that_is_none_leaves_the_row_without_scores(folder, score):
    line = f'{{"query": "q", "pos": ["a b"], "neg": ["c d"], "teacher_scores": [1.5, {score}]}}\n'
    assert folder.row(line) == {"query": "q", "pos": ["a b"], "neg": ["c d"]}
    assert folder.left_out == {SCORELESS: 1}


def test_rows_without_a_positive_are_counted(folder):
    rows = folder.rows([{"query": "q", "pos": [], "neg": ["a b"]}, {"query": "r", "pos": "a b"}])
    assert [row["query"] for row in rows] == ["r"]
    assert folder.left_out == {"rows without a positive": 1}


@pytest.mark.parametrize("more", [{"teacher_scores": [1.0, 2.0]}, {"answers": ["an answer"]}])
def test_negatives_without_a_positive_are_candidates_where_a_teacher_chooses(folder, more):
    row = folder.row([{"query": "q", "pos": [], "neg": ["a b", "c d"], **more}])

    scores = {name: value for name, value in more.items() if name == "teacher_scores"}
    assert row == {"query": "q", "candidates": ["a b", "c d"], **scores}


def test_eval_rows_name_documents_by_row_or_by_id(folder):
    assert folder.rows([{"query": "q", "query_id": 1, "pos_index": [0, 2]}], kind="eval") == [
        {"query": "q", "query_id": 1, "relevant": {"0": 1, "2": 1}}
    ]
    record = {"query": "q", "query_id": "a", "relevant": {"d1": 2, "d2": -1}}
    assert folder.rows([record], kind="eval") == [{**record, "relevant": {"d1": 2, "d2": 0}}]


def test_flagembedding_scores_and_prompt(folder):
    record = {"query": "q", "pos": ["a b"], "neg": ["c d"], "pos_scores": [80], "neg_scores": [0.5]}
    row = folder.row([{**record, "prompt": "Find: ", "type": "normal", "category": "x"}])
    assert row["teacher_scores"] == [80.0, 0.5]
    assert row["instruction"] == {"query": "Find: ", "key": None}
    for missing in (None, []):
        assert "teacher_scores" not in folder.row([{**record, "neg_scores": missing}])
        assert folder.left_out == {SCORELESS: 1}
    with pytest.raises(DataError, match="pos_scores: 2 scores for 1 candidates"):
        folder.rows([{**record, "pos_scores": [1, 2]}])


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("symmetric_sts", "Find: "),
        ("symmetric_clustering", "Find: "),
        ("symmetric_class", None),
        ("only_1neg", None),
    ],
)
def test_flagembedding_prompts_of_symmetric_rows_are_the_keys_too(folder, kind, key):
    record = {"query": "q", "pos": ["a b"], "neg": ["c d"], "prompt": "Find: ", "type": kind}
    assert folder.row([record])["instruction"] == {"query": "Find: ", "key": key}


def test_flagembedding_reranker_prompts_by_side(folder):
    record = {"query": "q", "pos": ["a b"], "query_prompt": "Q: ", "passage_prompt": "P: "}
    assert folder.row([record])["instruction"] == {"query": "Q: ", "key": "P: "}


def test_flagembedding_names_without_in_batch_negatives():
    assert in_batch_negatives_of("data/sts-no_in_batch_neg/a.jsonl") is False
    assert in_batch_negatives_of("data/a-no_in_batch_neg.jsonl.gz") is False
    assert in_batch_negatives_of("data/a.jsonl") is None


def test_columns_by_name_and_negatives_by_number(folder):
    record = {
        "negative_10": "j",
        "negative_2": "b",
        "negative_1": " ",
        "positive": "p",
        "anchor": "a",
    }
    assert folder.row([record]) == {"query": "a", "pos": ["p"], "neg": ["b", "j"]}


@pytest.mark.parametrize(
    ("query", "positive", "negative"),
    [
        ("query", "answer", "negative"),
        ("question", "response", "hard_neg"),
        ("sent0", "sent1", "hard_neg"),
        ("sentence1", "sentence2", "negative_1"),
        ("sent1", "sent2", "neg"),
    ],
)
def test_columns_by_other_names(folder, query, positive, negative):
    row = folder.row([{query: "a b", positive: "c d e f g h", negative: "i j"}])
    assert row == {"query": "a b", "pos": ["c d e f g h"], "neg": ["i j"]}


def test_columns_scores_of_an_n_tuple_are_the_teachers(folder):
    record = {"anchor": "a", "positive": "p", "negative_1": "b", "negative_2": "c"}
    assert folder.row([{**record, "scores": [3, 2, 1]}])["teacher_scores"] == [3.0, 2.0, 1.0]
    assert "teacher_scores" not in folder.row([{**record, "label": 0.5}])
    assert folder.left_out == {"rows whose label is not read (no score for each text)": 1}


def test_csv_header_with_a_blank_and_lists_in_cells(folder):
    text = 'query,pos ,neg\nq,"[""a b"", ""c""]","[\'d\', \'e f\']"\nr,"[\'g h\']",[]\n'
    rows = folder.rows(text, "rows.csv")
    assert [(row["pos"], row["neg"]) for row in rows] == [
        (["a b", "c"], ["d", "e f"]),
        (["g h"], []),
    ]


def test_old_flagembedding_positive_list_and_corpus_of_content(folder):
    assert folder.row([{"query": "What is A?", "positive": ["A is", "is A"]}])["pos"] == [
        "A is",
        "is A",
    ]
    assert folder.rows([{"content": "A is"}, {"content": "B is"}], kind="corpus") == [
        {"id": "0", "text": "A is"},
        {"id": "1", "text": "B is"},
    ]


def test_rows_of_queries_are_no_corpus(folder):
    rows = [{"query": "q", "pos": ["a b"], "neg": ["c d"]}]

    with pytest.raises(DataError, match="from which no corpus rows can be read"):
        folder.rows(rows, kind="corpus")


def test_cohere_with_and_without_hard_negatives(folder):
    records = [
        {"query": "q", "relevant_passages": ["a b"], "hard_negatives": ["c d"]},
        {"query": "r", "relevant_passages": ["e f"]},
    ]
    assert [row["neg"] for row in folder.rows(records)] == [["c d"], []]


def test_arrays_are_query_positive_negatives(folder):
    rows = folder.rows([["q", "a b"], ["r", "c d", "e f"]])
    assert [(row["query"], row["pos"], row["neg"]) for row in rows] == [
        ("q", ["a b"], []),
        ("r", ["c d"], ["e f"]),
    ]


def test_sets_draw_their_query_and_drop_single_texts(folder):
    rows = folder.rows([{"set": ["a b", "c d", "a b"]}, {"set": ["e", "e"]}])
    assert sorted([rows[0]["query"], *rows[0]["pos"]]) == ["a b", "c d"]
    assert len(rows) == 1
    assert folder.left_out == {"sets of one text": 1}


def test_ids_without_a_corpus_are_an_error(folder):
    for record in (
        {"query": "q", "pos": ["460230"], "neg": ["257122", "d-3"]},
        {"query": "q", "pos": [460230], "neg": [257122]},
        {"anchor": "q", "positive": "d1", "negative": "d2"},
    ):
        with pytest.raises(DataError, match=re.escape("no corpus is given (give corpus")):
            folder.rows([record])


def test_ids_are_joined_to_a_corpus(folder, beside):
    record = {"query": "q", "pos": ["d1"], "neg": ["d2", "d3"], "teacher_scores": [3, 2, 1]}
    row = folder.row([record], corpus=beside["corpus"])
    assert (row["pos"], row["neg"]) == (["text 1"], ["text 2", "text 3"])
    row = folder.row([{"anchor": "q", "positive": "d3"}], corpus=beside["corpus"])
    assert row["pos"] == ["text 3"]


def test_texts_without_blanks_and_labels_are_no_ids(folder, beside):
    for text in ("退潮和涨潮", "ตารางน้ำขึ้นน้ำลง", "positive"):
        assert folder.row([{"query": "q", "pos": [text]}], corpus=beside["corpus"])["pos"] == [text]


def test_words_that_the_corpus_has_as_ids_are_ids(folder):
    corpus = folder.write("c.jsonl", [{"_id": "Paris", "text": "A city."}])
    assert folder.row([{"query": "q", "pos": ["Paris"]}], corpus=str(corpus))["pos"] == ["A city."]


def test_a_teacher_score_goes_with_its_unknown_document(folder, beside):
    record = {"query": "q", "pos": ["d1"], "neg": ["d9", "d3"], "teacher_scores": [3, 2, 1]}
    row = folder.row([record], corpus=beside["corpus"], on_bad_row="skip")
    assert (row["neg"], row["teacher_scores"]) == (["text 3"], [3.0, 1.0])


def test_rows_of_a_corpus_with_ids_of_its_own(folder, beside):
    record = {"query": "q", "query_id": 1, "pos_index": [2], "neg_index": [0]}
    (row,) = folder.rows([record], kind="eval", corpus=beside["corpus"])
    assert row["relevant"] == {"d3": 1}
    row = folder.row([record], corpus=beside["corpus"])
    assert (row["pos"], row["neg"]) == (["text 3"], ["text 1"])
    with pytest.raises(DataError, match="the corpus has 3 rows, and none is 3"):
        folder.rows([{**record, "pos_index": [3]}], kind="eval", corpus=beside["corpus"])


def test_a_wrong_number_of_teacher_scores_names_their_field(folder):
    row = {"query": "what", "pos": ["one two"], "neg": ["no such"], "teacher_scores": [1, 2, 3]}
    with pytest.raises(DataError, match="teacher_scores: 3 scores for 2 candidates"):
        folder.rows([row])


def test_sets_may_have_further_columns(folder):
    [row] = folder.rows([{"set": ["a b", "c d"], "id": 4, "task": "faq"}])
    assert {row["query"], *row["pos"]} == {"a b", "c d"}
    assert row["task"] == "faq"
