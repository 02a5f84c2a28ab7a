"""Formats whose rows hold passages: Tevatron, LightRetriever, DPR, GritLM, MEDI, and others."""

import re

import pytest

from llm_embedder_data.core.errors import DataError


def passages(*entries):
    return [dict(zip(("docid", "title", "text"), entry, strict=True)) for entry in entries]


def test_tevatron_titles(folder):
    record = {
        "query_id": "7",
        "query": "q",
        "positive_passages": [*passages(("1", "T", "a ")), {"docid": "2", "text": "b"}],
        "negative_passages": passages(("3", "-", "c"), ("4", "", "d")),
    }
    row = folder.row([record])
    assert row == {"query": "q", "pos": ["T a", "b"], "neg": ["c", "d"], "query_id": "7"}
    assert folder.rows([record], kind="eval") == [
        {"query": "q", "query_id": "7", "relevant": {"1": 1, "2": 1}}
    ]


def test_promptriever_instruction_apart(folder):
    record = {
        "query": "q Only yeast.",
        "only_query": "q",
        "instruction": "Only yeast.",
        "positive_passages": passages(("1", "-", "a")),
        "negative_passages": [],
    }
    row = folder.row([record])
    assert (row["query"], row["instruction"]) == ("q", {"query": "Only yeast.", "key": None})
    row = folder.row([{name: value for name, value in record.items() if name != "only_query"}])
    assert row["query"] == "q Only yeast."
    assert "instruction" not in row


@pytest.mark.parametrize("score", ["null", "NaN", "-Infinity"])
def test_lightretriever_scores(folder, score):
    line = (
        '{"_id": "1", "query": "q", "instruction": "Find", "positive_passages": [{"docid": "0", '
        '"text": "a", "ce_score": 9.5}], "negative_passages": [{"docid": "1", "text": "b", '
        '"ce_score": SCORE}]}\n'
    )
    row = folder.row(line.replace("SCORE", "-3.25"))
    assert row["teacher_scores"] == [9.5, -3.25]
    assert row["instruction"] == {"query": "Find", "key": None}
    assert "teacher_scores" not in folder.row(line.replace("SCORE", score))
    assert sum(folder.left_out.values()) == 1


def test_tokenized_rows_are_refused(folder):
    record = {"query": [101, 7], "positives": [[101, 8]], "negatives": [[101, 9]]}
    with pytest.raises(DataError, match="token ids"):
        folder.rows([record])


def contexts(*entries):
    return [{"title": "T", "text": text, "passage_id": one, "score": 1000} for one, text in entries]


def test_dpr(folder):
    records = [
        {
            "question": "q",
            "positive_ctxs": contexts(("1", "a"), ("1", "a")),
            "hard_negative_ctxs": [],
            "negative_ctxs": contexts(("2", "b")),
        },
        {"question": "r", "positive_ctxs": [], "hard_negative_ctxs": contexts(("2", "b"))},
    ]
    assert folder.row(records) == {"query": "q", "pos": ["T a"], "neg": ["T b"]}
    assert folder.left_out == {"rows without a positive": 1}
    assert folder.rows(records[:1], kind="eval")[0]["relevant"] == {"1": 1}
    path = folder.write("array.json", {"a": 1})
    path.write_text(str(records).replace("'", '"'))
    assert len(folder.read(path)) == 1


def test_gritlm_and_medi_by_nesting(folder):
    gritlm = {"query": ["Find", "q"], "pos": [["", "a"], ["", "b"]], "neg": [["", "c"]]}
    row = folder.row([gritlm])
    assert row == {
        **{"query": "q", "pos": ["a", "b"], "neg": ["c"]},
        "instruction": {"query": "Find", "key": ""},
    }
    medi = {"query": ["Find", "q"], "pos": ["P", "a"], "neg": ["P", "c"], "task_name": "t"}
    assert folder.row([medi]) == {
        **{"query": "q", "pos": ["a"], "neg": ["c"], "task": "t"},
        "instruction": {"query": "Find", "key": "P"},
    }
    with pytest.raises(DataError, match="different instructions"):
        folder.rows([{**medi, "neg": ["other", "c"]}])


