"""Formats whose rows name documents by id, and the policy for ids that a corpus has not."""

import json
import re

import pytest

from llm_embedder_data import read_rows
from llm_embedder_data.core.errors import ConfigError, DataError


def test_tevatron_ids(folder, beside):
    records = [
        {"query_id": "a", "query_text": "q", "positive_document_ids": ["d1"]},
        {
            "query_id": 2,
            "query_text": None,
            "positive_document_ids": ["d1"],
            "negative_document_ids": ["d2", "d3"],
        },
    ]
    rows = folder.rows(records, **beside)
    assert [(row["query"], row["pos"], row["neg"]) for row in rows] == [
        ("q", ["text 1"], []),
        ("query 2", ["text 1"], ["text 2", "text 3"]),
    ]
    eval_rows = folder.rows(records, kind="eval", **beside)
    assert [row["relevant"] for row in eval_rows] == [{"d1": 1}, {"d1": 1}]
    with pytest.raises(DataError, match="query_image: rows of images"):
        folder.rows([{**records[0], "query_image": "a.jpg"}], **beside)
    documents = [{"docid": "d1", "document_text": "text", "document_image": None}]
    [document] = folder.rows(documents, kind="corpus")
    assert (document["id"], document["text"]) == ("d1", "text")


def test_tevatron_corpus_titles(folder):
    records = [{"docid": 1, "title": "-", "text": "a"}, {"docid": 2, "title": "T", "text": "b"}]
    rows = folder.rows(records, kind="corpus")
    assert rows == [{"id": "1", "text": "a"}, {"id": "2", "text": "T b"}]


MINED = [
    {"qid": 1, "pos": ["d1"], "neg": {"bm25": ["d2"], "ance": ["d2", "d3", "d1"]}},
    {"qid": "2", "pos": ["d2"], "neg": {"bm25": ["d3"]}},
]


def test_hard_negatives_of_all_miners_and_of_one(folder, beside):
    rows = folder.rows(MINED, **beside)
    assert [(row["query_id"], row["neg"]) for row in rows] == [
        (1, ["text 2", "text 3"]),
        ("2", ["text 3"]),
    ]
    rows = folder.rows(MINED, miner="ance", **beside)
    assert [row["neg"] for row in rows] == [["text 2", "text 3"], []]
    with pytest.raises(ConfigError, match=re.escape("miner='x'")) as error:
        folder.rows(MINED, miner="x", **beside)
    assert "ance, bm25" in str(error.value)
    assert folder.rows(MINED[:1], kind="eval", **beside)[0]["relevant"] == {"d1": 1}


def test_gpl_margins_are_a_row_a_line(folder, beside):
    rows = folder.rows("1\td1\td2\t0.75\n1\td1\td3\t-2\n", "gpl.tsv", **beside)
    assert [(row["query"], row["neg"], row["teacher_scores"]) for row in rows] == [
        ("query 1", ["text 2"], [0.75, 0.0]),
        ("query 1", ["text 3"], [-2.0, 0.0]),
    ]


@pytest.mark.parametrize("ids", [["d1", "d2"], '["d1", "d2"]'])
def test_distillation_rows_are_candidates(folder, beside, ids):
    record = {"query_id": 1, "document_ids": ids, "scores": "[0.5, 0.25]"}
    row = folder.row([record], **beside)
    assert row == {
        **{"query": "query 1", "query_id": 1},
        **{"candidates": ["text 1", "text 2"], "teacher_scores": [0.5, 0.25]},
    }


def test_a_list_in_text_is_never_evaluated(folder, beside):
    with pytest.raises(DataError, match="document_ids: expected a list"):
        folder.rows([{"query_id": 1, "document_ids": "[open('x')]"}], **beside)


def test_colbert(folder):
    corpus = str(folder.write("collection.tsv", "0\ta b\n1\tc d\n2\te f\n"))
    queries = str(folder.write("queries.tsv", "7\tq r\n"))
    row = folder.row("[7, 0, 1, 2]\n", corpus=corpus, queries=queries)
    assert row == {"query": "q r", "pos": ["a b"], "neg": ["c d", "e f"], "query_id": 7}
    row = folder.row("[7, [0, 1.5], [2, -1]]\n", corpus=corpus, queries=queries)
    assert row == {
        **{"query": "q r", "query_id": 7},
        **{"candidates": ["a b", "e f"], "teacher_scores": [1.5, -1.0]},
    }


