"""Tokens are those of the tokenizer's own call, whatever its class, its parts or added tokens."""

import copy
import logging
import random

import pytest
import torch
from example_counts import tried
from hypothesis import assume, given
from hypothesis import strategies as st
from slow_cases import mostly_slow
from tokenizer_zoo import TEXTS, backends, refused, wrapped
from tokenizers import AddedToken, NormalizedString, normalizers, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizerFast, ByT5Tokenizer

from llm_embedder_data import RetrievalDataCollator
from llm_embedder_data.batches.tokens import bare_tokenizer, word_memo
from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.word_memo import WordMemo
from llm_embedder_data.config import ConfigError


@pytest.fixture
def tokenizer(minilm):
    return AutoTokenizer.from_pretrained(minilm)


@pytest.fixture(autouse=True)
def nothing_said_yet():
    bare_tokenizer._say_once.cache_clear()


def collated(tokenizer, texts, **settings):
    """The ids that the collator gives, without padding."""
    batch = RetrievalDataCollator(tokenizer, **settings)(
        {"query": texts, "key": [[t] for t in texts]}
    )
    return [
        ids[mask == 1].tolist()
        for ids, mask in zip(
            batch["query"]["input_ids"], batch["query"]["attention_mask"], strict=True
        )
    ]


BLANKS = [
    "\n",
    "\t",
    "\u00a0",
    "  ",
    " ",
    "\u3000",
    "\u2028",
    "\x1c",
    "a b",
    "\n\n",
    "日",
    "\u0301",
]
ODD = [
    "two\nlines",
    "  lead and trail  ",
    "tabs\tand\u00a0nbsp",
    "日本 a b",
    "e\u0301\x1cx",
    "",
    " ",
]


FLAGS = [
    (flag, normalized)
    for flag in ("none", "lstrip", "rstrip", "single_word")
    for normalized in (False, True)
]


@pytest.mark.parametrize(
    "flags",
    mostly_slow(
        FLAGS, ("none", False), ("none", True), ("lstrip", False), ("rstrip", True), FLAGS[-2]
    ),
)
@pytest.mark.parametrize("content", BLANKS)
def test_an_added_token_of_white_space_has_its_place(tokenizer, content, flags):
    flag, normalized = flags
    if normalized and not tokenizer.backend_tokenizer.normalizer.normalize_str(content):
        normalized = False  # else it is refused
    tokenizer.add_tokens(
        [AddedToken(content, normalized=normalized, **({flag: True} if flag != "none" else {}))]
    )

    assert collated(tokenizer, ODD) == tokenizer(ODD)["input_ids"]


@tried(60)
@given(
    backends(),
    st.lists(TEXTS, min_size=1, max_size=4),
    st.integers(3, 20),
    st.sampled_from(["left", "right"]),
)
def test_ids_are_the_tokenizers_own(backend, texts, max_length, side):
    tokenizer = wrapped(backend, truncation_side=side)
    assume(not refused(tokenizer))
    own = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]

    assert collated(tokenizer, texts, query_max_length=max_length) == own


@pytest.mark.parametrize("content", ["\x1c", "\u0301", "\u200d"])
def test_an_added_token_of_which_nothing_is_left_is_refused(tokenizer, content):
    tokenizer.add_tokens([content])

    with pytest.raises(ConfigError, match="is empty after normalization"):
        RetrievalDataCollator(tokenizer)


class Calling(BertTokenizerFast):
    def __call__(self, text=None, *args, **kwargs):
        many = isinstance(text, list)
        text = [f"{one} please" for one in text] if many else f"{text} please"
        return super().__call__(text, *args, **kwargs)


class Encoding(BertTokenizerFast):
    def _encode_plus(self, text=None, *args, **kwargs):
        text = [one.replace("fox", "dog") for one in text] if isinstance(text, list) else text
        return super()._encode_plus(text, *args, **kwargs)


class Appending(BertTokenizerFast):
    """Puts an id of its own at the end, as code for last-token pooling does."""

    def __call__(self, text=None, *args, max_length=None, **kwargs):
        shorter = None if max_length is None else max_length - 1
        found = super().__call__(text, *args, max_length=shorter, **kwargs)
        if isinstance(text, list):
            for name, value in ("input_ids", 1), ("token_type_ids", 0), ("attention_mask", 1):
                found[name] = [[*one, value] for one in found[name]]
        return found


class Swap:
    def normalize(self, normalized: NormalizedString):
        normalized.replace("fox", "dog")


class Cut:
    def pre_tokenize(self, text):
        text.split(lambda i, one: [one[0:1], one[1:]])


