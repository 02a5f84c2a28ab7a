"""Groups, eval queries and passages to padded tensors."""

import logging
import warnings

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.config import ConfigError
from llm_embedder_data.core.errors import DataError


@pytest.fixture(scope="session")
def tokenizer(byte_level_bpe):
    return AutoTokenizer.from_pretrained(byte_level_bpe)


def texts_of(tokenizer, tokens):
    return tokenizer.batch_decode(tokens["input_ids"], skip_special_tokens=True)


ROWS = [
    {"query": "a", "key": ["a1", "a2"], "task": "qa", "query_id": 4, "teacher_scores": [1.0, 0.5]},
    {"query": "b", "key": ["b1", "b2"], "task": "qa", "query_id": 9, "teacher_scores": [2.0, 0.5]},
]
WHOLE = {name: [row[name] for row in ROWS] for name in ROWS[0]}


@pytest.mark.parametrize("elements", [ROWS, [WHOLE]], ids=["rows", "whole batch"])
def test_keys_lie_query_by_query_the_positive_first(tokenizer, elements):
    batch = RetrievalDataCollator(tokenizer)(elements)

    assert texts_of(tokenizer, batch["query"]) == ["a", "b"]
    assert texts_of(tokenizer, batch["key"]) == ["a1", "a2", "b1", "b2"]
    assert batch["key_mask"].tolist() == [[1, 1], [1, 1]]
    assert batch["teacher_scores"].tolist() == [[1.0, 0.5], [2.0, 0.5]]
    assert batch["teacher_scores"].dtype == torch.float32
    assert batch["task"] == "qa"
    assert batch["query_id"].tolist() == [4, 9]


def test_several_whole_batches_are_laid_end_to_end(tokenizer):
    other = {**WHOLE, "query": ["c", "d"], "teacher_scores": None}

    batch = RetrievalDataCollator(tokenizer)([WHOLE, other])

    assert texts_of(tokenizer, batch["query"]) == ["a", "b", "c", "d"]
    assert batch["key"]["input_ids"].shape[0] == 8
    assert batch["teacher_scores"][:2].tolist() == [[1.0, 0.5], [2.0, 0.5]]
    assert torch.isnan(batch["teacher_scores"][2:]).all()


def train_groups():
    """What TrainGroups gives for one batch."""
    return {
        "query": ["a", "b"],
        "query_instruction": "find: ",
        "key": [["a1", "a2"], ["b1", ""]],
        "key_instruction": "passage: ",
        "key_mask": np.array([[1, 1], [1, 0]]),
        "teacher_scores": np.array([[1.0, 0.5], [np.nan, np.nan]], np.float32),
        "task": "qa",
        "dataset": "d",
        "query_id": ["x", "y"],
        "row": np.array([3, 8]),
        "key_id": np.array([1, 2, 3, 0]),
        "positive_id": np.array([[1, 5], [3, 0]]),
        "in_batch_negatives": False,
    }


@pytest.mark.parametrize("element", [train_groups(), [train_groups()]], ids=["mapping", "list"])
def test_a_training_batch_has_the_contracts_keys_shapes_and_types(tokenizer, element):
    batch = RetrievalDataCollator(tokenizer, pad_to_multiple_of=8)(element)

    assert texts_of(tokenizer, batch["query"]) == ["find: a", "find: b"]
    assert texts_of(tokenizer, batch["key"])[:3] == ["passage: a1", "passage: a2", "passage: b1"]
    assert batch["key"]["input_ids"].shape == (4, 8)
    for name, shape in {
        "key_mask": (2, 2),
        "row": (2,),
        "key_id": (4,),
        "positive_id": (2, 2),
    }.items():
        assert batch[name].dtype == torch.int64
        assert batch[name].shape == shape
    assert batch["key_mask"].tolist() == [[1, 1], [1, 0]]
    assert torch.isnan(batch["teacher_scores"]).tolist() == [[False, False], [True, True]]
    assert (batch["task"], batch["dataset"]) == ("qa", "d")
    assert batch["query_id"] == ["x", "y"]
    assert batch["in_batch_negatives"] is False
    assert "query_instruction" not in batch


def test_the_first_tensor_of_a_batch_has_the_batch_dimension(tokenizer):
    for cross, wanted in ((False, 2), (True, 2)):
        batch = RetrievalDataCollator(tokenizer, cross=cross)(train_groups())
        first = next(iter(batch.values()))
        tensor = next(iter(first.values())) if isinstance(first, dict) else first
        assert type(first) in (dict, torch.Tensor)
        assert len(tensor) == wanted