def test_simlm_counts_lines_of_the_corpus(folder):
    corpus = [{"id": f"p{n}", "title": "T", "contents": f"c {n}"} for n in range(3)]
    record = {
        "query_id": "1",
        "query": "q",
        "positives": {"doc_id": ["2"], "score": [9.5]},
        "negatives": {"doc_id": ["0"], "score": [-1]},
    }
    path = str(folder.write("passages.jsonl", corpus))
    row = folder.row([record], corpus=path)
    assert (row["pos"], row["neg"], row["teacher_scores"]) == (["T c 2"], ["T c 0"], [9.5, -1.0])
    del record["negatives"]["score"]
    assert "teacher_scores" not in folder.row([record], corpus=path)


def test_arctic_tables(folder):
    ids = (2**64 - 1, 2**63)
    folder.write("t/queries.jsonl", [{"QUERY_ID": ids[0], "QUERY_TEXT": "q"}])
    documents = [{"DOCUMENT_ID": n, "DOCUMENT_TEXT": f"text {n}"} for n in (ids[1], 2, 3)]
    folder.write("t/documents.jsonl", documents)
    labels = [
        {"QUERY_ID": ids[0], "DOCUMENT_ID": n, "RELEVANCE": relevance}
        for n, relevance in ((ids[1], 1), (2, -1), (3, 0))
    ]
    folder.write("t/labels.jsonl", labels)
    (row,) = folder.read(folder.path / "t")
    assert (row["query_id"], row["pos"], row["neg"]) == (
        ids[0],
        [f"text {ids[1]}"],
        ["text 2"],
    )
    assert folder.left_out == {"labels of 0, which say nothing": 1}
    (row,) = folder.read(folder.path / "t", kind="eval")
    assert row["relevant"] == {str(ids[1]): 1, "2": 0}


def ids_row(positive, negative=()):
    return {
        "query": "q",
        "positive_document_ids": list(positive),
        "negative_document_ids": list(negative),
    }


def test_unknown_ids_are_errors(folder, beside):
    with pytest.raises(DataError, match="1 of 3 document ids are not in the corpus, such as 'd9'"):
        folder.rows([ids_row(["d1"], ["d2", "d9"])], corpus=beside["corpus"])
    with pytest.raises(DataError, match="none of its document ids is in the corpus: 'd9'"):
        folder.rows([ids_row(["d1"]), ids_row(["d9"])], corpus=beside["corpus"])


def test_unknown_ids_up_to_one_in_a_hundred_are_counted(folder, beside):
    records = [ids_row(["d1"], ["d2"])] * 60 + [ids_row(["d1"], ["d2", "d9"])]
    rows = folder.rows(records, corpus=beside["corpus"])
    assert len(rows) == 61
    assert rows[-1]["neg"] == ["text 2"]
    assert folder.left_out == {"document ids that the corpus does not have": 1}


def test_unknown_ids_are_left_out_by_skip(folder, beside):
    records = [ids_row(["d1", "d9"], ["d2", "d8"]), ids_row(["d9"], ["d2"]), ids_row(["d9"])]
    (row,) = folder.rows(records, corpus=beside["corpus"], on_bad_row="skip")
    assert (row["pos"], row["neg"]) == (["text 1"], ["text 2"])
    assert folder.left_out["document ids that the corpus does not have"] == 4
    assert folder.left_out["rows without a known positive"] == 1


def test_no_known_id_is_always_an_error_with_an_id_of_each_side(folder, beside):
    with pytest.raises(DataError, match=r"'x1' is asked for.*'d1'"):
        folder.rows([ids_row(["x1"])], corpus=beside["corpus"], on_bad_row="skip")
    with pytest.raises(DataError, match="no query id is in the queries"):
        folder.rows([{**MINED[0], "qid": "x"}], on_bad_row="skip", **beside)


def test_duplicate_ids_of_a_corpus(folder):
    corpus = [{"id": "1", "text": "a"}, {"id": 1, "text": "b"}, {"id": 2, "text": " "}]
    with pytest.raises(DataError, match="the id '1' stands in the corpus twice"):
        folder.rows(corpus, kind="corpus")
    rows = folder.rows(corpus, kind="corpus", on_bad_row="skip")
    assert rows == [{"id": "1", "text": "a"}]
    assert folder.left_out["passages without text"] == 1


def test_anserini_title_is_the_first_line(folder):
    corpus = [{"id": "a", "contents": "Tides\nhigh and low\nwater"}, {"id": "b", "contents": "one"}]
    assert [row["text"] for row in folder.rows(corpus, kind="corpus")] == [
        "Tides high and low\nwater",
        "one",
    ]


def test_rows_of_ids_alone_ask_for_queries_and_corpus_at_once(folder, beside):
    rows = [{"qid": 1, "pos": ["d1"], "neg": {"bm25": ["d2"]}}]
    with pytest.raises(DataError, match=r"give queries: .*, and corpus: "):
        folder.rows(rows)
    with pytest.raises(DataError, match=r"give queries: a file of ids and texts\)"):
        folder.rows(rows, corpus=beside["corpus"])


