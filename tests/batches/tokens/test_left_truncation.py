"""A text that is cut on the left keeps its special tokens, its instruction and its end."""

import pickle

import pytest

from llm_embedder_data.batches.tokens.left_truncation import InstructedText, LeftTruncation


def letters(texts):
    """Tokenize each letter."""
    return [list(text) for text in texts]


@pytest.mark.parametrize(
    ("max_length", "instruction", "expected"),
    [
        (8, "ab", [0, 1, 2, 3, 4, 5, 6, 7]),
        (6, "ab", [0, 1, 2, 5, 6, 7]),
        (6, "ab ", [0, 1, 2, 5, 6, 7]),  # a tokenizer may join the space to the text
        (6, "", [0, 3, 4, 5, 6, 7]),
        (4, "abcdef", [0, 1, 2, 7]),
        (2, "ab", [0, 7]),
        (1, "ab", [0, 7]),
    ],
)
def test_a_text_keeps_its_instruction_and_its_last_tokens(max_length, instruction, expected):
    is_special = [1, 0, 0, 0, 0, 0, 0, 1]

    assert LeftTruncation(max_length, letters).of_text(is_special, instruction) == expected


@pytest.mark.parametrize(
    ("max_length", "query", "expected"),
    [
        (9, InstructedText("a", "bcd"), [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (7, InstructedText("a", "bcd"), [0, 1, 4, 5, 6, 7, 8]),
        (7, "abcd", [0, 3, 4, 5, 6, 7, 8]),
        (5, InstructedText("a", "bcd"), [0, 1, 5, 7, 8]),
    ],
)
def test_the_longer_text_of_a_pair_is_cut_first(max_length, query, expected):
    text_of_token = [None, 0, 0, 0, 0, None, 1, 1, None]

    assert LeftTruncation(max_length, letters).of_pair(text_of_token, (query, "xy")) == expected


def test_an_instructed_text_survives_pickling():
    text = pickle.loads(pickle.dumps(InstructedText("Find: ", "the ferry")))

    assert text == "Find: the ferry"
    assert text.instruction == "Find: "
