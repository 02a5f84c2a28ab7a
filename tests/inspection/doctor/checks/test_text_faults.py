import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.inspection.doctor.checks.text_faults import (
    ShortTexts,
    begin_with_instruction,
)
from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts
from llm_embedder_data.rows.source_rows.instructed_texts import begins_instructed

BEGINNINGS = st.sampled_from(["query: ", "Instruct:", "Represent this ", "日 ", "find: ", "q", ""])
TEXTS = st.lists(st.tuples(BEGINNINGS, st.text(max_size=30)).map("".join), max_size=6)


class OneTokenPerLetter:
    def __call__(self, texts, add_special_tokens):
        return {"input_ids": [list(text.strip()) for text in texts]}


@given(TEXTS, st.lists(st.tuples(BEGINNINGS, BEGINNINGS).map("".join), min_size=3, max_size=3))
def test_instructed_texts_are_those_that_begin_so_one_by_one(texts, instructions):
    rows = np.arange(len(texts)) % 3

    found = begin_with_instruction(FlatTexts.of(texts), instructions, rows)

    assert found.tolist() == [
        begins_instructed(text, instructions[row]) for text, row in zip(texts, rows, strict=True)
    ]


@given(st.lists(st.text(" ab中😀", max_size=26), max_size=8))
def test_short_texts_have_two_characters_or_one_token(texts):
    found = ShortTexts(OneTokenPerLetter())(FlatTexts.of(texts))

    assert found.tolist() == [len(text) <= 24 and len(text.strip()) <= 2 for text in texts]


def test_a_long_word_of_one_token_is_short_up_to_24_characters():
    is_short = ShortTexts(lambda texts, add_special_tokens: {"input_ids": [[1] for _ in texts]})

    found = is_short(FlatTexts.of(["😀" * 24, "😀" * 25, "two words", "word"]))

    assert found.tolist() == [True, False, False, True]
