"""``convert`` writes canonical rows that read back as the same rows."""

import json
from pathlib import Path

import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import read_rows
from llm_embedder_data.rows.written_rows import write_rows

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
# Blanks in the middle: a text that is no id.
TEXTS = WORDS.map(lambda word: f"a text of {word.strip() or 'x'} and more")
SCORES = st.floats(allow_nan=False, allow_infinity=False, width=32)  # as batches hold them
INSTRUCTIONS = st.none() | st.fixed_dictionaries({"query": TEXTS, "key": st.none() | TEXTS})


@st.composite
def train_rows(draw, ids):
    pos, neg = draw(st.lists(TEXTS, min_size=1, max_size=2)), draw(st.lists(TEXTS, max_size=2))
    candidates = None
    if draw(st.booleans()):
        candidates, pos, neg = pos + neg, [], []
    n_keys = len(candidates or pos + neg)
    scores = st.none() | st.lists(SCORES, min_size=n_keys, max_size=n_keys)
    return {
        "query": draw(TEXTS),
        "pos": pos,
        "neg": neg,
        "candidates": candidates,
        "teacher_scores": draw(scores),
        "query_id": draw(ids),
        "instruction": draw(INSTRUCTIONS),
        "task": draw(st.none() | st.sampled_from(["qa", "tool"])),
    }


def written(rows, folder, kind, ending):
    path = folder / f"rows{ending}"
    assert write_rows(iter(rows), path, kind) == len(rows)
    return list(read_rows(str(path), kind=kind))


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize("ids", [st.none() | st.integers(-(2**62), 2**62), st.none() | TEXTS])
@tried(25)
@given(data=st.data())
def test_training_rows_read_back_as_the_same_rows(data, ending, ids, tmp_path):
    rows = data.draw(st.lists(train_rows(ids), min_size=1, max_size=4))

    assert written(rows, tmp_path, "train", ending) == rows


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_eval_rows_and_corpora_read_back_as_the_same_rows(tmp_path, ending):
    queries = [
        {"query": "what is it", "query_id": "q1", "relevant": {"d1": 2, "d0": 0}},
        {"query": "and that", "query_id": "q2", "relevant": {"d1": 1}},
    ]
    passages = [{"id": "d0", "text": "a title and a text"}, {"id": "007", "text": "another"}]

    assert written(queries, tmp_path, "eval", ending) == queries
    assert written(passages, tmp_path, "corpus", ending) == passages


@pytest.fixture
def flagembedding(tmp_path):
    rows = [
        {
            "query": f"query {i}",
            "pos": ["a text"],
            "neg": ["b text"],
            "pos_scores": [2],
            "neg_scores": [i],
        }
        for i in range(3)
    ]
    path = tmp_path / "flag.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_convert_says_what_it_found_and_wrote(run, flagembedding, tmp_path, ending):
    printed = run("convert", f"data.train_data={flagembedding}", f"out=rows{ending}")

    assert "3 rows of format flagembedding" in printed
    assert f"3 train rows written to rows{ending}" in printed
    found = list(read_rows(str(tmp_path / f"rows{ending}")))
    assert found == list(read_rows(str(flagembedding)))
    assert found[2]["teacher_scores"] == [2.0, 2.0]
    assert not (tmp_path / "outputs").exists()


