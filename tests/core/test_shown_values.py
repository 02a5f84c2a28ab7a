"""Values in messages are short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.core.shown_values import shown


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


def test_an_object_whose_repr_fails_is_shown_by_its_type():
    class Broken:
        def __repr__(self):
            raise ZeroDivisionError

    assert shown([Broken()]) == "[an object of Broken]"


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.floats() | st.binary(),
        lambda x: st.lists(x) | st.tuples(x) | st.tuples(x, x) | st.dictionaries(st.text(), x),
    ),
    st.integers(4, 200),
)
def test_a_value_is_shown_as_the_beginning_of_its_repr(value, most):
    text = repr(value)
    if len(text) <= most:
        assert shown(value, most) == text
    else:
        made = shown(value, most)
        assert len(made) == most
        assert made.endswith("...")


def test_a_list_within_itself_is_shown():
    value = []
    value.append(value)
    assert shown(value, 10) == "[[[[[[[..."
