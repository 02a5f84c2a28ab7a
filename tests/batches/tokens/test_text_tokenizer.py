"""Texts to padded token ids."""

import copy
import functools
import pickle

import pytest
import torch
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from transformers import AutoTokenizer, ByT5Tokenizer

from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.left_truncation import InstructedText
from llm_embedder_data.batches.tokens.tensor_layout import TensorLayout
from llm_embedder_data.batches.tokens.text_tokenizer import TextTokenizer
from llm_embedder_data.config import ConfigError

bare = functools.cache(BareTokenizer)  # made once for a tokenizer, as by a collator
KINDS = ("minilm", "byte_level_bpe", "unigram")
SIDES = ("left", "right")
INSTRUCTION = "Represent this query for retrieving relevant documents: "


@pytest.fixture(scope="session", params=KINDS)
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def load(folder):
    """A tokenizer of the folder with the given sides; loaded once for each pair of them."""
    loaded = {}

    def load(padding, truncation):
        if (padding, truncation) not in loaded:
            loaded[padding, truncation] = AutoTokenizer.from_pretrained(
                folder, padding_side=padding, truncation_side=truncation
            )
        return loaded[padding, truncation]

    return load


def call(tokenizer, texts, pairs=None, *, max_length, multiple):
    return tokenizer(
        texts,
        pairs,
        padding=True,
        truncation=True,
        max_length=max_length,
        pad_to_multiple_of=multiple,
        return_tensors="pt",
    )


def padded(tokenizer, tokens, multiple=None):
    """What the tokenizer's own call would return for the same tokens."""
    inputs, inverse = TensorLayout(tokenizer, pad_to_multiple_of=multiple)(tokens)
    assert inverse is None
    return inputs


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name in wanted:
        assert found[name].dtype == torch.int64
        assert torch.equal(found[name], wanted[name]), name


