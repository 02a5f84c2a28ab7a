"""Which keys compete for the queries of a rank."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.training.losses import same_query_mask
from llm_embedder_data.training.retrieval_loss import competing_keys


def batch_of(key_id, positive_id, *, in_batch_negatives=True):
    """Return what matters here of a batch with two keys per query."""
    return {
        "key_id": torch.tensor(key_id),
        "key_mask": (torch.tensor(key_id) != 0).long().view(-1, 2),
        "positive_id": torch.tensor(positive_id),
        "in_batch_negatives": in_batch_negatives,
    }


def excluded_columns(competing):
    return [row.nonzero().flatten().tolist() for row in competing.excluded]


def test_keys_of_a_rank_exclude_known_positives_and_padding():
    keys = torch.randn(4, 3)

    competing = competing_keys(batch_of([11, 12, 13, 0], [[11, 13], [13, 0]]), keys)

    assert torch.equal(competing.keys, keys)
    assert competing.target.tolist() == [0, 2]
    assert {0, 2, 3} <= set(excluded_columns(competing)[0])
    assert 1 not in excluded_columns(competing)[0]
    assert 3 in excluded_columns(competing)[1]
    assert not {0, 1} & set(excluded_columns(competing)[1])


def test_without_in_batch_negatives_only_the_keys_of_the_query_compete():
    batch = batch_of([11, 12, 13, 14], [[11], [13]], in_batch_negatives=False)

    competing = competing_keys(batch, torch.randn(4, 3))

    assert {2, 3} <= set(excluded_columns(competing)[0])
    assert {0, 1} <= set(excluded_columns(competing)[1])


def test_gathered_keys_are_those_of_all_ranks_in_rank_order():
    batches = [batch_of([11, 12, 13, 14], [[11], [13]]), batch_of([21, 22, 11, 0], [[21], [11]])]
    keys = [torch.randn(4, 3) for _ in batches]
    real = [batch["key_mask"].flatten() for batch in batches]
    ids = [torch.stack([batch["key_id"], mask]) for batch, mask in zip(batches, real, strict=True)]

    def all_gather(tensor, sync_grads=False):
        return torch.stack(keys if sync_grads else ids)

    competing = competing_keys(batches[1], keys[1], rank=1, all_gather=all_gather)

    assert torch.equal(competing.keys, torch.cat(keys))
    assert competing.target.tolist() == [4, 6]
    assert {0, 6, 7} <= set(excluded_columns(competing)[1])  # 11 is its positive on both ranks
    assert 7 in excluded_columns(competing)[0]  # padding
    assert not {0, 1, 2, 3} & set(excluded_columns(competing)[0])


def test_the_positive_of_the_same_query_in_another_row_is_no_negative_on_any_rank():
    batches = [
        batch_of([11, 12, 13, 14], [[11], [13]]) | {"query_text_id": torch.tensor([5, 6])},
        batch_of([21, 22, 23, 24], [[21], [23]]) | {"query_text_id": torch.tensor([5, 5])},
    ]
    keys = [torch.randn(4, 3) for _ in batches]
    ids = [
        torch.stack(
            [
                batch["key_id"],
                batch["key_mask"].flatten(),
                batch["query_text_id"].repeat_interleave(2),
            ]
        )
        for batch in batches
    ]

    def all_gather(tensor, sync_grads=False):
        return torch.stack(keys if sync_grads else ids)

    gathered = [
        competing_keys(batch, key, rank=rank, all_gather=all_gather)
        for rank, (batch, key) in enumerate(zip(batches, keys, strict=True))
    ]
    alone = competing_keys(batches[1], keys[1])

    assert [excluded_columns(one) for one in gathered] == [
        [[0, 4, 6], [2]],
        [[0, 4, 6], [0, 4, 6]],
    ]
    assert excluded_columns(alone) == [[0, 2], [0, 2]]


@given(st.data())
def test_the_mask_of_same_queries_is_that_of_comparing_all_pairs(data):
    n_rows, group_size = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    few = st.integers(-3, 3)  # so that queries and keys repeat
    queries = torch.tensor(data.draw(st.lists(few, min_size=n_rows, max_size=n_rows)))
    n_keys = n_rows * group_size
    key_id = torch.tensor(data.draw(st.lists(few, min_size=n_keys, max_size=n_keys)))
    n_own = data.draw(st.integers(1, n_rows))
    positive = key_id[::group_size]

    mask = same_query_mask(queries[:n_own], queries, positive, key_id)

    for i in range(n_own):
        right = {int(p) for q, p in zip(queries, positive, strict=True) if q == queries[i]}
        assert mask[i].tolist() == [int(one) in right for one in key_id]
