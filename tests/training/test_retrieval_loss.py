"""Which keys compete for the queries of a rank."""

import torch

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