def sizes(least, most):
    """(max_length, pad_to_multiple_of); the tokenizer's own call wants the first a multiple."""
    plain = st.tuples(st.integers(least, most), st.sampled_from([None, 1]))
    return plain | st.tuples(
        st.integers(-(-least // 8), most // 8).map(lambda n: 8 * n), st.just(8)
    )


WORDS = st.lists(
    st.sampled_from(
        ["the", "night ferry", "Halvard Lines", "(42%)", "naïve", "日本", "\n", "x" * 9]
    ),
    max_size=30,
).map(" ".join)
SPECIAL = st.sampled_from(["<eos></s>[SEP]", "a [CLS] b", "<s>", "[PAD]"])  # within a text
TEXTS = st.lists(
    WORDS | SPECIAL | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("truncation", SIDES)
@pytest.mark.parametrize("padding", SIDES)
@tried(12)
@given(texts=TEXTS, sizes=sizes(4, 40))
def test_tokens_are_those_of_the_tokenizers_own_call(load, padding, truncation, texts, sizes):
    tokenizer = load(padding, truncation)
    max_length, multiple = sizes

    found = padded(
        tokenizer, TextTokenizer(tokenizer, max_length, bare(tokenizer))(texts), multiple
    )

    assert_same(found, call(tokenizer, texts, max_length=max_length, multiple=multiple))


@tried(12)
@given(texts=TEXTS, sizes=sizes(16, 60))
def test_an_instruction_is_text_in_front_where_the_right_end_is_cut(load, texts, sizes):
    tokenizer = load("right", "right")
    max_length, multiple = sizes
    joined = [INSTRUCTION + text for text in texts]

    tokens = TextTokenizer(tokenizer, max_length, bare(tokenizer))(texts, INSTRUCTION)
    found = padded(tokenizer, tokens, multiple)

    assert_same(found, call(tokenizer, joined, max_length=max_length, multiple=multiple))


def real_ids(batch, row):
    return batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()


def split(tokenizer, ids):
    """Special tokens in front, the text's own, and special tokens behind."""
    special = set(tokenizer.all_special_ids)
    first = next(i for i, one in enumerate(ids) if one not in special)
    last = len(ids) - next(i for i, one in enumerate(reversed(ids)) if one not in special)
    return ids[:first], ids[first:last], ids[last:]


@pytest.mark.parametrize("padding", SIDES)
@tried(12)
@given(texts=st.lists(WORDS, min_size=1, max_size=4), room=st.integers(2, 30))
def test_an_instruction_stays_whole_where_the_left_end_is_cut(load, padding, texts, room):
    tokenizer = load(padding, "left")
    instruction = tokenizer(INSTRUCTION.rstrip(), add_special_tokens=False)["input_ids"]
    max_length = len(tokenizer(INSTRUCTION.rstrip())["input_ids"]) + room

    found = padded(
        tokenizer, TextTokenizer(tokenizer, max_length, bare(tokenizer))(texts, INSTRUCTION)
    )

    for row, text in enumerate(texts):
        whole = tokenizer(INSTRUCTION + text)["input_ids"]
        ids = real_ids(found, row)
        assert len(ids) == min(len(whole), max_length)
        before, body, after = split(tokenizer, ids)
        whole_before, whole_body, whole_after = split(tokenizer, whole)
        assert (before, after) == (whole_before, whole_after)
        assert body[: len(instruction)] == instruction
        tail = body[len(instruction) :]
        assert tail == whole_body[len(whole_body) - len(tail) :]


def test_an_instruction_longer_than_the_room_never_exceeds_the_length(load):
    tokenizer = load("right", "left")

    tokens = TextTokenizer(tokenizer, 6)(["the night ferry", ""], INSTRUCTION)

    assert tokens.lengths.tolist() == [6, 6]


def test_texts_with_and_without_instruction_stand_side_by_side(load):
    tokenizer = load("right", "left")
    text = "the night ferry leaves Eskerby at nine " * 5

    tokens = TextTokenizer(tokenizer, 24)([text, InstructedText(INSTRUCTION, text)])
    found = padded(tokenizer, tokens)

    assert_same(
        {"input_ids": found["input_ids"][:1]},
        {"input_ids": call(tokenizer, [text], max_length=24, multiple=None)["input_ids"]},
    )
    assert found["input_ids"].shape == (2, 24)
    assert real_ids(found, 0) != real_ids(found, 1)


PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4)


@pytest.mark.parametrize("truncation", SIDES)
@tried(12)
@given(pairs=PAIRS, sizes=sizes(8, 50))
def test_pairs_are_those_of_the_tokenizers_pair_call(load, truncation, pairs, sizes):
    tokenizer = load("right", truncation)
    max_length, multiple = sizes
    queries, keys = map(list, zip(*pairs, strict=True))

    found = padded(
        tokenizer,
        TextTokenizer(tokenizer, max_length, bare(tokenizer)).pairs(queries, keys),
        multiple,
    )

    assert_same(found, call(tokenizer, queries, keys, max_length=max_length, multiple=multiple))


@tried(12)
@given(pairs=PAIRS, max_length=st.integers(30, 60))
def test_instructed_pairs_cut_on_the_left_keep_lengths_and_instructions(load, pairs, max_length):
    tokenizer = load("right", "left")
    put = ("Find this: ", "Passage: ")
    queries = [InstructedText(put[0], query * 3) for query, _ in pairs]
    keys = [InstructedText(put[1], key * 3) for _, key in pairs]

    found = padded(
        tokenizer, TextTokenizer(tokenizer, max_length, bare(tokenizer)).pairs(queries, keys)
    )

    wanted = call(
        tokenizer,
        [str(q) for q in queries],
        [str(k) for k in keys],
        max_length=max_length,
        multiple=None,
    )
    assert torch.equal(found["attention_mask"], wanted["attention_mask"])
    if "token_type_ids" in wanted:
        assert torch.equal(found["token_type_ids"], wanted["token_type_ids"])
    for row, (query, key) in enumerate(zip(queries, keys, strict=True)):
        ids = real_ids(found, row)
        for text, own in ((query, put[0]), (key, put[1])):
            head = tokenizer(own.rstrip(), add_special_tokens=False)["input_ids"]
            assert any(ids[i : i + len(head)] == head for i in range(len(ids))), text


def test_token_types_follow_the_tokens_that_are_kept(unigram):
    tokenizer = copy.deepcopy(AutoTokenizer.from_pretrained(unigram, truncation_side="left"))
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    eos = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A:1 {eos}:2", special_tokens=[(eos, tokenizer.eos_token_id)]
    )

    found = padded(tokenizer, TextTokenizer(tokenizer, 12)(["the night ferry " * 9], "Find: "))

    assert found["token_type_ids"].tolist() == [[1] * 11 + [2]]


@pytest.mark.parametrize("truncation", SIDES)
def test_a_slow_tokenizer_gives_the_same(truncation):
    tokenizer = ByT5Tokenizer(truncation_side=truncation)
    assert not tokenizer.is_fast
    texts = ["night ferry", "a", "the long way round the reef"]

    found = padded(tokenizer, TextTokenizer(tokenizer, 16)(texts), 8)
    instructed = padded(tokenizer, TextTokenizer(tokenizer, 16)(texts, "Find: "))

    assert_same(found, call(tokenizer, texts, max_length=16, multiple=8))
    end = " reef" if truncation == "left" else "the long "
    decoded = tokenizer.decode(real_ids(instructed, 2), skip_special_tokens=True)
    assert decoded.startswith("Find:")
    assert decoded.endswith(end)
    assert instructed["input_ids"].shape == (3, 16)


def test_the_callers_tokenizer_keeps_its_settings(load):
    tokenizer = load("right", "right")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()

    TextTokenizer(tokenizer, 8)(["the night ferry"] * 2)

    assert tokenizer.backend_tokenizer.truncation is None
    assert tokenizer.backend_tokenizer.padding is None


def test_a_text_tokenizer_and_an_instructed_text_survive_pickling(load):
    tokenizer = load("right", "left")
    text, tokens = InstructedText("Find: ", "the night ferry"), TextTokenizer(tokenizer, 16)

    found = pickle.loads(pickle.dumps(tokens))(pickle.loads(pickle.dumps([text])))

    assert pickle.loads(pickle.dumps(text)).instruction == "Find: "
    assert_same(padded(tokenizer, found), padded(tokenizer, tokens([text])))


def test_an_instruction_that_leaves_no_room_is_refused(load):
    tokenizer = load("right", "right")
    n_tokens = len(tokenizer(INSTRUCTION)["input_ids"])

    TextTokenizer(tokenizer, n_tokens + 1).check_room(INSTRUCTION, "data.query_max_length")
    with pytest.raises(
        ConfigError,
        match=rf"data\.query_max_length={n_tokens}: the instruction .* takes {n_tokens} tokens.*"
        rf"give at least {n_tokens + 1}, or set data\.add_instruction=false",
    ):
        TextTokenizer(tokenizer, n_tokens).check_room(INSTRUCTION, "data.query_max_length")
