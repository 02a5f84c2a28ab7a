"""Key texts of a corpus, and which of its records are used."""

import re

import numpy as np
import pandas as pd
import pytest
from set_cases import corpus, write

from llm_embedder_data.config import ConfigError
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.settings.key_templates import template_fields


def test_a_key_is_the_template_filled_with_its_fields(tmp_path):
    rows = [
        {"title": "T", "text": "with {braces} and {text}"},
        {"title": None, "text": "alone"},
        {"title": "  kept as it is ", "text": "x "},
        {"title": 1984, "text": "a number"},
        {"title": "", "text": ""},
    ]
    made = corpus(write(tmp_path, rows))

    assert made.texts(np.arange(5)) == [
        "T with {braces} and {text}",
        "alone",
        "  kept as it is  x ",
        "1984 a number",
        "",
    ]
    assert made.text(0) == "T with {braces} and {text}"


def test_a_template_may_repeat_order_and_surround_its_fields(tmp_path):
    made = corpus(write(tmp_path, [{"a": "1", "b": "2"}]), template="{b}-{a}-{b} {{x}}")

    assert made.fields == ("b", "a")
    assert made.text(0) == "2-1-2 {x}"


def test_a_corpus_without_titles_uses_only_its_texts_and_says_so(tmp_path):
    made = corpus(write(tmp_path, [{"text": "one"}]))

    assert made.text(0) == "one"
    assert made.notes == ("no record has a title: the key text is the text alone",)


@pytest.mark.parametrize(
    ("row", "template", "sentence"),
    [
        (
            {"text": "x"},
            "{body}",
            "no record has the field 'body' of key_template='{body}'; there are",
        ),
        (
            {"titel": "x", "text": "y"},
            "{title} {text}",
            "there are text, titel; did you mean 'titel'?",
        ),
        ({"shelf": "x"}, "{title} {text}", "no record has the field 'title', 'text'"),
    ],
)
def test_a_template_field_that_no_record_has_is_an_error(tmp_path, row, template, sentence):
    path = write(tmp_path, [row])

    with pytest.raises(DataError, match=re.escape(sentence)):
        corpus(path, template)


def test_a_source_can_set_its_template_and_field_names(tmp_path):
    path = write(tmp_path, [{"head": "T", "text": "x"}])

    assert corpus(path, source={"title": "head"}).text(0) == "T x"
    assert corpus(path, source={"key_template": "<{text}>"}).text(0) == "<x>"


def test_a_bad_corpus_record_is_an_error_or_is_skipped(tmp_path):
    path = write(tmp_path, [{"text": "x"}, {"text": ["y"]}, {"text": "\ud800"}])

    with pytest.raises(
        DataError, match=re.escape("row 1 (line 2): text=['y'] (a string is needed)")
    ):
        corpus(path)

    made = corpus(path, on_bad_row="skip")
    assert (made.kept.tolist(), made.dropped) == ([0], {"bad_row": 2})


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (
            "{text.__class__}",
            "expected plain field names such as {title}, without attribute, index",
        ),
        ("{text[0]}", "expected plain field names"),
        ("{text!r}", "expected plain field names"),
        ("{text:>9}", "expected plain field names"),
        ("{}", "expected plain field names"),
        ("text", "expected at least one field such as {text}"),
        ("{text", "(write fields as {name})"),
    ],
)
def test_a_template_with_more_than_names_is_refused(template, sentence):
    with pytest.raises(ConfigError, match=re.escape(f"data.key_template={template!r}: ")) as raised:
        template_fields(template)

    assert sentence in str(raised.value)


def test_ids_that_pandas_made_floats_are_the_integers(tmp_path):
    """A passage without an id has its row number; the others keep theirs."""
    path = tmp_path / "corpus.parquet"
    pd.DataFrame({"id": [7, None, 9], "text": ["a", "b", "c"]}).to_parquet(path)

    assert corpus(path, "{text}").ids().to_pylist() == ["7", "1", "9"]
