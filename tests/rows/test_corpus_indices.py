"""Eval rows whose indices their corpus does not have: each is an error, or is skipped."""

import json
import re

import numpy as np
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import DataError
from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.rows.corpora import build_corpus
from llm_embedder_data.rows.corpus_indices import within_corpus
from llm_embedder_data.rows.eval_sets import build_eval_sets
from llm_embedder_data.rows.schema.evaluation import eval_fields
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.sources import resolve_sources


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def evaluate(files, method="retrieve", on_bad_row="raise"):
    [source] = resolve_sources(
        {"e": files},
        setting="data.eval_data",
        fields=eval_fields(method),
        options=("task", "format"),
    )
    [made] = build_eval_sets(
        source, ReadingSettings(load_recipe("bge"), on_bad_row=on_bad_row), eval_method=method
    )
    return made


def corpus_of(tmp_path, n_rows, bad=()):
    rows = [{"text": ["no text"] if i in bad else f"passage {i}"} for i in range(n_rows)]
    [source] = resolve_sources(
        {"c": write(tmp_path / "corpus.jsonl", rows)}, setting="data.corpus", fields=["text"]
    )
    return build_corpus(
        source, ReadingSettings(load_recipe("bge"), on_bad_row="skip"), key_template="{text}"
    )


@given(
    st.lists(st.none() | st.lists(st.integers(-2, 12), max_size=4), min_size=1, max_size=12),
    st.integers(1, 10),
    st.sets(st.integers(0, 9)),
)
@tried(40)
def test_rows_are_kept_if_all_their_passages_exist(tmp_path, indices, n_rows, bad):
    bad = {i for i in bad if i < n_rows - 1}  # one passage stays
    rows = [
        {"query": f"q{i}", "pos_index": row_indices, "task": "qa"}
        for i, row_indices in enumerate(indices)
    ]
    usable = set(range(n_rows)) - bad
    sound = [row for row, row_indices in enumerate(indices) if set(row_indices or ()) <= usable]
    path, corpus = write(tmp_path / "eval.jsonl", rows), corpus_of(tmp_path, n_rows, bad)

    def made(on_bad_row):
        return within_corpus(
            evaluate(path, on_bad_row=on_bad_row),
            corpus,
            ReadingSettings(load_recipe("bge"), on_bad_row=on_bad_row),
        )

    if not sound:
        with pytest.raises(DataError, match="none of the"):
            made("skip")
    else:
        skipped = made("skip")
        assert skipped.kept.tolist() == sound
        assert len(skipped.kept) + sum(skipped.dropped.values()) == skipped.n_read == len(rows)
        assert bool(skipped.notes) == (len(sound) < len(rows))
    if len(sound) == len(rows):
        assert np.array_equal(made("raise").kept, skipped.kept)
    else:
        with pytest.raises(
            DataError, match=r"row \d+ \(line \d+\): pos_index holds -?\d+"
        ) as raised:
            made("raise")
        assert raised.value.path == path
        assert raised.value.row not in sound


def test_the_error_names_file_row_line_and_index(tmp_path):
    first = write(tmp_path / "first.jsonl", [{"query": "q", "pos_index": [0]}] * 3)
    rows = [{"query": "q", "pos_index": [1]}, {"query": "q", "pos_index": [1, 5000]}]
    second = write(tmp_path / "second.jsonl", [*rows, rows[1]])
    sentence = (
        f"{second}, row 1 (line 2): pos_index holds 5000, and corpus 'c' has 20 records, counted "
        "from 0; in 2 rows (correct the index"
    )

    with pytest.raises(DataError, match=re.escape(sentence)):
        within_corpus(
            evaluate([first, second]), corpus_of(tmp_path, 20), ReadingSettings(load_recipe("bge"))
        )


def test_an_index_of_a_skipped_record_is_an_error(tmp_path):
    path = write(tmp_path / "eval.jsonl", [{"query": "q", "pos_index": [1]}])

    with pytest.raises(DataError, match="holds 1, a record of corpus 'c' that was skipped as bad"):
        within_corpus(
            evaluate(path), corpus_of(tmp_path, 3, bad={1}), ReadingSettings(load_recipe("bge"))
        )


@pytest.mark.parametrize("method", ["retrieve", "rerank"])
def test_a_negative_index_is_wrong_without_a_corpus_too(tmp_path, method):
    rows = [{"query": "q", "key": ["a", "b"], "pos_index": [0]}] * 2
    path = write(tmp_path / "eval.jsonl", [*rows, {**rows[0], "pos_index": [0, -1]}])

    with pytest.raises(DataError, match=r"row 2 \(line 3\): pos_index holds -1 \(an index counts"):
        evaluate(path, method)


CANDIDATES = {"query": "q", "key": ["a", "b", "c"], "pos_index": [0]}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({**CANDIDATES, "key_index": [0, 1, -7]}, "key_index holds -7 (an index counts"),
        ({**CANDIDATES, "pos_index": [3]}, "pos_index holds 3, and there are 3 candidates"),
        (
            {"query": "q", "pos": ["a"], "neg": ["b"], "pos_index": [1, 2], "neg_index": []},
            "2 pos_index for 1 pos (give one each)",
        ),
    ],
)
def test_indices_without_a_candidate_are_refused(tmp_path, row, sentence):
    with pytest.raises(DataError, match=re.escape(sentence)):
        evaluate(write(tmp_path / "eval.jsonl", [row]), "rerank")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({**CANDIDATES, "key_index": [0, 1, 2]}, "key_index holds 2, and corpus 'c' has 2"),
        (
            {**CANDIDATES, "key_index": [0, 1, 1], "pos_index": [9]},
            "pos_index holds 9, and corpus 'c' has 2",
        ),
        (
            {"query": "q", "pos": ["a"], "neg": ["b"], "pos_index": [0], "neg_index": [4]},
            "key_index holds 4, and corpus 'c' has 2",
        ),
        (CANDIDATES, None),  # its indices count its own candidates
        ({**CANDIDATES, "key_index": [0, 1, 1]}, None),
    ],
)
def test_indices_of_candidates_are_checked_against_the_corpus(tmp_path, row, sentence):
    made = evaluate(write(tmp_path / "eval.jsonl", [row]), "rerank")
    if sentence is None:
        assert (
            within_corpus(made, corpus_of(tmp_path, 2), ReadingSettings(load_recipe("bge"))) is made
        )
        return
    with pytest.raises(DataError, match=re.escape(sentence)):
        within_corpus(made, corpus_of(tmp_path, 2), ReadingSettings(load_recipe("bge")))
