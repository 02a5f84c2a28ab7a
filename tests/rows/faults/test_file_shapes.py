"""Files whose shape does not fit the rows: one sentence."""

import json

import pytest
from file_cases import LINES, ROWS, lines_of, refused, train, written

from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.rows.corpora import build_corpus
from llm_embedder_data.rows.eval_sets import build_eval_sets
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.sources import resolve_sources


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            lines_of({"anchor_text": "a", "passage_text": "b"} for _ in range(30)),
            ["'anchor_text', 'passage_text'", "query: anchor_text, pos: passage_text"],
        ),
        (
            lines_of({"query": "a", "docs": ["b"]} for _ in range(30)),
            ["no row has pos", "pos: docs"],
        ),
        (lines_of({"x": 1} for _ in range(30)), ["the columns are 'x'", "query: COLUMN"]),
    ],
)
@pytest.mark.parametrize("on_bad_row", ["raise", "skip"])
def test_a_file_of_another_shape_is_one_error(tmp_path, content, words, on_bad_row):
    path = written(tmp_path, content)

    message = refused(lambda: train(path, on_bad_row))

    assert all(word in message for word in [*words, str(path)]), message
    assert len(message.splitlines()) == (1 if on_bad_row == "raise" else 2)


@pytest.mark.parametrize(
    ("content", "n_rows"),
    [
        (
            lines_of(
                {"question": f"a {i}", "positive": ["b"], "negative": ["c"]} for i in range(3)
            ),
            3,
        ),
        ("query,pos,neg\na,b,e\nc,d,f\n", 2),
        (json.dumps([[f"a {i}", "b", "c"] for i in range(5)]), 5),
        (LINES.replace(b"\n", b"\r"), len(ROWS)),
        ("\n".join(json.dumps(row, indent=2) for row in ROWS), len(ROWS)),
    ],
)
def test_other_formats_of_the_same_meaning_are_read(tmp_path, content, n_rows):
    assert len(train(written(tmp_path, content)).kept) == n_rows


def test_columns_that_are_known_and_not_read_are_named(tmp_path):
    more = {"label": 1, "similarity": 2, "q_id": 3, "extra": 1}
    path = written(tmp_path, lines_of(row | more for row in ROWS))

    [note] = [note for note in train(path).notes if "not read" in note]
    assert all(repr(name) in note for name in more if name != "extra")
    assert "extra" not in note
    assert "query_id: q_id" in note

    [note] = [note for note in train(path, query_id="q_id").notes if "not read" in note]
    assert "q_id" not in note


def test_a_qid_is_read_and_not_named(tmp_path):
    path = written(tmp_path, lines_of(row | {"qid": 3} for row in ROWS))

    assert not [note for note in train(path).notes if "not read" in note]


def test_columns_of_another_format_that_are_not_read_are_named_too(tmp_path):
    more = {"pos_scores": [1.0], "neg_scores": [2.0], "passage_instruction": "x"}
    rows = [{"query": "q", "pos": ["a b"], "neg": ["c d"]} | more]

    [note] = [note for note in train(written(tmp_path, lines_of(rows))).notes if "not read" in note]

    assert "'passage_instruction'" in note
    assert "pos_scores" not in note


def test_columns_of_eval_rows_and_corpora_are_named_too(tmp_path):
    path = written(tmp_path, lines_of([{"query": "q", "pos_index": [0], "label": 1, "task": "qa"}]))
    [source] = resolve_sources(str(path), setting="data.eval_data", fields=("query",))
    [made] = build_eval_sets(
        source,
        ReadingSettings(load_recipe("bge"), cache_dir=path.parent / "cache"),
        eval_method="retrieve",
    )
    assert "'label'" in made.notes[0]

    path = written(tmp_path, lines_of([{"label": 1, "title": "t", "text": "x"}]))
    [source] = resolve_sources(str(path), setting="data.corpus", fields=("title", "text"))
    made = build_corpus(
        source, ReadingSettings(load_recipe("bge"), cache_dir=path.parent / "cache")
    )
    assert "'label'" in made.notes[0]


def test_rows_whose_columns_are_all_read_have_no_note(tmp_path):
    assert train(written(tmp_path, LINES)).notes == ()


@pytest.mark.parametrize(
    "ids",
    [
        ["460230", "120306"],
        ["3f2b8c1e-9d5a-4b7e-8f10-2a6c7d8e9f00", "7c9e6679-7425-40de-944b-e07fc1f90ae7"],
        ["doc12", "doc7"],
        ["ibmcld_00474-7885-8455", "ibmcld_00513-7-2197"],
        ["WIKI:12/3", "clueweb12-0000tw-05-12114"],
    ],
)
def test_ids_in_place_of_texts_are_refused(tmp_path, ids):
    rows = [{"query": f"question {i}", "pos": ids[:1], "neg": ids[1:]} for i in range(60)]

    message = refused(lambda: train(written(tmp_path, lines_of(rows))))

    assert "the candidates are ids of documents, not texts" in message
    assert repr(ids[0]) in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "texts",
    [
        ["Poison", "Salzburg"],
        ["1988", "Salzburg"],
        ["灯台は1827年に建てられた", "高潮2表"],
        ["entailment", "neutral"],
        ["in 1988", "1914"],
        ["GPT-4", "café"],
        ["7", "42"],
        ["p1", "n2"],
    ],
)
def test_short_answers_are_texts(tmp_path, texts):
    rows = [{"query": f"question {i}", "pos": texts[:1], "neg": texts[1:]} for i in range(60)]

    assert len(train(written(tmp_path, lines_of(rows))).kept) == 60
