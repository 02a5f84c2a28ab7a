"""Values in messages are short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.rows.files.shown_values import shown


def deep(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: deep(5000),
        lambda: "x" * 10**6,
        lambda: [1] * 10**6,
        lambda: {"a": deep(500)},
        lambda: 10**5000,
        lambda: [10**5000],
        lambda: b"\xff",
    ],
)
def test_a_long_value_is_shortened(make):
    assert len(shown(make())) <= 80


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.floats(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_a_short_value_is_shown_as_its_repr(value):
    text = repr(value)
    if len(text) <= 60 and text.count("[") + text.count("{") <= 3:
        assert shown(value) == text
