"""What two formats may share: told apart by content, or asked for."""

import re

import pytest

from llm_embedder_data import read_rows
from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.formats.detection import named

NAMES = """llm_embedder flagembedding flagembedding_eval tevatron tevatron_ids lightretriever
columns labeled_pairs labeled_list arrays sets hard_negatives gpl_margins kd_ids colbert beir mteb
msmarco_triples msmarco_id_triples trec_qrels trec_run ranx_qrels ranx_run run_jsonl id_text dpr
gritlm medi contrastors ms_swift nemo kalm simlm arctic cohere llamaindex hotpotqa musique squad
toolbench"""


@pytest.mark.parametrize("name", NAMES.split())
def test_every_name_is_taken(name):
    assert named(name).name == name


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(ConfigError, match="tevatron"):
        named("tevatorn")


def test_two_cells_are_ids_and_texts_or_pairs(folder):
    ids = "d1\tone text\nd2\tanother text\n"
    with pytest.raises(DataError, match="ids and texts, a corpus or queries"):
        folder.rows(ids, "a.tsv")
    assert [row["id"] for row in folder.rows(ids, "a.tsv", kind="corpus")] == ["d1", "d2"]
    rows = folder.rows("what is it\tone text\nwho\tanother\n", "a.tsv")
    assert [(row["query"], row["pos"]) for row in rows] == [
        ("what is it", ["one text"]),
        ("who", ["another"]),
    ]
    assert len(folder.rows("who\tone text\nwho\tanother\n", "a.tsv")) == 2


def test_two_columns_of_unknown_names_are_refused_with_the_way_to_name_them(folder):
    pairs = "frage,antwort\nWann?,Um acht.\nWo?,Am Pier.\n"
    with pytest.raises(DataError, match=r"first line, 'frage', 'antwort', names columns, say whi"):
        folder.rows(pairs, "a.csv")


def test_a_first_line_of_three_words_is_no_row_of_triples_unless_it_is_said_to_be(folder):
    lines = "id,frage,antwort\n1,Wann?,Um acht.\n2,Wo?,Am Pier.\n"
    with pytest.raises(DataError, match=r"'id', 'frage', 'antwort', may name columns"):
        folder.rows(lines, "a.csv")
    assert len(folder.rows(lines, "a.csv", format="msmarco_triples")) == 3
    assert len(folder.rows("ferry,boat,car\ntram,rail,road\n", "a.csv")) == 2


def test_a_corpus_may_have_further_fields(folder):
    records = [{"id": 1, "text": "a", "views": 3, "langs": ["en"]}]
    assert folder.rows(records, kind="corpus") == [{"id": "1", "text": "a"}]


@pytest.mark.parametrize(
    "record",
    [
        {"id": "1", "title": "a"},
        {"docid": "1", "text": "a"},
        {"document_id": 1, "text": "a"},
        {"_id": "1", "title": "", "text": "a", "metadata": {}},
    ],
)
def test_names_of_ids_and_texts(folder, record):
    assert folder.rows([record], kind="corpus") == [{"id": "1", "text": "a"}]


def test_what_is_no_format_names_its_columns(folder):
    with pytest.raises(DataError, match=re.escape("its columns are foo, bar, which is no known")):
        folder.rows([{"foo": 1, "bar": 2}])


@pytest.mark.parametrize("name", ["beir", "mteb", "flagembedding_eval"])
def test_a_format_of_folders_is_no_file(folder, name):
    with pytest.raises(DataError, match="this format is a folder"):
        folder.rows([{"query": "q", "pos": ["a b"]}], format=name)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("train", r"a training row needs query, and pos .* query: question_txt, pos: answer_txt\}"),
        ("eval", r"a row of eval queries needs query, .* as in \{path: ..., query: question_txt\}"),
        ("corpus", r"a passage needs text \(name them in the source, as in \{path: ..., text: C"),
    ],
)
def test_columns_of_no_known_format_are_named_with_what_is_needed(folder, kind, said):
    with pytest.raises(
        DataError, match=f"its columns are question_txt, answer_txt, which is no .*{said}"
    ):
        folder.rows([{"question_txt": "q", "answer_txt": "a"}], kind=kind)


@pytest.mark.parametrize("name", ["dpr", "tevatron", "simlm", "sets", "nemo", "ms_swift"])
def test_a_named_format_that_no_record_has_is_refused(folder, name):
    rows = [{"query": f"what is {n}", "pos": [f"it is {n}"], "neg": ["no such"]} for n in (1, 2)]
    with pytest.raises(DataError, match=f"format='{name}'.*its columns are query, pos, neg"):
        folder.rows(rows, format=name)


def test_a_named_format_of_a_file_without_records_is_refused(tmp_path):
    (tmp_path / "rows.json").write_text("[]")
    with pytest.raises(DataError, match=r"format='medi': .*it holds no record"):
        list(read_rows(tmp_path / "rows.json", format="medi"))


def test_a_named_format_may_give_no_row_of_its_own_files(folder):
    row = {"question": "who", "positive_ctxs": [], "hard_negative_ctxs": []}
    assert folder.rows([row], format="dpr") == []
    assert folder.left_out == {"rows without a positive": 1}


def test_a_format_without_rows_of_a_kind_says_which_it_has(folder):
    row = {"question": "who", "context": [["A", ["a."]]], "supporting_facts": [["A", 0]]}
    with pytest.raises(DataError, match="no eval rows can be read, only train rows"):
        folder.rows([row], kind="eval")


@pytest.mark.parametrize(
    ("name", "value"),
    [("miner", "bm25"), ("threshold", 0.5), ("prefix", "qgen"), ("config", "de")],
)
def test_a_setting_that_no_row_asks_for_is_refused(folder, name, value):
    row = {"query": "what is it", "pos": ["it is one"], "neg": ["no such"]}
    with pytest.raises(ConfigError, match=f"{name}=.*no effect on rows of the format llm_embedder"):
        folder.rows([row], **{name: value})


def test_a_setting_of_several_sources_may_concern_one_of_them(folder):
    scored = folder.write("a.csv", "sentence1,sentence2,score\nwhat is it,it is one,0.9\n")
    plain = folder.write("b.csv", "anchor,positive\nwho is it,it is he\n")
    assert len(list(read_rows([str(scored), str(plain)], threshold=0.5))) == 2


def test_triples_repeat_a_positive_and_runs_and_judgments_do_not(folder, beside):
    corpus = [{"_id": one, "text": f"text {one}"} for one in ("d1", "1", "2")]
    beside = {"queries": beside["queries"], "corpus": corpus}
    for positive in ("d1", "1"):  # of a corpus with one kind of ids, and with two
        [row] = folder.rows(f"1\t{positive}\t1\n1\t{positive}\t2\n", "t.tsv", **beside)
        assert row["pos"] == [f"text {positive}"]
        assert row["neg"] == ["text 1", "text 2"] if positive == "d1" else ["text 2"]
    [row] = folder.rows("1\t1\t1\n1\t2\t2\n", "r.tsv", **beside)
    assert row["candidates"] == ["text 1", "text 2"]


def test_an_id_and_a_text_of_three_words_are_no_judgment(folder):
    rows = folder.rows("1\tbest of 2020\n2\tworst of 2021\n", "passages.tsv", kind="corpus")
    assert rows == [{"id": "1", "text": "best of 2020"}, {"id": "2", "text": "worst of 2021"}]