def test_generative_data_is_refused(folder):
    with pytest.raises(DataError, match="texts to generate"):
        folder.rows([{"text": ["a question", "an answer"]}])


def test_contrastors_columns_and_scores(folder):
    record = {
        "query": "q",
        "document": "a",
        "negatives": ["b"],
        "document_score": 0.5,
        "negatives_scores": [0.25],
    }
    row = folder.row([record])
    assert row == {"query": "q", "pos": ["a"], "neg": ["b"], "teacher_scores": [0.5, 0.25]}
    objective = {"self": [], "paired": [["title", "abstract"]], "triplet": []}
    other = {"title": "t", "abstract": "a b", "metadata": {"objective": objective}}
    assert folder.row([other]) == {"query": "t", "pos": ["a b"]}
    with pytest.raises(DataError, match="counts the rows of other files"):
        folder.rows({"total_count": 2, "count_per_file": {"a": 2}}, "counts.json")


def test_kalm_instruction_is_split_off(folder):
    record = {"query": "Instruct: Find it. \n Query: who", "pos": ["a b"], "neg": []}
    row = folder.row([record])
    assert row["query"] == "who"
    assert row["instruction"] == {"query": "Instruct: Find it. \n Query: ", "key": None}


def test_kalm_rows_name_their_task_and_instruction(folder):
    """The instruction of the query's text comes before that of the column."""
    split = {"query": "Instruct: Find it. \n Query: who", "pos": ["a b"], "neg": []}
    plain = {"query": "what is it", "pos": ["c d"], "neg": [], "instruction": "Find: "}
    rows = folder.rows([{**row, "task": "tool"} for row in (split, plain)], "rows.jsonl")
    assert [row["task"] for row in rows] == ["tool", "tool"]
    assert [row["instruction"]["query"] for row in rows] == [
        "Instruct: Find it. \n Query: ",
        "Find: ",
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"question": "q", "pos_doc": ["a b"], "neg_doc": ["c d"]},
        {"question": "q", "positive_ctxs": [{"text": "a b"}], "negative_ctxs": []},
        {"anchor": "what is q", "positive": "a b", "negative": "c d"},
        {
            "query": "what is q",
            "pos": ["a b"],
            "neg": ["c d"],
            "pos_scores": [1],
            "neg_scores": [0],
        },
        {"query": "what is q", "pos": ["a b"], "neg": ["c d"]},
    ],
)
def test_rows_of_any_format_name_their_task_and_instruction(folder, record):
    given = {"query": "Find: ", "key": "Read: "}
    row = folder.row([{**record, "task": "tool", "instruction": given}])
    assert (row["task"], row["instruction"]) == ("tool", given)
    row = folder.row([{**record, "instruction": "Find: "}])
    assert row["instruction"] == {"query": "Find: ", "key": None}
    with pytest.raises(DataError, match=r"line 1.*task: expected a string, found 3"):
        folder.rows([{**record, "task": 3}])


def test_nemo_inline_rows_of_every_type(folder):
    records = [
        {"query": "q", "pos_doc": "a", "neg_doc": ["b", "c"]},
        {"question": "r", "pos_doc": [{"text": "d"}], "neg_doc": "e"},
        {"question": "s", "pos_doc": []},
    ]
    rows = folder.rows(records)
    assert [(row["query"], row["pos"], row["neg"]) for row in rows] == [
        ("q", ["a"], ["b", "c"]),
        ("r", ["d"], ["e"]),
    ]
    assert folder.left_out == {"rows without a positive": 1}


