"""Tokens from a table are those of the text on the fly, whatever is put around it."""

import copy
import functools
import itertools
import pickle

import numpy as np
import pytest
import tokenizer_zoo
import torch
from example_counts import tried
from hypothesis import assume, given
from hypothesis import strategies as st
from slow_cases import mostly_slow
from tokenizers import processors
from transformers import AutoTokenizer, ByT5Tokenizer

from llm_embedder_data.batches.token_cache.cached_texts import CachedTexts
from llm_embedder_data.batches.token_cache.growing_table import RowBlock
from llm_embedder_data.batches.token_cache.table_building import build_table
from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.instruction_tokens import InstructionTokens
from llm_embedder_data.batches.tokens.side_tokenizer import SideTokenizer
from llm_embedder_data.batches.tokens.tensor_layout import TensorLayout
from llm_embedder_data.batches.tokens.text_tokenizer import TextTokenizer
from llm_embedder_data.core.errors import ConfigError

KINDS = ("minilm", "byte_level_bpe", "unigram")
SIDES = ("left", "right")
INSTRUCTIONS = ("", "Represent this query for retrieving relevant documents: ", "query:", "Find\n")

WORDS = st.lists(
    st.sampled_from(["the", "night ferry", "(42%)", "naïve", "日本", "\n", " ", "x" * 9, "'s"]),
    max_size=20,
).map(" ".join)
TEXTS = st.lists(
    WORDS | st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=5
)


@pytest.fixture(scope="session", params=KINDS)
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def load(folder):
    loaded = {side: AutoTokenizer.from_pretrained(folder, truncation_side=side) for side in SIDES}
    return loaded.__getitem__


COUNTER = itertools.count()


@pytest.fixture(scope="session")
def cached(tmp_path_factory):
    """Texts in a table, behind what is to stand before them for the instruction."""
    place = tmp_path_factory.mktemp("tables")

    def cached(tokenizer, texts, instruction):
        instructions = InstructionTokens(tokenizer, plain_of(tokenizer))
        table = build_table(
            place / f"{next(COUNTER)}" / "table",
            lambda first: iter([RowBlock(len(texts), {"text": texts})]),
            {"text": instructions.text_prefix(instruction)},
            instructions.plain,
            n_ids=lambda: len(tokenizer),
        )
        return CachedTexts(table, "text", table.array("text"))

    return cached


@functools.lru_cache(maxsize=4)
def plain_of(tokenizer):
    return BareTokenizer(tokenizer)


def tensors(tokenizer, tokens):
    return TensorLayout(tokenizer)(tokens)[0]


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "instruction", mostly_slow(INSTRUCTIONS, INSTRUCTIONS[0], INSTRUCTIONS[-1])
)
@tried(15)
@given(texts=TEXTS, room=st.integers(1, 40))
def test_texts_of_a_table_have_the_tokens_of_texts(load, cached, side, instruction, texts, room):
    tokenizer = load(side)
    max_length = len(tokenizer(instruction)["input_ids"]) + room

    found = SideTokenizer(tokenizer, max_length, plain_of(tokenizer))(
        cached(tokenizer, texts, instruction), instruction
    )
    wanted = TextTokenizer(tokenizer, max_length, plain_of(tokenizer))(texts, instruction)

    assert_same(tensors(tokenizer, found), tensors(tokenizer, wanted))


@tried(100)
@given(
    tokenizer_zoo.backends() | tokenizer_zoo.backends(usual=True),
    tokenizer_zoo.INSTRUCTIONS,
    st.lists(tokenizer_zoo.TEXTS, min_size=1, max_size=8),
)
def test_cached_tokens_of_any_tokenizer_are_those_of_its_own_call(
    cached, backend, instruction, texts
):
    tokenizer = tokenizer_zoo.wrapped(backend)
    assume(not tokenizer_zoo.refused(tokenizer))
    side = SideTokenizer(tokenizer, 10_000, plain_of(tokenizer))

    try:
        found = side(cached(tokenizer, texts, instruction), instruction)
    except ConfigError as error:  # this tokenizer has no token for any example text
        assume("has no token for any of" not in str(error))
        raise
    wanted = tokenizer([instruction + text for text in texts])["input_ids"]

    assert found.flat().tolist() == list(itertools.chain.from_iterable(wanted))
    assert found.lengths.tolist() == list(map(len, wanted))


PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4)