def _lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


_OF_IDS = {
    "triples.tsv": "what is it\td1\td2\nwho\td3\td1\n",
    "arrays.jsonl": _lines([["what is it", "d1", "d2"], ["who", "d3", "d1"]]),
    "pairs.csv": "text1,text2,label\nwhat is it,d1,1\nwhat is it,d2,0\nwho,d3,1\nwho,d1,0\n",
    "list.jsonl": _lines(
        [
            {"query": "what is it", "docs": ["d1", "d2"], "labels": [1, 0]},
            {"query": "who", "docs": ["d3", "d1"], "labels": [1, 0]},
        ]
    ),
}


@pytest.mark.parametrize("name", _OF_IDS)
def test_passages_without_names_of_their_own_may_be_ids(folder, beside, name):
    rows = folder.rows(_OF_IDS[name], name, corpus=beside["corpus"])
    assert [(row["query"], row["pos"], row["neg"]) for row in rows] == [
        ("what is it", ["text 1"], ["text 2"]),
        ("who", ["text 3"], ["text 1"]),
    ]
    with pytest.raises(DataError, match="name documents by id, and no corpus is given"):
        folder.rows(_OF_IDS[name], name)


def test_scores_of_ids_go_with_the_documents_that_are_known(folder, beside):
    rows = [{"query": "what", "docs": ["d1", "d9", "d3"], "scores": [0.5, 0.25, 0.75]}]
    (row,) = folder.rows(rows, corpus=beside["corpus"], on_bad_row="skip")
    assert row["candidates"] == ["text 1", "text 3"]
    assert row["teacher_scores"] == [0.5, 0.75]


def test_ids_of_rows_say_where_they_stand(folder, beside):
    rows = [["what", "d1"], ["who", "d9"]]
    with pytest.raises(DataError, match=r"row 1 \(line 2\): none of its document ids"):
        folder.rows(rows, corpus=beside["corpus"])


def test_columns_whose_queries_are_ids_are_joined_to_the_queries(folder, beside):
    records = [
        {"query": "1", "positive": "d1", "negative": "d2"},
        {"query": 2, "positive": "d3", "negative": "d1"},
    ]
    rows = folder.rows(records, **beside)
    assert [(row["query_id"], row["query"], row["pos"], row["neg"]) for row in rows] == [
        (1, "query 1", ["text 1"], ["text 2"]),
        (2, "query 2", ["text 3"], ["text 1"]),
    ]
    without_queries = {"corpus": beside["corpus"]}
    with pytest.raises(DataError, match="name queries by id, and no queries are given"):
        folder.rows(records, **without_queries)


@pytest.mark.parametrize(
    "more", [{}, {"pos_scores": [1.0], "neg_scores": [0.5]}, {"teacher_scores": [1.0, 0.5]}]
)
def test_rows_of_lists_whose_queries_are_ids_are_joined_too(folder, beside, more):
    row = folder.row([{"query": "2", "pos": ["d1"], "neg": ["d2"], **more}], **beside)
    assert (row["query_id"], row["query"], row["pos"]) == (2, "query 2", ["text 1"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '["2", "d1", "d3"]\n["1", "d2", "d3"]\n'),
        ("rows.jsonl", '{"query": "2", "docs": ["d1", "d3"], "labels": [1, 0]}\n' * 2),
        ("rows.csv", "query,passage,label\n2,d1,1\n2,d3,0\n1,d2,1\n"),
    ],
)
def test_queries_of_rows_without_columns_of_ids_are_joined_too(folder, beside, name, content):
    row = folder.rows(content, name, **beside)[0]
    assert (str(row["query_id"]), row["query"], row["pos"]) == ("2", "query 2", ["text 1"])

    without_queries = {"corpus": beside["corpus"]}
    with pytest.raises(DataError, match="name queries by id, and no queries are given"):
        folder.rows(content, name, **without_queries)


def test_eval_rows_whose_queries_are_ids_are_joined_too(folder, beside):
    for judged in ({"pos": ["d1"]}, {"relevant": {"d1": 1}}):
        row = folder.row([{"query": "2", **judged}], kind="eval", **beside)
        assert (row["query_id"], row["query"], row["relevant"]) == (2, "query 2", {"d1": 1})


def test_a_query_beside_an_id_of_its_own_is_a_text_whatever_it_looks_like(folder, beside):
    row = folder.row([{"query": "covid19", "query_id": 7, "pos": ["d1"]}], corpus=beside["corpus"])
    assert (row["query_id"], row["query"]) == (7, "covid19")


