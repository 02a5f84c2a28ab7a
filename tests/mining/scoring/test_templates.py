"""Templates: what is refused, and what an empty field leaves."""

import pytest

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.templates import (
    LIKELIHOOD_TEMPLATES,
    template_of,
    templates_by_task,
)

NEEDED = ("key", "query", "answer")


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{key} {query}", "expected each of {key}, {query}, {answer} once"),
        ("{key} {query} {answer}.", "expected {answer} at the end"),
        ("{key} {key} {query} {answer}", "once, and besides at most {context}"),
        ("{key} {title} {query} {answer}", "once, and besides at most {context}"),
        ("{key.upper} {query} {answer}", "expected plain field names"),
        (3, "expected a text with names of fields"),
    ],
)
def test_what_is_no_template_is_refused(template, sentence):
    with pytest.raises(ConfigError) as refused:
        template_of(template, "template", NEEDED)

    assert sentence in str(refused.value)


def test_a_given_template_replaces_those_of_all_tasks_or_of_one():
    for_all = templates_by_task("{key}{query}{answer}", LIKELIHOOD_TEMPLATES, NEEDED)
    for_one = templates_by_task({"qa": "{key}{query}{answer}"}, LIKELIHOOD_TEMPLATES, NEEDED)

    assert for_all.of("tool").text == for_all.of("qa").text == "{key}{query}{answer}"
    assert for_one.of("qa").text == "{key}{query}{answer}"
    assert for_one.of("icl").text == LIKELIHOOD_TEMPLATES["icl"]
    with pytest.raises(ConfigError, match="task 'tool' has no template"):
        for_one.of("tool")


def test_an_empty_field_takes_the_blank_behind_it_along():
    lrlm = template_of(LIKELIHOOD_TEMPLATES["lrlm"], "template", NEEDED)
    values = {"key": "k", "context": "", "query": "q", "answer": "a"}

    text, spans = lrlm.filled(values)

    assert text == "k\nq a"
    assert {name: text[slice(*span)] for name, span in spans.items()} == values
