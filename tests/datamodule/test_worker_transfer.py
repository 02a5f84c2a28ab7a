"""Batches arrive from workers as they were made, in few pieces."""

import pytest
import torch
from slow_cases import mostly_slow
from torch.utils.data import DataLoader

from llm_embedder_data.datamodule.loading.worker_transfer import for_transfer

LARGE = torch.arange(30_000).view(300, 100)
BATCH = {
    "query": {"input_ids": LARGE, "attention_mask": LARGE % 2},
    "key": [{"input_ids": LARGE + 1}, {"input_ids": torch.arange(6).view(2, 3)}],
    "row": torch.arange(32),
    "teacher_scores": torch.full((32, 8), float("nan")),
    "scores": torch.arange(40_000, dtype=torch.float32).view(8, 5000),
    "in_batch_negatives": True,
    "query_id": ["a", 7],
    "task": None,
}


class OneBatch(torch.utils.data.Dataset):
    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.batch


def loader(batch, workers, **more):
    own = {"batch_size": None, "num_workers": workers, "collate_fn": for_transfer}
    return DataLoader(OneBatch(batch), **own, **more)


def assert_same(found, wanted):
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for name in wanted:
            assert_same(found[name], wanted[name])
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    elif isinstance(wanted, torch.Tensor):
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)
    else:
        assert found == wanted


@pytest.mark.parametrize("start", mostly_slow(["fork", "spawn"], "fork"))
def test_a_batch_arrives_as_it_was_made(start):
    batches = list(loader(BATCH, 1, multiprocessing_context=start))

    assert len(batches) == 4
    for batch in batches:
        assert_same(batch, BATCH)


def test_batches_without_a_large_tensor_arrive_too():
    small = {"row": torch.arange(3), "query_id": [1, 2]}

    for batch in loader(small, 1):
        assert_same(batch, small)


def test_large_tensors_share_a_block_and_small_ones_keep_none_of_it():
    [first, *_] = loader(BATCH, 1)

    large = [first["query"]["input_ids"], first["query"]["attention_mask"], first["scores"]]
    assert len({one.untyped_storage().data_ptr() for one in large}) == 1
    assert large[0].untyped_storage().nbytes() == sum(
        one.nbytes for one in (LARGE, LARGE, LARGE, BATCH["scores"])
    )
    for small in (first["row"], first["key"][1]["input_ids"]):
        assert small.untyped_storage().nbytes() == small.nbytes


def test_what_arrives_may_be_written_to_and_lasts():
    first, second, *_ = loader(BATCH, 2)

    first["query"]["input_ids"] += 1
    first["row"] += 1

    assert_same(second, BATCH)
    assert torch.equal(first["query"]["input_ids"], LARGE + 1)


def test_without_workers_a_batch_is_handed_over_itself():
    for batch in loader(BATCH, 0):
        assert batch is BATCH


def test_an_error_in_packing_a_batch_reaches_the_process_that_trains():
    batch = {"embedding": torch.ones(3, requires_grad=True)}

    with pytest.raises(RuntimeError, match="requires grad"):
        list(loader(batch, 1, timeout=30))
