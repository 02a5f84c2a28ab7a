"""A batch is what DESIGN says: keys, dtypes, shapes, plain dicts, and loaders that can travel."""

import pickle

import pytest
import torch
from datamodule_cases import (
    TRAIN,
    batches,
    digest,
    eval_arguments,
    make_datamodule,
    make_tokenizer,
    opened,
    write_train,
)
from lightning.pytorch.utilities.data import extract_batch_size

B, G = 4, 3
ALWAYS = [
    "key_mask",
    "teacher_scores",
    "task",
    "dataset",
    "query_text_id",
    "query_id",
    "row",
    "key_id",
    "positive_id",
    "in_batch_negatives",
]


def check_tokens(tokens, n_texts, longest):
    assert type(tokens) is dict
    assert next(iter(tokens)) == "input_ids"
    assert {"input_ids", "attention_mask"} <= set(tokens)
    for one in tokens.values():
        assert one.dtype == torch.int64
        assert one.shape == tokens["input_ids"].shape
    assert tokens["input_ids"].shape[0] == n_texts
    assert tokens["input_ids"].shape[1] <= longest
    assert tokens["input_ids"].shape[1] % 8 == 0


def check_train_batch(batch, scored):
    assert type(batch) is dict
    assert extract_batch_size(batch) == B
    for name, shape in (
        ("key_mask", (B, G)),
        ("row", (B,)),
        ("query_text_id", (B,)),
        ("key_id", (B * G,)),
        ("positive_id", (B, batch["positive_id"].shape[1])),
    ):
        assert batch[name].dtype == torch.int64
        assert batch[name].shape == shape
    if scored:
        assert batch["teacher_scores"].dtype == torch.float32
        assert batch["teacher_scores"].shape == (B, G)
    else:
        assert batch["teacher_scores"] is None
    assert type(batch["task"]) is type(batch["dataset"]) is str
    assert type(batch["in_batch_negatives"]) is bool
    assert len(batch["query_id"]) == B
    assert type(batch["query_id"]) is list
    # The positive is first, and is among all that are known.
    first = batch["key_id"].view(B, G)[:, :1]
    assert (batch["positive_id"] == first).any(1).all()
    assert not (batch["positive_id"][:, :, None] == batch["key_id"].view(B, 1, G)[:, :, 1:]).any()


def test_a_training_batch_has_exactly_these_values(folder):
    seen = batches(opened(make_datamodule(folder)))

    for batch in seen:
        assert set(batch) == {"query", "key", *ALWAYS}
        assert isinstance(next(iter(batch.values())), dict)
        check_tokens(batch["query"], B, 24)
        check_tokens(batch["key"], B * G, 24)
        check_train_batch(batch, batch["task"] != "tool")
    assert {batch["task"] for batch in seen} == set(TRAIN)


def test_a_batch_for_a_cross_encoder_has_pairs_in_place_of_two_sides(folder):
    for batch in batches(opened(make_datamodule(folder, cross=True))):
        assert set(batch) == {"cross", "batch_size", *ALWAYS}
        assert batch["batch_size"] == B
        check_tokens(batch["cross"], B * G, 48)
        assert batch["key_mask"].shape == (B, G)


def test_lightning_logs_with_the_number_of_queries(folder):
    for cross in (False, True):
        for batch in batches(opened(make_datamodule(folder, cross=cross))):
            assert next(one for one in _leaves(batch) if isinstance(one, torch.Tensor)).ndim > 0
        assert extract_batch_size(batch) == B


def test_keys_are_those_of_their_query_and_scores_those_of_their_key(folder):
    decode = make_tokenizer().decode
    datamodule = opened(make_datamodule(folder, train_data={"qa": str(folder / "qa/train.jsonl")}))

    for batch in batches(datamodule):
        text = [decode(ids).replace("[PAD]", "") for ids in batch["key"]["input_ids"]]
        keys = [one.replace(" ", "") for one in text]
        for b, row in enumerate(batch["row"].tolist()):
            query = decode(batch["query"]["input_ids"][b]).replace("[PAD]", "").replace(" ", "")
            assert query == f"askqaquery{row}"
            for g in range(G):
                key = keys[b * G + g]
                kind, number = ("pos", key[-1]) if g == 0 else ("neg", key[-1])
                assert key == f"findqa{kind}{row}{number}"
                place = int(number) + 2 * (kind == "neg")
                assert batch["teacher_scores"][b, g] == (7 * row + 5 * place) % 13


@pytest.mark.parametrize("workers", [0, 1])
def test_pinning_without_a_gpu_does_no_harm(folder, workers):
    plain, pinned = (
        [digest(b) for b in batches(opened(make_datamodule(folder, **one, num_workers=workers)))]
        for one in ({}, {"pin_memory": True})
    )

    assert plain == pinned


def test_everything_that_a_loader_is_made_of_can_be_pickled(folder):
    datamodule = opened(make_datamodule(folder, **eval_arguments(folder)))
    again = pickle.loads(pickle.dumps(datamodule))
    loaders = [
        (datamodule.train_dataloader(), again.train_dataloader()),
        *zip(datamodule.val_dataloader().values(), again.val_dataloader().values(), strict=True),
    ]

    for loader, other in loaders:
        index = list(loader.sampler)[-1]
        parts = (loader.dataset, loader.sampler, loader.collate_fn)
        dataset, sampler, collate = pickle.loads(pickle.dumps(parts))
        expected = digest(loader.collate_fn(loader.dataset[index]))
        assert digest(collate(dataset[list(sampler)[-1]])) == expected
        assert digest(list(other)[-1]) == expected


def test_a_source_has_a_batch_size_a_weight_a_task_and_a_word_on_negatives_of_its_own(folder):
    path = write_train(folder / "own" / "train.jsonl", None, 12)
    own = {
        "path": str(path),
        "task": "tool",
        "batch_size": 2,
        "weight": 1.5,
        "in_batch_negatives": False,
    }
    datamodule = opened(
        make_datamodule(folder, train_data={"own": own, "chat": str(folder / "chat/train.jsonl")})
    )
    seen = batches(datamodule)

    assert sum(batch["dataset"] == "own" for batch in seen) == 9  # one and a half times 12 / 2
    assert sum(batch["dataset"] == "chat" for batch in seen) == 2
    for batch in seen:
        is_own = batch["dataset"] == "own"
        assert len(batch["row"]) == (2 if is_own else 4)
        assert batch["task"] == ("tool" if is_own else "chat")
        assert batch["in_batch_negatives"] is not is_own
    assert datamodule.report()["train"]["own"]["steps_per_epoch"] == 9


def test_ids_are_the_rows_own_of_either_type_or_their_numbers(folder, tmp_path):
    train = {
        "ints": write_train(tmp_path / "a.jsonl", "qa", 8, ids=lambda i: 1000 + i),
        "texts": write_train(tmp_path / "b.jsonl", "qa", 8, ids=lambda i: f"id-{i}"),
        "none": write_train(tmp_path / "c.jsonl", "qa", 8),
    }
    names = {"ints": lambda row: 1000 + row, "texts": lambda row: f"id-{row}", "none": int}
    datamodule = opened(make_datamodule(folder, train_data={k: str(v) for k, v in train.items()}))

    for batch in batches(datamodule):
        expected = [names[batch["dataset"]](row) for row in batch["row"].tolist()]
        assert batch["query_id"] == expected


def _leaves(value):
    if isinstance(value, dict):
        for one in value.values():
            yield from _leaves(one)
    else:
        yield value