def patched(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    own = tokenizer._encode_plus
    tokenizer._encode_plus = lambda text, **kwargs: own(
        [one.upper() + "!" for one in text], **kwargs
    )
    return tokenizer


def normalizing(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.normalizer = normalizers.Normalizer.custom(Swap())
    return tokenizer


def cutting(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Cut())
    return tokenizer


CHANGING = [
    Calling.from_pretrained,
    Encoding.from_pretrained,
    Appending.from_pretrained,
    patched,
    normalizing,
    cutting,
]


@pytest.mark.parametrize("load", CHANGING)
def test_a_tokenizer_that_changes_texts_or_ids_is_called(load, minilm, caplog):
    tokenizer = load(minilm)
    texts = ["the quick brown fox", "a fox " * 30, ""]

    with caplog.at_level(logging.WARNING):
        found = collated(tokenizer, texts, query_max_length=12)
        collated(tokenizer, texts, query_max_length=12)

    assert found == tokenizer(texts, truncation=True, max_length=12)["input_ids"]
    plain = AutoTokenizer.from_pretrained(minilm)
    assert found != plain(texts, truncation=True, max_length=12)["input_ids"]
    assert [record.getMessage().count("own call") for record in caplog.records] == [1]  # said once


def test_a_slow_tokenizer_is_called():
    texts = ["night ferry", "ends in </s>", ""]

    assert collated(ByT5Tokenizer(), texts) == ByT5Tokenizer()(texts)["input_ids"]


class Failing(BertTokenizerFast):
    def __call__(self, text, **kwargs):
        return super().__call__(text.lower(), **kwargs)


def test_a_tokenizer_that_takes_no_list_is_refused(minilm):
    with pytest.raises(ConfigError, match=r"Failing cannot be called with a list of texts.*lower"):
        RetrievalDataCollator(Failing.from_pretrained(minilm))


def test_the_tokenizers_settings_stay(tokenizer):
    tokenizer.backend_tokenizer.enable_truncation(7, direction="left")
    tokenizer.backend_tokenizer.enable_padding(length=9)

    BareTokenizer(tokenizer)

    assert tokenizer.backend_tokenizer.truncation["max_length"] == 7
    assert tokenizer.backend_tokenizer.padding["length"] == 9


@pytest.mark.parametrize("length", [3, 39, 41, 3000])
def test_a_memo_is_bounded_in_bytes_whatever_comes(tokenizer, length, monkeypatch):
    monkeypatch.setattr(word_memo, "_MOST_BYTES", 50_000)
    words, dice = WordMemo(BareTokenizer(tokenizer).backend), random.Random(length)
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 900)]
    for _ in range(20 if length < 100 else 3):
        texts = ["".join(dice.choices(characters, k=length)) for _ in range(40)]

        found = [len(ids) // 4 for ids in words.ids(texts)]

        assert found == [
            len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]
        ]
        assert sum(len(word) + len(ids) for word, ids in words.items()) < 60_000
        assert all(len(word) < 100 for word in words)


@pytest.mark.parametrize("side", ["query", "key"])
def test_a_length_that_special_tokens_use_up_is_refused(minilm, byte_level_bpe, unigram, side):
    loaded = [AutoTokenizer.from_pretrained(one) for one in (minilm, byte_level_bpe, unigram)]
    for tokenizer in [*loaded, ByT5Tokenizer(), Calling.from_pretrained(minilm)]:
        is_changing = isinstance(tokenizer, Calling)
        taken = 3 if is_changing else tokenizer.num_special_tokens_to_add()
        for length in (0, taken - 1, taken):
            with pytest.raises(
                ConfigError,
                match=rf"data\.{side}_max_length={length}: .*give at least {taken + 1}\)",
            ):
                RetrievalDataCollator(tokenizer, **{f"{side}_max_length": length})
        RetrievalDataCollator(tokenizer, **{f"{side}_max_length": taken + 1})
    with pytest.raises(
        ConfigError, match=rf"data\.{side}_max_length=None: expected a whole number"
    ):
        RetrievalDataCollator(tokenizer, **{f"{side}_max_length": None})


def test_a_pair_needs_room_for_both_texts_and_their_instructions(byte_level_bpe):
    tokenizer = copy.deepcopy(AutoTokenizer.from_pretrained(byte_level_bpe))
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )

    with pytest.raises(
        ConfigError, match=r"query_max_length \+ data\.key_max_length=4: a pair .*5 in"
    ):
        RetrievalDataCollator(tokenizer, query_max_length=2, key_max_length=2, cross=True)
    batch = RetrievalDataCollator(tokenizer, query_max_length=2, key_max_length=3, cross=True)(
        {"query": ["a b c d"], "key": [["e f g h"]]}
    )
    assert batch["cross"]["input_ids"].shape == torch.Size([1, 5])
    long = "Represent this query for retrieving relevant documents: "
    with pytest.raises(ConfigError, match=r"an instruction of \d+ tokens and a token of a text"):
        RetrievalDataCollator(
            tokenizer, query_max_length=60, key_max_length=2, cross=True
        ).check_room(long)


def test_types_come_from_a_text_that_has_tokens(unigram):
    from tokenizers import processors

    tokenizer = AutoTokenizer.from_pretrained(unigram)
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<eos> $A:1", special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    batch = RetrievalDataCollator(tokenizer)({"query": ["", "a ferry"], "key": [["a"], ["b"]]})

    assert batch["query"]["token_type_ids"].sum() > 0
