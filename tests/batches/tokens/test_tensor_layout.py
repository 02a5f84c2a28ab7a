"""Token ids to a model's tensors: padded, in chunks, packed."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers.data import DataCollatorWithFlattening

from llm_embedder_data.batches.tokens.tensor_layout import TensorLayout
from llm_embedder_data.batches.tokens.token_slices import Tokens, TokenSlices
from llm_embedder_data.config import ConfigError

LISTS = st.lists(st.lists(st.integers(5, 900), max_size=12), max_size=9)
SIDES = ("left", "right")


@pytest.fixture(scope="session", params=SIDES)
def tokenizer(request, minilm):
    return AutoTokenizer.from_pretrained(minilm, padding_side=request.param)


def tokens_of(lists):
    return Tokens((TokenSlices.of_lists(lists),))


def unpadded(inputs):
    mask = inputs["attention_mask"].bool()
    return [ids[real].tolist() for ids, real in zip(inputs["input_ids"], mask, strict=True)]


@given(lists=LISTS, multiple=st.sampled_from([None, 1, 8]))
def test_padding_is_the_tokenizers_own(tokenizer, lists, multiple):
    inputs, inverse = TensorLayout(tokenizer, "padded", multiple)(tokens_of(lists))

    assert inverse is None
    assert inputs["input_ids"].shape[1] >= 1
    if any(lists):
        wanted = tokenizer.pad(
            {"input_ids": lists}, pad_to_multiple_of=multiple, return_tensors="pt"
        )
        assert torch.equal(inputs["input_ids"], wanted["input_ids"])
        assert torch.equal(inputs["attention_mask"], wanted["attention_mask"])
    assert torch.equal(inputs["token_type_ids"], torch.zeros_like(inputs["input_ids"]))


@given(
    lists=LISTS.filter(len),
    ends=st.tuples(*[st.lists(st.integers(5, 900), max_size=3)] * 2),
    types=st.sampled_from([(0, 0, 0), (0, 1, 2), (1, 0, 0)]),
    pad_type=st.sampled_from([0, 3]),
    n_second=st.integers(0, 4),
)
def test_parts_are_laid_one_after_the_other(tokenizer, lists, ends, types, pad_type, n_second):
    padder = copy.copy(tokenizer)
    padder._pad_token_type_id = pad_type
    (before, behind), n_texts = map(np.array, ends), len(lists)
    before, behind = before.astype(np.int64), behind.astype(np.int64)
    second = [(ids * n_second)[: n_second + i % 2] for i, ids in enumerate(lists)]
    parts = [
        TokenSlices.constant(before, n_texts, types[0]),
        replace(TokenSlices.of_lists(lists), types=types[1]),
        TokenSlices.constant(behind, n_texts, types[2]),
    ]
    if n_second:
        parts.append(TokenSlices.of_lists(second))
    whole = [
        [*ends[0], *ids, *ends[1], *(own if n_second else [])]
        for ids, own in zip(lists, second, strict=True)
    ]
    own_types = [
        [types[0]] * len(ends[0])
        + [types[1]] * len(ids)
        + [types[2]] * len(ends[1])
        + [0] * len(own if n_second else [])
        for ids, own in zip(lists, second, strict=True)
    ]

    inputs, _ = TensorLayout(padder, "padded")(Tokens(tuple(parts)))

    if any(whole):
        wanted = padder.pad({"input_ids": whole, "token_type_ids": own_types}, return_tensors="pt")
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            assert torch.equal(inputs[name], wanted[name]), name


@given(lists=LISTS, chunk_size=st.integers(1, 5), multiple=st.sampled_from([None, 8]))
def test_chunks_hold_every_text_once_the_longest_first(tokenizer, lists, chunk_size, multiple):
    layout = TensorLayout(tokenizer, "chunked", multiple, chunk_size)
    chunks, inverse = layout(tokens_of(lists))
    rows = [row for chunk in chunks for row in unpadded(chunk)]

    assert [rows[place] for place in inverse] == lists
    assert [len(row) for row in rows] == sorted(map(len, lists), reverse=True)
    assert len(chunks) == max(-(-len(lists) // chunk_size), 1)
    assert all(len(chunk["input_ids"]) <= chunk_size for chunk in chunks)
    for chunk in chunks:  # padded on its own
        longest = max(map(len, unpadded(chunk)), default=0)
        assert chunk["input_ids"].shape[1] - max(longest, 1) < (multiple or 1)


def test_fewer_different_texts_make_as_many_chunks(tokenizer):
    layout = TensorLayout(tokenizer, "chunked", None, chunk_size=2)
    lists, inverse = [[7], [8, 8], [9, 9, 9]], np.array([2, 0, 0, 1, 2, 2])

    chunks, rows = layout(tokens_of(lists), inverse)

    assert len(chunks) == 3
    encoded = [row for chunk in chunks for row in unpadded(chunk)]
    assert [encoded[row] for row in rows] == [lists[text] for text in inverse]

    chunks, rows = layout(tokens_of([[7]]), np.zeros(6, np.int64))

    assert [unpadded(chunk) for chunk in chunks] == [[[7]]] * 3
    assert rows.tolist() == [0] * 6


@given(lists=LISTS.filter(any))
def test_packing_is_transformers_flattening(tokenizer, lists):
    lists = [one for one in lists if one]
    inputs, inverse = TensorLayout(tokenizer, "packed")(tokens_of(lists))
    wanted = DataCollatorWithFlattening(return_flash_attn_kwargs=True)(
        [{"input_ids": one} for one in lists]
    )

    assert inverse is None
    assert set(inputs) == {*wanted, "token_type_ids"} - {"labels"}
    for name in set(inputs) - {"token_type_ids"}:
        if isinstance(wanted[name], torch.Tensor):
            assert torch.equal(inputs[name], wanted[name]), name
            assert inputs[name].dtype == wanted[name].dtype, name
        else:
            assert inputs[name] == wanted[name], name


def test_parts_are_laid_one_after_the_other_with_their_types(tokenizer):
    source = np.arange(100, 120, dtype=np.uint16)
    parts = (
        TokenSlices.constant(np.array([1, 2], np.uint16), 2),
        TokenSlices(source, np.array([3, 10]), np.array([2, 0]), types=1),
        TokenSlices(
            source, np.array([0, 5]), np.array([1, 3]), types=(np.arange(20) % 3).astype(np.uint16)
        ),
    )

    inputs, _ = TensorLayout(tokenizer)(Tokens(parts).take(np.array([1, 0])))

    assert unpadded(inputs) == [[1, 2, 105, 106, 107], [1, 2, 103, 104, 100]]
    mask = inputs["attention_mask"].bool()
    assert inputs["token_type_ids"][mask].tolist() == [0, 0, 2, 0, 1, 0, 0, 1, 1, 0]


def test_padding_needs_a_token_for_it_and_packing_does_not(unigram):
    tokenizer = AutoTokenizer.from_pretrained(unigram)
    tokenizer.pad_token = None

    for layout in ("padded", "chunked"):
        with pytest.raises(ConfigError, match=r"has no padding token.*set tokenizer\.pad_token"):
            TensorLayout(tokenizer, layout)
    packed, _ = TensorLayout(tokenizer, "packed")(tokens_of([[5], [6]]))
    assert packed["input_ids"].tolist() == [[5, 6]]
