"""Judgments and runs: TREC's, ranx's, MS MARCO's files, BEIR's and MTEB's folders."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_embedder_data.core.errors import ConfigError, DataError


def test_trec_qrels(folder, beside):
    text = "1 0 d1 1\n1\t1\td2\t0\n1 1 d1 3\n1 Q0 d3 -2\n2 0 d2 0\n"
    row = folder.row(text, "q.txt", **beside)
    assert (row["query_id"], row["pos"], row["neg"]) == (1, ["text 1"], ["text 2", "text 3"])
    assert folder.left_out["queries without a positive"] == 1
    assert sum("contradictory" in reason for reason in folder.left_out) == 1
    rows = folder.rows(text, "q.txt", kind="eval", **beside)
    assert [row["relevant"] for row in rows] == [{"d1": 3, "d2": 0, "d3": 0}, {"d2": 0}]


def test_document_ids_that_are_paths(folder):
    one = "insects_attracted_to_light/" + "Proximate_and_ultimate_causation" * 2 + ".txt"
    corpus = str(folder.write("c.jsonl", [{"id": one, "text": "a"}]))
    queries = str(folder.write("q.tsv", "0\tquery zero\n"))
    row = folder.row(f"0\t0\t{one}\t1\n", "biology.tsv", corpus=corpus, queries=queries)
    assert row["pos"] == ["a"]


def test_trec_runs(folder, beside):
    run = "1 Q0 d2 2 -1.5 t\n1 Q0 d1 1 2.5 t\n"
    row = folder.row(run, "run.txt", **beside)
    assert row == {
        **{"query": "query 1", "query_id": 1, "candidates": ["text 1", "text 2"]},
        "teacher_scores": [2.5, -1.5],
    }
    qrels = str(folder.write("qrels.txt", "1 0 d2 1\n1 0 d3 0\n"))
    row = folder.row(run, "run.txt", qrels=qrels, **beside)
    assert (row["pos"], row["neg"]) == (["text 2"], ["text 1", "text 3"])
    assert "teacher_scores" not in row
    qrels = str(folder.write("qrels.txt", "1 0 d2 1\n"))
    assert folder.row(run, "run.txt", qrels=qrels, **beside)["teacher_scores"] == [-1.5, 2.5]


def test_a_document_that_a_run_repeats_has_the_rank_and_score_of_its_best_line(folder, beside):
    run = "1 Q0 d1 1 9.0 t\n1 Q0 d2 2 8.0 t\n1 Q0 d1 3 1.0 t\n"
    row = folder.row(run, "run.txt", **beside)
    assert (row["candidates"], row["teacher_scores"]) == (["text 1", "text 2"], [9.0, 8.0])
    assert list(folder.left_out.values()) == [1]


def test_ranx_judgments_and_runs(folder, beside):
    integers = {"1": {"d1": 1, "d2": 2}}
    with pytest.raises(DataError, match=re.escape("(give format: ranx_qrels or ranx_run)")):
        folder.rows(integers, "a.json", **beside)
    (row,) = folder.rows(integers, "a.json", kind="eval", **beside)
    assert row["relevant"] == {"d1": 1, "d2": 2}
    row = folder.row(integers, "a.json", format="ranx_run", **beside)
    assert (row["candidates"], row["teacher_scores"]) == (["text 2", "text 1"], [2.0, 1.0])
    assert folder.row(integers, "a.json", format="ranx_qrels", **beside)["pos"] == [
        "text 1",
        "text 2",
    ]
    row = folder.row({"1": {"d1": 1, "d2": 0.5}}, "a.json", **beside)
    assert row["candidates"] == ["text 1", "text 2"]


def test_runs_with_their_texts(folder):
    records = [
        {
            "query_id": 5,
            "query": "q",
            "doc_id": n,
            "text": f"text {n}",
            "rank": rank,
            "score": 9 - n,
        }
        for n, rank in ((1, 2), (2, 1))
    ]
    row = folder.row(records)
    assert (row["candidates"], row["teacher_scores"]) == (["text 2", "text 1"], [7.0, 8.0])
    for record, relevance in zip(records, (1, 0), strict=True):
        record["relevance"] = relevance
    row = folder.row(records)
    assert (row["pos"], row["neg"], row["query_id"]) == (["text 1"], ["text 2"], 5)
    (row,) = folder.rows(records, kind="eval")
    assert row == {"query": "q", "query_id": 5, "relevant": {"1": 1, "2": 0}}


def test_msmarco_triples_of_ids_and_of_texts(folder, beside):
    row = folder.row("1\td1\td2\n1\td1\td3\n", "t.tsv", **beside)
    assert (row["pos"], row["neg"]) == (["text 1"], ["text 2", "text 3"])
    text = 'what is it\ta "b\tc d\nwhat is it\te f\tc d\n'
    assert folder.row(text, "t.tsv") == {
        **{"query": "what is it", "pos": ['a "b', "e f"]},
        "neg": ["c d"],
    }


def test_msmarco_run_counts_ranks(folder, beside):
    row = folder.row("1\td3\t1\n1\td1\t2\n", "run.tsv", **beside)
    assert row["candidates"] == ["text 3", "text 1"]


def test_msmarco_top1000_and_documents(folder):
    text = "1\td1\twhat is it\ta b c\n1\td2\twhat is it\td e f\n"
    assert folder.row(text, "top.tsv") == {
        **{"query": "what is it", "query_id": "1"},
        "candidates": ["a b c", "d e f"],
    }
    qrels = str(folder.write("qrels.tsv", "1\t0\td2\t1\n"))
    row = folder.row(text, "top.tsv", qrels=qrels)
    assert (row["pos"], row["neg"]) == (["d e f"], ["a b c"])
    text = "D1\thttp://a.org\tT\ta b\nD2\thttp://b.org\t\tc d\n"
    assert folder.rows(text, "docs.tsv", kind="corpus") == [
        {"id": "D1", "text": "T a b"},
        {"id": "D2", "text": "c d"},
    ]


def test_three_cells_of_judgments(folder, beside):
    text = "1\td1\t1\n1\td2\t0\n"
    assert folder.row(text, "qrels.tsv", **beside)["neg"] == ["text 2"]
    with pytest.raises(DataError, match=re.escape("(give format: trec_qrels or trec_run)")):
        folder.rows("1\t10\t1\n2\t11\t1\n", "unknown.tsv", **beside)


def beir(folder, qrels, queries=None, corpus=None, name="train", prefix=""):
    corpus = corpus or [{"_id": f"d{n}", "title": "", "text": f"text {n}"} for n in (1, 2, 3)]
    queries = queries or [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two\nturns"}]
    folder.write("beir/corpus.jsonl", corpus)
    folder.write(f"beir/{prefix}queries.jsonl", queries)
    folder.write(f"beir/{prefix}qrels/{name}.tsv", qrels)
    return folder.path / "beir"


HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.mark.parametrize("header", [HEADER, ""])
def test_beir_with_and_without_header(folder, header):
    path = beir(folder, header + "q1\td1\t2\nq1\td2\t0\nq2\td3\t1\n")
    rows = folder.read(path)
    assert [(row["query"], row["pos"], row["neg"]) for row in rows] == [
        ("one", ["text 1"], ["text 2"]),
        ("two\nturns", ["text 3"], []),
    ]
    rows = folder.read(path, kind="eval")
    assert [row["relevant"] for row in rows] == [{"d1": 2, "d2": 0}, {"d3": 1}]


def test_beir_splits_and_prefixes(folder):
    path = beir(folder, HEADER + "q1\td1\t1\n", name="dev")
    beir(folder, HEADER + "q2\td2\t1\n", name="train")
    assert [row["query_id"] for row in folder.read(path)] == ["q2"]
    assert [row["query_id"] for row in folder.read(path, kind="eval")] == ["q1"]
    assert [row["query_id"] for row in folder.read(path, split="dev")] == ["q1"]
    with pytest.raises(ConfigError, match=re.escape("has dev, train (name one of these)")):
        folder.read(path, split="test")
    beir(folder, HEADER + "g1\td3\t1\n", [{"_id": "g1", "text": "made"}], prefix="gen-")
    assert [row["query"] for row in folder.read(path, prefix="gen")] == ["made"]
    with pytest.raises(ConfigError, match="prefix='x'"):
        folder.read(path, prefix="x")


def test_beir_unknown_documents_and_queries(folder):
    path = beir(folder, HEADER + "q1\td1\t1\nq1\td9\t1\nq9\td1\t1\n", name="test")
    with pytest.raises(DataError, match="1 of 2 document ids are not in the corpus"):
        folder.read(path, kind="eval")
    (row,) = folder.read(path, kind="eval", on_bad_row="skip")
    assert row["relevant"] == {"d1": 1, "d9": 1}, "a search misses d9"
    assert folder.left_out["rows whose query is not in the queries"] == 1
    path = beir(folder, HEADER + "1\td1\t1\n", name="test")
    with pytest.raises(DataError, match=r"no judged query is among the queries.*'1'.*'q1'"):
        folder.read(path, kind="eval", on_bad_row="skip")


def test_flagembedding_evaluation_folder(folder):
    folder.write("f/corpus.jsonl", [{"id": 1, "title": "T", "text": "a"}])
    folder.write("f/dev_queries.jsonl", [{"id": "q", "text": "one"}])
    folder.write("f/dev_qrels.jsonl", [{"qid": "q", "docid": 1, "relevance": 1}])
    (row,) = folder.read(folder.path / "f", kind="eval")
    assert row == {"query": "one", "query_id": "q", "relevant": {"1": 1}}
    assert folder.read(folder.path / "f", kind="corpus") == [{"id": "1", "text": "T a"}]


def mteb(folder, tasks=("",)):
    configs = []
    for task in tasks:
        files = {
            f"{task}corpus": [{"id": n, "title": "", "text": f"text {n}"} for n in (1, 2, 3)],
            f"{task}queries": [{"_id": n, "text": f"query {n}"} for n in (7, 8)],
            f"{task}qrels": [{"query-id": 7, "corpus-id": 1, "score": 1}],
            f"{task}top_ranked": [{"query-id": 7, "corpus-ids": [2, 1]}],
            f"{task}instruction": [{"query-id": 7, "instruction": "Find"}],
        }
        for name, records in files.items():
            folder.write(f"m/{name}/test-0.jsonl", records)
            configs.append(f"- config_name: {name}\n  data_files:\n  - split: test\n")
            configs.append(f"    path: {name}/test-*\n")
    folder.write("m/README.md", f"---\nconfigs:\n{''.join(configs)}---\n")
    return folder.path / "m"


def test_mteb_repository(folder):
    path = mteb(folder)
    (row,) = folder.read(path, kind="eval")
    assert row == {
        **{"query": "query 7", "query_id": "7", "relevant": {"1": 1}, "candidates": ["2", "1"]},
        "instruction": {"query": "Find", "key": None},
    }
    assert folder.left_out["queries without judgments"] == 1
    (row,) = folder.read(path)
    assert (row["query_id"], row["pos"], row["neg"]) == ("7", ["text 1"], ["text 2"])
    assert row["instruction"] == {"query": "Find", "key": None}


def test_mteb_repository_of_several_tasks(folder):
    path = mteb(folder, ("a-", "b-"))
    with pytest.raises(ConfigError, match="several tasks: a, b"):
        folder.read(path, kind="eval")
    assert len(folder.read(path, kind="eval", config="b")) == 1


def test_toolbench_folder(folder):
    api = '"{""tool_name"": ""a"", ""api_name"": ""b"", ""api_description"": "" c ""}"'
    folder.write("t/corpus.tsv", f"docid\tdocument_content\n1\t{api}\n2\t{api.replace('b', 'd')}\n")
    folder.write("t/train.query.txt", "7\tone query\n")
    folder.write("t/qrels.train.tsv", "7\t0\t1\t1\n")
    (row,) = folder.read(folder.path / "t")
    assert (row["query"], row["query_id"], row["pos"]) == ("one query", "7", ["a: b: c"])
    assert folder.read(folder.path / "t", kind="eval")[0]["relevant"] == {"1": 1}


def test_mteb_folders_without_a_readme(folder):
    path = mteb(folder)
    (path / "README.md").unlink()
    assert len(folder.read(path, kind="eval")) == 1


def test_a_key_template_of_a_corpus(folder):
    record = {"id": 1, "title": "T", "contents": "a\nb", "lang": "en", "year": 1988}
    for template, text in (("{text} ({title})", "a\nb (T)"), ("{lang} {year}: {contents}", None)):
        rows = folder.rows([record], kind="corpus", key_template=template)
        assert rows == [{"id": "1", "text": text or "en 1988: a\nb"}]


SQUAD = {
    "version": "1",
    "data": [{"paragraphs": [{"context": "moon", "qas": [{"id": "q", "question": "why"}]}]}],
}
LLAMAINDEX = {"queries": {"q": "why"}, "corpus": {"1": "moon"}, "relevant_docs": {"q": ["1"]}}
CORPORA = {
    "two cells": ("c.tsv", "1\tmoon\n2\ttides\n", "moon"),
    "a table": ("c.csv", "id,title,text,url\n1,T,moon,u\n", "moon T u"),
    "documents": ("c.tsv", "D1\thttps://a.org\tT\tmoon\n" * 3, "moon T https://a.org"),
    "titled lines": ("c.jsonl", [{"id": 1, "contents": "T\nmoon"}], "moon T"),
    "questions": ("c.json", SQUAD, "moon"),
    "one object": ("c.json", LLAMAINDEX, "moon"),
    "APIs": ("toolbench/corpus.tsv", "docid\tdocument_content\n1\tmoon\n", "moon"),
    "a corpus folder": ("nemo/c.jsonl", [{"id": 1, "title": "T", "text": "moon"}], "moon T"),
}


@pytest.mark.parametrize("name", ["one object", "APIs"])
def test_a_key_template_is_refused_where_training_rows_would_not_follow_it(folder, name):
    file, content, _ = CORPORA[name]
    source = folder.write(file, content)
    if name == "APIs":
        source = source.parent
        folder.write("toolbench/train.query.txt", "7\twhy\n")
        folder.write("toolbench/qrels.train.tsv", "7\t0\t1\t1\n")

    assert folder.read(source)[0]["pos"] == ["moon"]
    with pytest.raises(DataError, match=r"key_template='as is: \{text\}' does not change"):
        folder.read(source, key_template="as is: {text}")


@pytest.mark.parametrize("name", CORPORA)
def test_a_key_template_names_fields_that_the_corpus_has(folder, name):
    file, content, text = CORPORA[name]
    path = folder.write(file, content)
    if name == "APIs":
        folder.write("toolbench/test.query.txt", "7\twhy\n")
        folder.write("toolbench/qrels.test.tsv", "7\t0\t1\t1\n")
    if name == "a corpus folder":
        folder.write("nemo/merlin_metadata.json", {"corpus_id": "c"})
    source = path if path.parent == folder.path else path.parent
    corpus = {"kind": "corpus", "on_bad_row": "skip"}
    fields = ["text", "title", "url"][: len(text.split())]
    template = " ".join(f"{{{field}}}" for field in fields)

    assert folder.read(source, key_template=f"as is: {template}", **corpus)[0]["text"] == (
        f"as is: {text}"
    )
    with pytest.raises(DataError, match=r"no record has the field 'texd' of key_template"):
        folder.read(source, key_template="{text} {texd}", **corpus)


def test_queries_are_eval_rows_by_the_judgments_beside_them(folder, beside):
    queries = folder.write("asked.jsonl", [{"_id": 1, "text": "what"}, {"_id": 2, "text": "who"}])
    qrels = str(folder.write("judged.tsv", "1\t0\td1\t2\n1\t0\td2\t0\n"))
    rows = folder.read(queries, kind="eval", qrels=qrels, corpus=beside["corpus"])
    assert rows == [{"query": "what", "query_id": 1, "relevant": {"d1": 2, "d2": 0}}]
    assert folder.left_out["queries without judgments"] == 1
    with pytest.raises(DataError, match=r"no judgments.*give qrels"):
        folder.read(queries, kind="eval")


def test_a_config_that_a_repository_does_not_have(folder):
    folder.write("corpus/test.jsonl", [{"_id": "d1", "text": "one"}])
    folder.write("queries/test.jsonl", [{"_id": "q1", "text": "what"}])
    folder.write("qrels/test.jsonl", [{"query-id": "q1", "corpus-id": "d1", "score": 1}])
    (row,) = folder.read(folder.path, kind="eval")
    assert row["relevant"] == {"d1": 1}
    with pytest.raises(ConfigError, match=r"config='fr'.*corpus, qrels, queries"):
        folder.read(folder.path, kind="eval", config="fr")


def test_beir_with_tables_of_texts(folder):
    rows = {
        "corpus": {"_id": "d1", "title": "T", "text": "one"},
        "queries": {"_id": 1, "text": "q"},
    }
    for name, row in rows.items():
        pq.write_table(pa.Table.from_pylist([row]), folder.path / f"{name}.parquet")
    folder.write("qrels/train.tsv", "query-id\tcorpus-id\tscore\n1\td1\t1\n")
    (row,) = folder.read(folder.path)
    assert (row["query"], row["pos"]) == ("q", ["T one"])


def test_judgments_that_the_user_names_win_over_a_folders_own(folder):
    folder.write("corpus.jsonl", [{"_id": n, "text": f"text {n}"} for n in (1, 2)])
    folder.write("queries.jsonl", [{"_id": "q", "text": "what"}])
    folder.write("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\t1\t1\n")
    other = str(folder.write("others/judged.tsv", "q\t0\t2\t1\n"))
    assert folder.read(folder.path, kind="eval")[0]["relevant"] == {"1": 1}
    assert folder.read(folder.path, kind="eval", qrels=other)[0]["relevant"] == {"2": 1}
    (row,) = folder.read(folder.path, qrels=other)
    assert row["pos"] == ["text 2"]


@pytest.mark.parametrize("part", ["corpus", "queries"])
def test_texts_that_the_user_names_win_over_a_folders_own(folder, part):
    folder.write("corpus.jsonl", [{"_id": "1", "text": "own corpus"}])
    folder.write("queries.jsonl", [{"_id": "1", "text": "own queries"}])
    folder.write("qrels/train.tsv", "query-id\tcorpus-id\tscore\n1\t1\t1\n")
    other = str(folder.write("others/texts.jsonl", [{"_id": "1", "text": "named"}]))
    (row,) = folder.read(folder.path, **{part: other})
    assert {"corpus": row["pos"][0], "queries": row["query"]}[part] == "named"


@pytest.mark.parametrize("setting", ["qrels", "queries", "scores"])
def test_an_empty_file_beside_the_rows_is_named(folder, beside, setting):
    kind = "train" if setting == "scores" else "eval"
    row = {"query": "what is it", "query_id": "1", "pos": ["it is one"], "neg": ["no such"]}
    rows = folder.write("rows.jsonl", [row] if setting == "scores" else "1\t0\td1\t1\n")
    if setting == "qrels":
        rows = folder.write("asked.jsonl", [{"_id": 1, "text": "what"}])
    empty = {setting: str(folder.write("empty.jsonl", ""))}
    with pytest.raises(DataError, match=f"the file of {setting} holds no row"):
        folder.read(rows, kind=kind, **beside | empty)


@pytest.mark.parametrize("content", ["", "query-id\tcorpus-id\tscore\n"])
@pytest.mark.parametrize("kind", ["train", "eval"])
def test_a_split_without_judgments_is_an_error(folder, content, kind):
    folder.write("beir/corpus.jsonl", [{"_id": "d1", "text": "a text"}])
    folder.write("beir/queries.jsonl", [{"_id": "q1", "text": "a query"}])
    folder.write("beir/qrels/test.tsv", content)
    with pytest.raises(DataError, match=r"test\.tsv: the file holds no judgment"):
        folder.read(folder.path / "beir", kind=kind)


@pytest.mark.parametrize(
    ("relevant", "grades"),
    [
        (["d1", "d2"], {"d1": 1, "d2": 1}),
        ([1, 2], {"1": 1, "2": 1}),
        ("d1", {"d1": 1}),
        ([["d1", 2], ["d2", 0]], {"d1": 2, "d2": 0}),
    ],
)
def test_relevant_documents_may_be_ids_alone(folder, relevant, grades):
    [row] = folder.rows([{"query": "a query", "relevant": relevant}], kind="eval")
    assert row["relevant"] == grades


@pytest.mark.parametrize("relevant", [5.5, True, [["d1"]], ["d1", ["d2", 1]]])
def test_relevant_documents_of_another_shape_are_shown(folder, relevant):
    with pytest.raises(DataError, match="expected grades by document id, or a list of ids, found"):
        folder.rows([{"query": "a query", "relevant": relevant}], kind="eval")


def test_judgments_of_pyterrier_call_the_document_docno(folder, beside):
    lines = "qid,docno,label\n1,d1,2\n1,d2,0\n"
    [row] = folder.rows(lines, "qrels.csv", kind="eval", queries=beside["queries"])
    assert row["relevant"] == {"d1": 2, "d2": 0}
