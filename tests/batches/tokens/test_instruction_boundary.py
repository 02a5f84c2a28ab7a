"""A proved boundary holds: the tokens of an instruction and of the text behind it never mix."""

import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_zoo import INSTRUCTIONS, TEXTS, backends
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from llm_embedder_data.batches.tokens.instruction_boundary import begins_at_last_space
from llm_embedder_data.batches.tokens.word_memo import WordMemo, takes_words_apart


def ids(backend, text):
    return backend.encode(text, add_special_tokens=False).ids


@tried(400)
@given(backends() | backends(usual=True), INSTRUCTIONS, st.lists(TEXTS, min_size=1, max_size=8))
def test_what_is_proved_holds_for_every_text(backend, instruction, texts):
    if begins_at_last_space(backend, instruction):
        head = ids(backend, instruction[:-1])
        for text in texts:
            assert ids(backend, instruction + text) == head + ids(backend, " " + text), text
    if takes_words_apart(backend):
        whole = [ids(backend, text) for text in texts]
        memo = WordMemo(backend)
        assert [list(memoryview(text_ids).cast("i")) for text_ids in memo.ids(texts)] == whole


def backend_of(pre_tokenizer, normalizer=None):
    backend = Tokenizer(models.BPE({"a": 0}, []))
    backend.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        backend.normalizer = normalizer
    return backend


GPT_2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize("pattern", [GPT_2, LLAMA_3])
def test_the_usual_byte_level_tokenizers_are_proved(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend = backend_of(pre_tokenizers.Sequence([split, byte_level]), normalizers.NFC())

    assert begins_at_last_space(backend, "Represent this sentence: ")
    assert not begins_at_last_space(backend, "Represent this sentence:")
    assert not begins_at_last_space(backend, "Represent this sentence:  ")


@pytest.mark.parametrize(
    "pattern",
    [r"\p{L}+|\p{N}+", r"[^\p{L}]+|\p{L}+|\s+", r": ?|\s+", r"(?:a|\s+)", r"[|]|\s+", r"\|\s+"],
)
def test_a_pattern_that_is_not_known_is_not_proved(pattern):
    backend = backend_of(pre_tokenizers.Split(Regex(pattern), "isolated"))

    assert not begins_at_last_space(backend, "a: ")


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


@pytest.mark.parametrize(
    ("added", "normalizer", "pre_tokenizer", "instruction", "text"),
    [
        (AddedToken(": a"), None, None, "q: ", "ab"),
        (AddedToken(": a", normalized=False), None, None, "q: ", "ab"),
        (AddedToken(":", rstrip=True), None, None, "q: ", "ab"),
        (AddedToken(" a", single_word=True), None, None, "q ", "a b"),
        (AddedToken(": A"), normalizers.Lowercase(), None, "q: ", "ab"),
        (None, normalizers.Replace(": ", ":"), None, "q: ", "a"),
        (None, normalizers.Strip(), split(r"\s+|\p{L}+"), "q: ", ""),
        (None, None, split(r"[^\p{L}]+|\p{L}+|\s+"), "q: ", "a"),
        (None, None, split(r"\p{L}+"), "q: ", "a"),
        (None, None, pre_tokenizers.Digits(), "q: ", "a"),
    ],
)
def test_what_makes_other_tokens_is_not_proved(added, normalizer, pre_tokenizer, instruction, text):
    characters = sorted({*"abq: ", *pre_tokenizers.ByteLevel.alphabet()})
    vocabulary = {token: i for i, token in enumerate([*characters, ": "])}
    backend = Tokenizer(models.BPE(vocabulary, [(":", " ")]))
    backend.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    if normalizer is not None:
        backend.normalizer = normalizer
    if added is not None:
        backend.add_tokens([added])
    put_together = ids(backend, instruction[:-1]) + ids(backend, " " + text)
    if not isinstance(normalizer, normalizers.Strip):  # which makes no difference here
        assert ids(backend, instruction + text) != put_together

    assert not begins_at_last_space(backend, instruction)