@pytest.mark.parametrize("side", SIDES)
@tried(15)
@given(pairs=PAIRS, max_length=st.integers(40, 90), instructed=st.booleans())
def test_pairs_of_a_table_have_the_tokens_of_pairs(
    load, cached, side, pairs, max_length, instructed
):
    tokenizer = load(side)
    queries, keys = map(list, zip(*pairs, strict=True))
    put = ("Find this: ", "Passage: ") if instructed else ("", "")
    tables = [
        cached(tokenizer, texts, instruction)
        for texts, instruction in zip((queries, keys), put, strict=True)
    ]

    found = SideTokenizer(tokenizer, max_length, plain_of(tokenizer)).pairs(*tables, *put)
    wanted = TextTokenizer(tokenizer, max_length, plain_of(tokenizer)).pairs(queries, keys, *put)

    assert_same(tensors(tokenizer, found), tensors(tokenizer, wanted))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("max_length", [12, 13])
def test_of_a_pair_of_equal_lengths_the_same_one_is_cut_more(load, cached, side, max_length):
    tokenizer = load(side)
    texts = ["the reef " * 20]

    found = SideTokenizer(tokenizer, max_length, plain_of(tokenizer)).pairs(
        *[cached(tokenizer, texts, "")] * 2
    )
    wanted = TextTokenizer(tokenizer, max_length, plain_of(tokenizer)).pairs(texts, texts)

    assert_same(tensors(tokenizer, found), tensors(tokenizer, wanted))


def test_what_stands_before_a_text_depends_on_the_tokenizer(minilm, byte_level_bpe, unigram):
    wordpiece, bpe, pieces = (
        InstructionTokens(AutoTokenizer.from_pretrained(folder))
        for folder in (minilm, byte_level_bpe, unigram)
    )

    assert [tokens.text_prefix("") for tokens in (wordpiece, bpe, pieces)] == ["", "", ""]
    assert [tokens.text_prefix("Find: ") for tokens in (wordpiece, bpe, pieces)] == ["", " ", " "]
    for instruction in ("Find:", "Find\n", " ", "Find  ", "Finde: \n "):  # nothing is proved
        assert {tokens.text_prefix(instruction) for tokens in (bpe, pieces)} == {instruction}
    assert wordpiece.text_prefix("Find  ") == ""
    assert wordpiece.text_prefix("re") == "re"  # "rethe" is no "re the"


@pytest.mark.parametrize("side", SIDES)
def test_a_slow_tokenizers_texts_are_cached_too(cached, side):
    tokenizer = ByT5Tokenizer(truncation_side=side)
    texts = ["night ferry", "", "the long way round the reef"]

    for instruction in ("", "Find: "):
        found = SideTokenizer(tokenizer, 16)(cached(tokenizer, texts, instruction), instruction)
        wanted = TextTokenizer(tokenizer, 16)(texts, instruction)
        assert_same(tensors(tokenizer, found), tensors(tokenizer, wanted))


def test_types_of_a_template_are_put_in(unigram, cached):
    tokenizer = copy.deepcopy(AutoTokenizer.from_pretrained(unigram))
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    eos = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A:1 {eos}:2", special_tokens=[(eos, tokenizer.eos_token_id)]
    )
    texts = ["the night ferry " * 9, "a"]

    found = SideTokenizer(tokenizer, 12)(cached(tokenizer, texts, "Find: "), "Find: ")
    wanted = TextTokenizer(tokenizer, 12)(texts, "Find: ")

    assert_same(tensors(tokenizer, found), tensors(tokenizer, wanted))


def test_strings_are_tokenized_on_the_fly_and_a_pickle_opens_the_table_again(minilm, cached):
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    texts = cached(tokenizer, ["the night ferry", "a"], "")
    tokens = SideTokenizer(tokenizer, 16)
    wanted = tensors(tokenizer, TextTokenizer(tokenizer, 16)(["the night ferry", "a"]))

    again, texts_again = pickle.loads(pickle.dumps((tokens, texts)))

    assert_same(tensors(tokenizer, tokens(["the night ferry", "a"])), wanted)
    assert_same(tensors(tokenizer, again(texts_again)), wanted)
    assert len(pickle.dumps(texts)) < 2000 + texts.numbers.nbytes
    assert_same(
        tensors(tokenizer, tokens(texts[np.array([1, 0])])),
        tensors(tokenizer, TextTokenizer(tokenizer, 16)(["a", "the night ferry"])),
    )
