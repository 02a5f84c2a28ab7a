"""No name and no value reaches a terminal as anything but text."""

import copy
import pickle
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import ConfigError, DataError
from llm_embedder_data.core.printable import one_line, printable

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def obeyed(text):
    """The characters of a text that a terminal would obey, or could not take."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in BIDI}


texts = st.text(st.characters() | st.sampled_from("\x1b\x07\x9b\n\r\t\x7f\ud800\udfff" + BIDI))


@given(texts)
def test_text_keeps_all_but_what_is_obeyed(text):
    kept = "".join(c if c == "\n" or not obeyed(c) else "" for c in text)
    shown = printable(text)

    assert obeyed(shown) <= {"\n"}
    assert obeyed(one_line(text)) == set()
    assert printable(shown) == shown
    assert one_line(shown) == one_line(text)
    if not obeyed(text) - {"\n"}:
        assert shown == text == kept


@given(texts, st.sampled_from([ConfigError, DataError]))
def test_errors_are_printable_and_leave_a_process_as_they_are(text, kind):
    error = kind(f"first line\n{text}")
    again = pickle.loads(pickle.dumps(error))

    assert obeyed(str(error)) <= {"\n"}
    assert str(error).startswith("first line\n")
    assert (type(again), again.args) == (kind, error.args)
    assert str(kind(str(error))) == str(error)


@given(texts, texts)
def test_an_error_at_a_place_keeps_the_path_and_shows_it_on_a_line(path, sentence):
    error = DataError.at(path, sentence, row=3, line=4)
    again = pickle.loads(pickle.dumps(copy.copy(error)))

    assert str(error).startswith(f"{one_line(path)}, row 3 (line 4): ")
    assert (again.path, again.row) == (error.path, error.row) == (path, 3)