def test_a_table_of_ids_is_read_by_the_names_that_the_source_gives(tmp_path, beside):
    path = tmp_path / "ids.tsv"
    path.write_text("query_id\tpositive_id\tnegative_id\n1\td1\td2\n2\td2\td3\n")
    names = {"query": "query_id", "pos": "positive_id", "neg": "negative_id"}

    rows = list(read_rows(path, **names, **beside, cache_dir=tmp_path / "cache"))

    assert [(row["query"], row["pos"], row["neg"]) for row in rows] == [
        ("query 1", ["text 1"], ["text 2"]),
        ("query 2", ["text 2"], ["text 3"]),
    ]


def test_queries_that_are_texts_stay_texts_where_queries_are_given(folder, beside):
    records = [{"query": "where is 1?", "positive": "d1"}, {"query": "2 or 3?", "positive": "d2"}]
    rows = folder.rows(records, **beside)
    assert [row["query"] for row in rows] == ["where is 1?", "2 or 3?"]

    records = [{"query": 1, "positive": "a text"}, {"query": "2", "positive": "another text"}]
    rows = folder.rows(records, queries=beside["queries"])
    assert [(row["query"], row["pos"]) for row in rows] == [
        ("query 1", ["a text"]),
        ("query 2", ["another text"]),
    ]


def test_a_passage_is_named_by_its_own_id_and_not_its_document_s(folder):
    records = [{"docid": "D1", "pid": f"P{n}", "passage": f"text {n}"} for n in (1, 2)]
    rows = folder.rows(records, kind="corpus")
    assert rows == [{"id": "P1", "text": "text 1"}, {"id": "P2", "text": "text 2"}]


def test_a_corpus_has_docno_and_segments(folder):
    assert folder.rows([{"docno": "a", "text": "x"}], kind="corpus") == [{"id": "a", "text": "x"}]
    record = {"docid": "a", "url": "u", "title": "Tides", "headings": "Neap", "segment": "A text."}
    assert folder.rows([record], kind="corpus") == [{"id": "a", "text": "Tides A text."}]


@pytest.mark.parametrize("abstract", ["Low and high water.", ["Low water.", "High water."]])
def test_titles_are_not_taken_for_the_passages_beside_them(folder, abstract):
    records = [{"doc_id": 1, "title": "Tides", "abstract": abstract}]
    with pytest.raises(DataError, match="abstract, which is no known format of corpus rows"):
        folder.rows(records, kind="corpus")
    if isinstance(abstract, str):
        [row] = folder.rows(records, kind="corpus", text="abstract")
        assert row["text"] == "Tides Low and high water."
    records = [{"id": 1, "title": "Tides of the North", "genre": "novel"}]
    assert folder.rows(records, kind="corpus") == [{"id": "1", "text": "Tides of the North"}]


@pytest.mark.parametrize("of_corpus", [7, 7.0, "7"])
@pytest.mark.parametrize("of_rows", [7, 7.0, "7"])
def test_whole_floats_integers_and_their_digits_are_one_id(folder, of_corpus, of_rows):
    """As pandas makes floats of a column of integers in which some are missing."""
    corpus = folder.write("corpus.jsonl", [{"id": of_corpus, "text": "seven"}])
    queries = folder.write("queries.jsonl", [{"id": of_corpus, "text": "which number"}])
    beside = {"corpus": str(corpus), "queries": str(queries)}
    assert folder.row([{"query": of_rows, "pos": [of_rows], "neg": []}], **beside)["pos"] == [
        "seven"
    ]
    judged = folder.write("j.jsonl", [{"query-id": of_rows, "corpus-id": of_rows, "score": 1}])
    assert folder.read(judged, **beside)[0]["pos"] == ["seven"]

    scored = [{"query_id": of_rows, "scores": [2.0, 1.0]}]
    scores = str(folder.write("scores.jsonl", scored))
    row = {"query": "what is it", "query_id": of_corpus, "pos": ["a b"], "neg": ["c d"]}
    assert folder.row([row], scores=scores)["teacher_scores"] == [2.0, 1.0]

    folder.write("a/documents.jsonl", [{"DOCUMENT_ID": of_corpus, "DOCUMENT_TEXT": "seven"}])
    folder.write("a/queries.jsonl", [{"QUERY_ID": of_corpus, "QUERY_TEXT": "which"}])
    folder.write("a/labels.jsonl", [{"QUERY_ID": of_rows, "DOCUMENT_ID": of_rows, "RELEVANCE": 1}])
    assert folder.read(folder.path / "a")[0]["pos"] == ["seven"]
