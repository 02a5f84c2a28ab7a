import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.inspection.doctor.texts import normal_texts as module
from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.texts.normal_texts import normal_texts

# Letters that fold in their place, to more or fewer bytes or not at all, and kinds of white space.
LETTERS = "aZ  \t\n\r\x1c\x7f\x85\xa0\u2003\u3000éÉßẞİŉς中ДÅﬁ\U00010400😀"
TEXTS = st.lists(st.one_of(st.text(LETTERS), st.text("aB "), st.text()), max_size=8)


def strings(texts):
    return [texts[at] for at in range(len(texts))]


@given(TEXTS, st.sampled_from([1, 20, 1 << 19]))
def test_normal_texts_are_the_normal_form_of_each_text(texts, window):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW_BYTES", window)

        normal = normal_texts(FlatTexts.of(texts))

    assert strings(normal) == [normal_form(text) for text in texts]


def test_every_character_has_the_normal_form_of_a_string():
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    # In runs, for speed: a character of its own length, blanks and letters around it.
    texts = [
        "".join(f"A{chr(point)} {chr(point)}b" for point in points[start : start + 16])
        for start in range(0, len(points), 16)
    ]

    assert strings(normal_texts(FlatTexts.of(texts))) == [normal_form(text) for text in texts]