def test_nemo_ids_of_a_corpus_folder_beside_the_file(folder):
    metadata = {
        "corpus_id": "wiki",
        "query_instruction": "query:",
        "passage_instruction": "passage:",
    }
    folder.write("data/c/merlin_metadata.json", metadata)
    folder.write("data/c/train.jsonl", [{"id": "d1", "text": "a"}, {"id": "d2", "text": "b"}])
    data = {"question_id": "7", "question": "q", "corpus_id": "wiki", "pos_doc": [{"id": "d1"}]}
    whole = {"corpus": [{"path": "c"}], "data": [{**data, "neg_doc": ["d2"]}]}
    path = folder.write("data/train.json", whole)
    (row,) = folder.read(path)
    assert (row["pos"], row["neg"], row["query_id"]) == (["a"], ["b"], "7")
    assert row["instruction"] == {"query": "query:", "key": "passage:"}
    assert folder.read(path, kind="eval")[0]["relevant"] == {"d1": 1}
    assert [row["id"] for row in folder.read(path.parent / "c", kind="corpus")] == ["d1", "d2"]
    whole["data"][0]["corpus_id"] = "other"
    with pytest.raises(DataError, match=re.escape("corpus_id='other': the file has wiki")):
        folder.read(folder.write("data/train.json", whole))


def test_kalm_rows_may_have_scores_and_queries_without_instruction(folder):
    records = [
        {"query": "Instruct: I\nQuery: q", "pos": ["a b"], "pos_scores": [2], "neg_scores": []},
        {"query": "r", "pos": ["c d"]},
    ]
    rows = folder.rows(records)
    assert [(row["query"], row["teacher_scores"]) for row in rows] == [("q", [2.0]), ("r", None)]
    assert rows[1]["instruction"] is None


def test_nemo_ids_are_joined_to_the_corpus_that_is_named(folder, beside):
    record = {"question": "q", "pos_doc": [{"id": "d1"}], "neg_doc": ["d2"]}
    with pytest.raises(DataError, match="no corpus is given"):
        folder.rows([record])
    record["pos_doc"] = ["d1"]
    row = folder.row([record], corpus=beside["corpus"])
    assert (row["pos"], row["neg"]) == (["text 1"], ["text 2"])


def test_nemo_rows_keep_their_inline_positive_beside_an_unknown_id(folder, beside):
    pos_doc = [{"text": "inline"}, {"id": "d99"}]
    record = {"question": "q", "pos_doc": pos_doc, "neg_doc": [{"id": "d2"}]}
    row = folder.row([record], corpus=beside["corpus"], on_bad_row="skip")
    assert (row["pos"], row["neg"]) == (["inline"], ["text 2"])
    assert folder.left_out == {"document ids that the corpus does not have": 1}
    with pytest.raises(DataError, match="1 of 2 document ids are not in the corpus"):
        folder.rows([record], corpus=beside["corpus"])


def test_a_nemo_corpus_without_passages_is_named(folder):
    row = {"question": "what", "corpus_id": "wiki", "pos_doc": [{"id": "a"}], "neg_doc": []}
    rows = folder.write("train.json", {"corpus": [{"path": "wiki"}], "data": [row]})
    folder.write("wiki/merlin_metadata.json", {"class": "TextQADataset", "corpus_id": "wiki"})
    with pytest.raises(DataError, match="wiki: the corpus has no file of passages"):
        folder.read(rows)


@pytest.mark.parametrize("score", [{}, {"ce_score": 1.5}])
def test_an_instruction_of_both_sides_is_read_as_in_any_format(folder, score):
    passage = {"docid": "1", "text": "a b", **score}
    record = {"query": "q", "positive_passages": [passage], "negative_passages": []}
    own = {"query": "Find: ", "key": "Law: "}
    assert folder.row([{**record, "instruction": own}])["instruction"] == own
    with pytest.raises(DataError, match="instruction has 'doc'"):
        folder.rows([{**record, "instruction": {"doc": "Law: "}}])


@pytest.mark.parametrize("pos", [["a"], ["a", "b", "c"]])
def test_gritlm_with_an_instruction_for_the_query_alone(folder, pos):
    row = folder.row([{"query": ["Find", "q"], "pos": pos, "neg": ["n"]}])
    assert (row["query"], row["pos"], row["neg"]) == ("q", pos, ["n"])
    assert row["instruction"] == {"query": "Find", "key": None}