def test_bad_data_leave_no_file(run, flagembedding, tmp_path):
    flagembedding.write_text(flagembedding.read_text() + '{"query": 3, "pos": ["a text"]}\n')

    with pytest.raises(SystemExit) as leaving:
        run("convert", f"data.train_data={flagembedding}", "out=rows.jsonl")

    assert "flag.jsonl, row 3 (line 4)" in str(leaving.value)
    assert [path.name for path in tmp_path.iterdir()] == ["flag.jsonl"]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_folder_of_the_rows_is_made_and_goes_again_with_a_bad_row(run, tmp_path, ending):
    (tmp_path / "t.csv").write_text("anchor,positive\na,b\n")
    (tmp_path / "bad.csv").write_text("anchor,positive\na,b\n,c\n")

    run("convert", "data.train_data=t.csv", f"out=new/rows/t.{ending}")
    with pytest.raises(SystemExit, match=r"bad\.csv, row 1"):
        run("convert", "data.train_data=bad.csv", f"out=other/rows/t.{ending}")

    assert (tmp_path / "new/rows" / f"t.{ending}").stat().st_size
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["out=a.jsonl"], "none is named"),
        (["data.corpus=x", "data.eval_data=y", "out=a.jsonl"], "data.eval_data and data.corpus is"),
        (["data.corpus=x"], "out=None: expected a file"),
        (["data.corpus=x", "out=rows.csv"], "ends in .jsonl or .parquet"),
        (["data.corpus=x", "out=a.txt/rows.jsonl"], "is a file, not a folder"),
    ],
)
def test_what_cannot_be_converted_is_one_sentence(run, tmp_path, arguments, sentence):
    (tmp_path / "a.txt").touch()
    with pytest.raises(SystemExit) as leaving:
        run("convert", *arguments)

    assert sentence in str(leaving.value)
    assert "\n" not in str(leaving.value)


def test_an_equal_corpus_elsewhere_is_named_by_its_own_path(run, tmp_path):
    """Passages are cached by content: the cache has the paths of the first reader of an equal."""
    corpus = [{"docid": f"d{i}", "text": f"passage {i}"} for i in range(4)]
    rows = [{"query": f"query {i}", "positive_document_ids": [f"d{i}"]} for i in range(3)]
    printed = {}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        for file, records in (("train.jsonl", rows), ("corpus.jsonl", corpus)):
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (tmp_path / name / file).write_text(lines)
        source = f"{{path: {name}/train.jsonl, corpus: {name}/corpus.jsonl}}"
        given = [f"data.train_data={source}", "data.cache_dir=cache", f"out={name}.jsonl"]
        printed[name] = run("convert", *given)

    assert "first/corpus.jsonl" in printed["first"]
    assert "first/corpus.jsonl" not in printed["second"]
    assert printed["second"] == printed["first"].replace("first", "second")


def test_rows_are_not_written_over_the_file_that_they_are_read_from(run, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('["query", "positive"]\n')
    (tmp_path / "link.jsonl").symlink_to(file)

    with pytest.raises(SystemExit, match=r"is read from this file \(name another\)"):
        run("convert", "data.train_data=rows.jsonl", "out=link.jsonl")

    assert file.read_text() == '["query", "positive"]\n'


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder that takes no files")
def test_an_output_that_cannot_be_written_names_its_setting(run, tmp_path):
    (tmp_path / "rows.jsonl").write_text('["query", "positive"]\n')

    with pytest.raises(SystemExit, match=r"/proc/rows\.jsonl: cannot be written: .*another out\)"):
        run("convert", "data.train_data=rows.jsonl", "out=/proc/rows.jsonl")


def test_a_folder_of_beir_keeps_its_files(run, tmp_path):
    (tmp_path / "beir" / "qrels").mkdir(parents=True)
    corpus = tmp_path / "beir" / "corpus.jsonl"
    corpus.write_text('{"_id": "d1", "title": "", "text": "red"}\n')
    (tmp_path / "beir" / "queries.jsonl").write_text('{"_id": "q1", "text": "red?"}\n')
    (tmp_path / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    before = corpus.read_bytes()

    with pytest.raises(SystemExit, match=r"data\.corpus is read from this file \(name another\)"):
        run("convert", "data.corpus=beir", "out=beir/corpus.jsonl")

    assert corpus.read_bytes() == before


def test_rejected_records_are_written_beside_the_rows(run, tmp_path):
    (tmp_path / "t.csv").write_text("anchor,positive\na,b\n,c\nonly one\n")
    asked = ["convert", "data.train_data=t.csv", "out=rows.jsonl", "data.on_bad_row=skip"]

    printed = run(*asked)

    lines = (tmp_path / "rows.rejected.jsonl").read_text().splitlines()
    assert [(found["row"], found["line"]) for found in map(json.loads, lines)] == [(1, 3), (2, 4)]
    assert "2 rejected rows: rows.rejected.jsonl" in printed
    run(*asked, "rejected=null", "out=other.jsonl")
    assert not (tmp_path / "other.rejected.jsonl").exists()
