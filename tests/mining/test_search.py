"""Exact search and reranking, and their order among equal scores."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_embedder_data.mining.search import merge_top_k, rerank_order, top_k

laws = settings(derandomize=True, deadline=None, max_examples=60)
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


def test_zero_and_minus_zero_are_equal():
    corpus = torch.tensor([[0.0], [-0.0], [0.0], [-0.0]])
    _, found = top_k(torch.ones(1, 1), corpus, torch.arange(4), 4)

    assert found.tolist() == [[3, 2, 1, 0]]  # by index alone, as equal scores are


def test_keys_are_reranked_by_score_then_digits_and_count_once():
    scores = torch.tensor([[0.1, 0.9, 0.9, 0.5, 0.7], [1.0, 2.0, 3.0, 4.0, 5.0]])
    key_index = torch.tensor([[4, 8, 3, -1, 8], [0, 1, -1, -1, -1]])

    assert rerank_order(scores, key_index).tolist() == [[8, 3, 4, -1, -1], [1, 0, -1, -1, -1]]
