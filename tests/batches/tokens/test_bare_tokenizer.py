"""Tokens word by word, where a tokenizer takes words apart."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoTokenizer

from llm_embedder_data.batches.tokens import word_memo
from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.word_memo import takes_words_apart

PIECES = ["the", "Ferry", "naïve", "日本語", "[SEP]", "[MASK]x", "\u0301a", "ΑΣ", "\t", "\x1c"]
PIECES += ["\xa0", "", "x" * 120, "don't", "\u200d", "é\u0323", "\n\n", "a\x00b", "\U0001f600"]
TEXTS = st.lists(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map(" ".join), max_size=4
)


@pytest.fixture(scope="session")
def tokenizer(minilm):
    return AutoTokenizer.from_pretrained(minilm)


def whole(tokenizer, texts):
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


@given(texts=TEXTS, room=st.integers(0, 9))
def test_the_words_of_a_text_have_its_tokens(tokenizer, texts, room):
    plain = BareTokenizer(tokenizer)
    assert plain.words is not None
    wanted = whole(tokenizer, texts)

    assert plain(texts) == wanted
    found = [np.frombuffer(ids, np.int32).tolist() for ids in plain.words.ids(texts, room)]
    assert found == [ids[:room] for ids in wanted]


def test_a_word_is_asked_for_once_until_there_are_too_many(tokenizer, monkeypatch):
    plain = BareTokenizer(tokenizer)
    plain(["the night ferry", "the reef"])
    assert set(plain.words) == {"the", "night", "ferry", "reef"}

    monkeypatch.setattr(word_memo, "_MOST_BYTES", 700)
    text = "a b c d e a"

    assert plain([text]) == whole(tokenizer, [text])
    assert len(plain.words) <= 4


def test_a_memo_travels_empty(tokenizer):
    plain = BareTokenizer(tokenizer)
    plain(["the night ferry " * 50])

    again = pickle.loads(pickle.dumps(plain))

    assert len(again.words) == 0
    assert again(["the reef"]) == whole(tokenizer, ["the reef"])


def test_other_tokenizers_are_asked_for_whole_texts(tokenizer, byte_level_bpe, unigram):
    for folder in (byte_level_bpe, unigram):
        other = AutoTokenizer.from_pretrained(folder)
        plain = BareTokenizer(other)
        assert plain.words is None
        assert plain(["the night ferry", ""]) == whole(other, ["the night ferry", ""])

    for added in (AddedToken("night ferry"), AddedToken("ferry", single_word=True)):
        more = copy.deepcopy(tokenizer)
        more.add_tokens([added])
        assert not takes_words_apart(more.backend_tokenizer)
        assert BareTokenizer(more)(["the night ferry"]) == whole(more, ["the night ferry"])
