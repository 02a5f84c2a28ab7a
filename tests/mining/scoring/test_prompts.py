"""Prompts are cut to a length, and the answer never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizer

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.prompts import LengthLimits, PromptTokenizer
from llm_embedder_data.mining.scoring.templates import template_of

TEMPLATE = template_of(
    "K: {key}\nC: {context} Q: {query}\nA: {answer}", "template", ("key", "query", "answer")
)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1)
TEXTS = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)


@pytest.fixture(params=["byte_level_bpe", "unigram", "minilm"])
def tokenizer(request):
    return AutoTokenizer.from_pretrained(request.getfixturevalue(request.param))


@given(TEXTS, TEXTS | st.just(""), TEXTS, TEXTS, st.integers(1, 60), st.integers(1, 9))
def test_limits_hold_and_the_answer_stays(tokenizer, key, context, query, answer, most, of_field):
    tokenize = PromptTokenizer(tokenizer, LengthLimits(most, of_field, of_field))
    bare = PromptTokenizer(tokenizer, LengthLimits(10**6, 10**6, 10**6))
    given_values = {"key": key, "context": context, "query": query, "answer": answer}

    [found] = tokenize([(TEMPLATE, given_values)])
    [whole] = bare([(TEMPLATE, given_values)])
    [least] = bare([(TEMPLATE, {**given_values, "key": "", "context": "", "query": ""})])

    if whole is None:  # the tokenizer drops all of the answer's characters
        return
    if found is None:
        assert len(least.ids) > most
        return
    assert len(found.ids) <= most
    assert found.ids[found.answer_start :] == whole.ids[whole.answer_start :]
    if len(whole.ids) <= most and not tokenize.counts:
        assert found == whole
    assert not bare.counts


def test_a_key_loses_its_end_and_a_query_and_context_their_beginning(byte_level_bpe):
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    tokenize = PromptTokenizer(tokenizer, LengthLimits(1000, 4, 4))
    words = "one two three four five six seven eight nine ten"

    [found] = tokenize(
        [(TEMPLATE, {"key": words, "context": words, "query": words, "answer": words})]
    )

    text = tokenizer.decode(found.ids)
    assert text.startswith("<s>K: one")
    key, rest = text.removeprefix("<s>K: ").split("\nC: ")
    context, rest = rest.split(" Q: ")
    query, answer = rest.split("\nA: ")
    assert words.startswith(key)
    assert words.endswith(context)
    assert words.endswith(query)
    assert context
    assert answer == words
    assert tokenizer.decode(found.ids[found.answer_start :]).strip() == words
    assert tokenize.counts == {"keys cut": 1, "contexts cut": 1, "queries cut": 1}


def test_the_key_is_cut_before_the_query(byte_level_bpe):
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    values = {"key": "a key " * 20, "context": "", "query": "the query", "answer": "an answer"}
    [without_key] = PromptTokenizer(tokenizer, LengthLimits(1000, 1000, 1000))(
        [(TEMPLATE, {**values, "key": ""})]
    )
    tokenize = PromptTokenizer(tokenizer, LengthLimits(len(without_key.ids) + 1, 1000, 1000))

    [found] = tokenize([(TEMPLATE, values)])

    assert "the query" in tokenizer.decode(found.ids)
    assert tokenize.counts == {"keys cut": 1}


def test_a_slow_tokenizer_is_refused():
    class Slow(PreTrainedTokenizer):
        vocab_size = 1

        def get_vocab(self):
            return {"a": 0}

    with pytest.raises(ConfigError, match="with a fast tokenizer"):
        PromptTokenizer(Slow(), LengthLimits(8, 8, 8))