def test_cross_makes_a_pair_of_each_query_with_each_of_its_keys(tokenizer):
    batch = RetrievalDataCollator(tokenizer, cross=True, query_max_length=8, key_max_length=8)(
        train_groups()
    )

    pairs = tokenizer(
        ["find: a", "find: a", "find: b", "find: b"],
        ["passage: a1", "passage: a2", "passage: b1", "passage: "],
        padding=True,
        truncation=True,
        max_length=16,
        return_tensors="pt",
    )
    assert torch.equal(batch["cross"]["input_ids"], pairs["input_ids"])
    assert batch["batch_size"] == 2
    assert "query" not in batch
    assert "key" not in batch


def test_each_side_has_its_own_length(tokenizer):
    collator = RetrievalDataCollator(tokenizer, query_max_length=4, key_max_length=6)
    long = "the night ferry leaves Eskerby at nine"

    batch = collator([{"query": long, "key": [long], "task": "qa"}])

    assert batch["query"]["input_ids"].shape == (1, 4)
    assert batch["key"]["input_ids"].shape == (1, 6)


def test_queries_with_different_numbers_of_keys_are_filled_up(tokenizer):
    element = {
        "query": ["a", "b"],
        "key": [["a1"], ["b1", "b2", "b3"]],
        "key_index": np.array([[0, -1, -1], [4, 5, 6]]),
        "pos_index": np.array([[0], [5]]),
        "corpus": None,
    }

    batch = RetrievalDataCollator(tokenizer)(element)

    assert texts_of(tokenizer, batch["key"]) == ["a1", "", "", "b1", "b2", "b3"]
    assert batch["key_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert batch["key_index"].tolist() == [[0, -1, -1], [4, 5, 6]]
    assert batch["corpus"] is None


def test_rows_of_eval_data_pad_their_indices(tokenizer):
    rows = [
        {"query": "a", "pos_index": [3], "query_id": "x"},
        {"query": "b", "pos_index": [1, 2], "query_id": 1},
    ]

    batch = RetrievalDataCollator(tokenizer)(rows)

    assert batch["pos_index"].tolist() == [[3, -1], [1, 2]]
    assert batch["query_id"] == ["x", 1]


@pytest.mark.parametrize(
    "element",
    [
        {"content": ["one", "two"], "key_instruction": "passage: ", "index": np.array([4, 5])},
        [{"content": "passage: one", "index": 4}, {"content": "passage: two", "index": 5}],
    ],
    ids=["mapping", "rows"],
)
def test_passages_become_content(tokenizer, element):
    batch = RetrievalDataCollator(tokenizer)(element)

    assert texts_of(tokenizer, batch["content"]) == ["passage: one", "passage: two"]
    assert batch["index"].tolist() == [4, 5]


def test_rows_of_different_tasks_are_refused(tokenizer):
    rows = [ROWS[0], {**ROWS[1], "task": "chat"}]

    with pytest.raises(DataError, match="a batch holds rows of the tasks chat, qa: all rows of a"):
        RetrievalDataCollator(tokenizer)(rows)


def test_collating_says_nothing(tokenizer, minilm, caplog):
    long = "night ferry " * 600  # longer than any model's limit
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        for side in ("left", "right"):
            for folder in (minilm, tokenizer.name_or_path):
                own = AutoTokenizer.from_pretrained(folder, truncation_side=side)
                for cross in (False, True):
                    collator = RetrievalDataCollator(own, cross=cross, pad_to_multiple_of=8)
                    collator({**train_groups(), "query": [long, "b"]})
                    collator([{**row, "query": long} for row in ROWS])

    assert caplog.records == []


@pytest.mark.parametrize("layout", ["chunked", "packed"])
def test_a_collator_of_another_layout_lays_the_same_tokens_out_and_leaves_the_first_alone(
    tokenizer, layout
):
    own = RetrievalDataCollator(tokenizer, key_max_length=9)
    before = own(ROWS)

    other = own.with_layout(layout)

    new = RetrievalDataCollator(tokenizer, key_max_length=9, layout=layout)
    assert str(other(ROWS)) == str(new(ROWS)) != str(before)
    assert str(own(ROWS)) == str(before)
    assert (own.layout, other.layout) == ("padded", layout)


def test_a_collator_without_a_tokenizer_or_with_another_layout_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="needs a tokenizer"):
        RetrievalDataCollator()
    with pytest.raises(ConfigError, match=r"data\.layout='pack': expected one of padded"):
        RetrievalDataCollator(tokenizer, layout="pack")
