"""Key templates: names of fields, whatever they are, and nothing but names."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import ConfigError
from llm_embedder_data.rows.settings.key_templates import parse_template

plain_names = st.text(
    st.characters(exclude_characters=".[]{}!:", exclude_categories=["Cs"]), min_size=1
).filter(lambda name: name.strip() and not name.isdigit())
literals = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(literals, plain_names), min_size=1), literals, st.data())
def test_only_names_in_braces_are_replaced(parts, end, data):
    values = {name: data.draw(st.text(), label=name) for _, name in parts}
    escaped = [(text.replace("{", "{{").replace("}", "}}"), name) for text, name in parts]
    end = end.replace("{", "(").replace("}", ")")
    template = "".join(f"{text}{{{name}}}" for text, name in escaped) + end
    parsed = parse_template(template)

    assert parsed.fields == tuple(values)
    wanted = "".join(text + values[name] for text, name in parts) + end
    assert parsed.filled([values[name] for name in parsed.fields]) == wanted


@pytest.mark.parametrize("name", ["fault", "field_0", "index", "content", "query_id_int", "self"])
def test_known_field_names_are_allowed(name):
    assert parse_template(f"{{{name}}}").filled(["x"]) == "x"


@pytest.mark.parametrize(
    "template",
    [
        "{}",
        "{0}",
        "{12}",
        "{ }",
        "{a.b}",
        "{a[0]}",
        "{a[b]}",
        "{a!r}",
        "{a!}",
        "{a:}x{a:>9}",
        "{a:{b}}",
        "{a{b}}",
        "{{a}}",
        "{a",
        "a}",
        "}{",
        "text",
        "",
        "{a} \ud800",
        "{\udfff}",
        None,
        7,
        ["{text}"],
        b"{text}",
    ],
)
def test_an_invalid_template_is_refused_with_a_message_that_shows_it(template):
    with pytest.raises(ConfigError, match=re.escape(f"data.key_template={template!r}: ")) as raised:
        parse_template(template)

    assert set(str(raised.value)) <= set(string.printable)


@given(st.text("{}ab.![]: 0\n\x1b\ud800", max_size=8))
def test_any_text_is_a_template_or_refused(template):
    try:
        parsed = parse_template(template)
    except ConfigError:
        return
    assert parsed.filled(["x"] * len(parsed.fields))
