"""Run files: written and read again, with the bits of each score."""

import numpy as np
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import DataError
from llm_embedder_data.mining.run_files import check_run_ids, read_run, write_run

ids = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=4)
# Ids with all that separates fields elsewhere, and ids that look like names of columns.
free_ids = st.text(st.characters(codec="utf-8", min_codepoint=32), min_size=1)
free_ids = free_ids.filter(lambda name: not name.startswith("\ufeff"))
free_ids |= st.sampled_from(
    ["query", "doc", "score", " ", "[1]", "{", "q 1", "a 2 0.5 x", '"', "\u2028", "a,b"]
)
scores = st.floats(width=32, allow_nan=False, allow_infinity=False)


def runs_of(names):
    return st.dictionaries(
        names, st.dictionaries(names, scores, min_size=1, max_size=5), min_size=1
    )


@given(data=st.data())
@tried(200)
@pytest.mark.parametrize(("name", "names"), [("run.trec", ids), ("run.tsv", free_ids)])
def test_a_run_is_read_as_it_was_written(tmp_path_factory, name, names, data):
    run = data.draw(runs_of(names))
    path = tmp_path_factory.mktemp("run") / name
    check_run_ids([*run, *(document for found in run.values() for document in found)], "", "", path)
    n_lines = write_run(path, ((query, found.items()) for query, found in run.items()))

    read = read_run(path)
    assert n_lines == sum(map(len, run.values()))
    assert read.keys() == run.keys()
    for query, documents in run.items():
        assert {name: np.float32(score) for name, score in read[query].items()} == documents


def test_a_trec_run_has_six_fields_and_ranks_from_one(tmp_path):
    write_run(tmp_path / "new" / "run.trec", [("q7", [("d2", 0.5), ("d10", -1.25)])])

    assert (tmp_path / "new" / "run.trec").read_text() == (
        "q7 Q0 d2 1 0.5 llm_embedder_data\nq7 Q0 d10 2 -1.25 llm_embedder_data\n"
    )


def test_a_run_that_breaks_off_leaves_no_file(tmp_path):
    def run():
        yield "q1", [("d1", 1.0)]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path / "run.trec", run())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["two words", "", "tab\there", " before"])
def test_ids_with_blanks_are_refused_in_a_trec_run(wrong):
    with pytest.raises(DataError, match=r"the document id .* is empty or contains white space"):
        check_run_ids(["fine", wrong], "document", "run_file=run.trec", "run.trec")


@pytest.mark.parametrize("wrong", ["", "tab\there", "line\nend", "line\rend", "\x00", "\ufeffmark"])
def test_only_what_separates_fields_is_refused_in_a_tsv_run(wrong):
    with pytest.raises(
        DataError, match=r"the query id .* is empty or contains a control character"
    ):
        check_run_ids(["two words", wrong], "query", "run_file=run.tsv", "run.tsv")


def test_ranks_alone_are_read_without_scores(tmp_path):
    (tmp_path / "run.tsv").write_text("q\td2\t2\nq\td1\t1\n")

    assert read_run(tmp_path / "run.tsv") == {"q": {"d1": None, "d2": None}}
