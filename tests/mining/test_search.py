"""Exact search and reranking, and their order among equal scores."""

import math

import numpy as np
import torch
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.mining.search import merge_top_k, rerank_order, scores_of_ranked, top_k

laws = tried(60)
NOWHERE = -math.inf


@st.composite
def searches(draw):
    """Few distinct small integers as coordinates: products are exact and ties are many."""
    n_queries, n_rows = draw(st.integers(1, 5)), draw(st.integers(0, 20))
    random = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    queries = torch.randint(-1, 2, (n_queries, 3), generator=random).float()
    corpus = torch.randint(-1, 2, (n_rows, 3), generator=random).float()
    index = torch.randperm(n_rows + 7, generator=random)[:n_rows] * draw(st.sampled_from([1, 7**5]))
    return queries, corpus, index, draw(st.integers(1, 9))


def sorted_whole(queries, corpus, index, k):
    """Every row sorted by falling score, equal ones by falling digits, cut at k, filled up."""
    rows = []
    for query in queries:
        scored = [(float(query @ row), int(i)) for row, i in zip(corpus, index, strict=True)]
        scored.sort(key=lambda one: str(one[1]), reverse=True)
        best = sorted(scored, key=lambda one: one[0], reverse=True)[:k]
        rows.append(best + [(NOWHERE, -1)] * (k - len(best)))
    return rows


def as_rows(scores, index):
    return [
        list(zip(s, i, strict=True)) for s, i in zip(scores.tolist(), index.tolist(), strict=True)
    ]


@given(searches(), st.integers(1, 8))
@laws
def test_top_k_is_the_sorted_whole_whatever_the_chunk(search, chunk):
    assert as_rows(*top_k(*search, chunk=chunk)) == sorted_whole(*search)


@given(searches(), st.integers(0, 20))
@laws
def test_shards_merge_to_the_whole_wherever_they_are_cut(search, cut):
    queries, corpus, index, k = search
    parts = [
        top_k(queries, corpus[here], index[here], k) for here in (slice(cut), slice(cut, None))
    ]
    scores, found = (torch.cat(side, dim=1) for side in zip(*parts, strict=True))

    assert as_rows(*merge_top_k(scores, found, k)) == sorted_whole(*search)


def test_real_numbers_are_ordered_as_torch_orders_them():
    torch.manual_seed(0)
    queries, corpus = torch.randn(20, 16), torch.randn(500, 16)
    scores, found = top_k(queries, corpus, torch.arange(500), 50, chunk=64)
    wanted = (queries @ corpus.T).topk(50)

    torch.testing.assert_close(scores, wanted.values)
    assert (found == wanted.indices).float().mean() > 0.99  # last bits depend on the block


def test_a_score_that_is_no_number_is_never_retrieved():
    corpus = torch.tensor([[float("nan")], [1.0], [float("inf")], [-2.0]])
    scores, found = top_k(torch.ones(1, 1), corpus, torch.arange(4), 4)

    assert as_rows(scores, found) == [[(1.0, 1), (-2.0, 3), (NOWHERE, -1), (NOWHERE, -1)]]


@given(searches(), st.integers(0, 999), st.integers(1, 300))
@laws
def test_queries_that_find_nothing_stand_beside_those_that_do(search, seed, n_empty):
    queries, corpus, index, k = search
    nothing = torch.full((n_empty, 3), float("nan"))
    order = torch.randperm(len(queries) + n_empty, generator=torch.Generator().manual_seed(seed))
    found = top_k(torch.cat([queries, nothing])[order], corpus, index, k)

    wanted = [*sorted_whole(queries, corpus, index, k), *n_empty * [k * [(NOWHERE, -1)]]]
    assert as_rows(*found) == [wanted[i] for i in order.tolist()]


def test_zero_and_minus_zero_are_equal():
    corpus = torch.tensor([[0.0], [-0.0], [0.0], [-0.0]])
    _, found = top_k(torch.ones(1, 1), corpus, torch.arange(4), 4)

    assert found.tolist() == [[3, 2, 1, 0]]  # by index alone, as equal scores are


def test_keys_are_reranked_by_score_then_digits_and_count_once():
    scores = torch.tensor([[0.1, 0.9, 0.9, 0.5, 0.7], [1.0, 2.0, 3.0, 4.0, 5.0]])
    key_index = torch.tensor([[4, 8, 3, -1, 8], [0, 1, -1, -1, -1]])

    assert rerank_order(scores, key_index).tolist() == [[8, 3, 4, -1, -1], [1, 0, -1, -1, -1]]


@given(st.integers(0, 999), st.integers(1, 300), st.sampled_from([16, 100]))
@laws
def test_a_score_has_the_same_bits_wherever_its_row_lies(seed, n_before, width):
    random = torch.Generator().manual_seed(seed)
    queries = torch.randn(7, width, generator=random)
    corpus = torch.randn(n_before + 9, width, generator=random)
    index = torch.arange(len(corpus))

    whole = top_k(queries, corpus, index, len(corpus), chunk=64)
    alone = top_k(queries, corpus[n_before:], index[n_before:], 9, chunk=64)

    is_alone = whole[1] >= n_before
    assert torch.equal(whole[0][is_alone].view(7, 9), alone[0])
    assert torch.equal(whole[1][is_alone].view(7, 9), alone[1])


def test_a_mapped_corpus_and_a_store_are_searched_in_blocks(tmp_path):
    corpus = np.random.default_rng(0).normal(size=(300, 8)).astype("f4")
    np.save(tmp_path / "corpus.npy", corpus)
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    read = []

    class Store:
        def __len__(self):
            return len(mapped)

        def vectors(self, start, stop):
            read.append((start, stop))
            return mapped[start:stop]

    queries, index = torch.from_numpy(corpus[::30].copy()), torch.arange(300)
    wanted = as_rows(*top_k(queries, torch.from_numpy(corpus), index, 5, chunk=128))

    assert as_rows(*top_k(queries, mapped, index, 5, chunk=128)) == wanted
    assert as_rows(*top_k(queries, Store(), index, 5, chunk=128)) == wanted
    assert read == [(0, 128), (128, 256), (256, 300)]


def test_products_are_rounded_only_if_asked_for():
    queries, corpus = torch.tensor([[1.0, 1 / 3]]), torch.tensor([[1.0, 1.0]])
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")  # as a training script may have it
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (exact,), (rounded,) = (
                top_k(queries, corpus, torch.tensor([0]), 1, precision=precision)[0]
                for precision in ("float32", "bf16")
            )
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)

    assert float(exact) == float(np.float32(1) + np.float32(1 / 3))
    assert abs(float(rounded) - 4 / 3) > 1e-4


def test_the_scores_of_reranked_keys_follow_them():
    scores = torch.tensor([[0.1, 0.9, 0.9, 0.5, 0.7]])
    key_index = torch.tensor([[4, 8, 3, -1, 8]])
    ranked = rerank_order(scores, key_index)

    found = scores_of_ranked(ranked, scores, key_index)[0].tolist()
    assert found == [*scores[0, [1, 2, 0]].tolist(), NOWHERE, NOWHERE]
