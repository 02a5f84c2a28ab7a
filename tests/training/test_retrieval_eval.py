"""Exact search, its order among equals, and the metrics against definitions and torchmetrics."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.retrieval import (
    retrieval_normalized_dcg,
    retrieval_recall,
    retrieval_reciprocal_rank,
)

from llm_embedder_data.training.retrieval_metrics import (
    EvalQueries,
    EvalShard,
    _first_largest,
    merge_top_k,
    rerank_order,
    retrieval_metrics,
    top_k,
)

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
    assert _first_largest(torch.tensor([[-0.0, 0.0, -0.0, 0.0]]), 4).tolist() == [[0, 1, 2, 3]]


def test_keys_are_reranked_by_score_then_digits_and_count_once():
    scores = torch.tensor([[0.1, 0.9, 0.9, 0.5, 0.7], [1.0, 2.0, 3.0, 4.0, 5.0]])
    key_index = torch.tensor([[4, 8, 3, -1, 8], [0, 1, -1, -1, -1]])

    assert rerank_order(scores, key_index).tolist() == [[8, 3, 4, -1, -1], [1, 0, -1, -1, -1]]


def test_metrics_by_hand():
    retrieved = torch.tensor([[7, 3, 9], [5, 6, -1]])
    positives = torch.tensor([[3, 9, 8], [1, -1, -1]])  # of 3, two are found; 1 is missed

    found = retrieval_metrics(retrieved, positives, (1, 2, 3))

    gain = 1 / math.log2(3), 1 / math.log2(4)
    ideal = 1 + gain[0], 1 + gain[0] + gain[1]
    assert found == pytest.approx(
        {
            "mrr@1": 0.0,
            "mrr@2": 1 / 4,
            "mrr@3": 1 / 4,
            "recall@1": 0.0,
            "recall@2": 1 / 6,
            "recall@3": 2 / 6,
            "ndcg@1": 0.0,
            "ndcg@2": gain[0] / ideal[0] / 2,
            "ndcg@3": (gain[0] + gain[1]) / ideal[1] / 2,
        }
    )


@st.composite
def outcomes(draw):
    n_queries, k = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    random = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    retrieved = torch.stack([torch.randperm(12, generator=random)[:k] for _ in range(n_queries)])
    retrieved = retrieved.masked_fill(torch.arange(k) >= draw(st.integers(0, k)), -1)
    positives = torch.randint(-1, 12, (n_queries, draw(st.integers(0, 4))), generator=random)
    return retrieved, positives


@given(outcomes(), st.sets(st.integers(1, 12), min_size=1))
@laws
def test_metrics_equal_torchmetrics_on_a_ranking_of_the_whole_corpus(outcome, cutoffs):
    retrieved, positives = outcome
    sums, n_queries = {}, 0
    for ranking, wanted in zip(retrieved.tolist(), positives.tolist(), strict=True):
        wanted = set(wanted) - {-1}
        if not wanted:
            continue
        n_queries += 1
        # The results, then rows that nobody wants, then what was not retrieved.
        order = [*ranking, *[-1] * 12, *(wanted - set(ranking))]
        target = torch.tensor([row in wanted for row in order])
        score = torch.linspace(1, 0.1, len(order))
        for name, metric in (
            ("mrr", retrieval_reciprocal_rank),
            ("recall", retrieval_recall),
            ("ndcg", retrieval_normalized_dcg),
        ):
            for k in cutoffs:
                value = float(metric(score, target.long(), top_k=k))
                sums[f"{name}@{k}"] = sums.get(f"{name}@{k}", 0.0) + value

    found = retrieval_metrics(retrieved, positives, sorted(cutoffs))
    assert found == pytest.approx({name: value / n_queries for name, value in sums.items()})


@given(outcomes(), st.randoms(use_true_random=False))
@laws
def test_the_order_of_queries_and_of_positives_changes_no_bit(outcome, random):
    retrieved, positives = outcome
    order = random.sample(range(len(retrieved)), len(retrieved))
    other = retrieval_metrics(retrieved[order], positives[order].flip(1), (1, 3, 10))

    assert other == retrieval_metrics(retrieved, positives, (1, 3, 10))


def test_a_positive_named_twice_counts_once():
    retrieved = torch.tensor([[4, 2]])

    assert retrieval_metrics(retrieved, torch.tensor([[2, 2, 4]]), (2,))["recall@2"] == 1.0


def test_a_missed_positive_is_not_a_hit_when_few_rows_were_retrieved():
    found = retrieval_metrics(torch.tensor([[1]]), torch.tensor([[2]]), (10,))

    assert found == {"mrr@10": 0.0, "recall@10": 0.0, "ndcg@10": 0.0}


def test_queries_without_positives_do_not_count():
    retrieved = torch.tensor([[1, 2], [1, 2]])

    assert retrieval_metrics(retrieved, torch.tensor([[1], [-1]]), (1,))["mrr@1"] == 1.0
    assert retrieval_metrics(retrieved, torch.tensor([[-1], [-1]]), (1,)) == {}


def eval_queries(rows, positives, ranked=None):
    rows = torch.tensor(rows)
    return EvalQueries("wiki", rows[:, None].float(), rows, torch.tensor(positives), ranked)


def test_queries_join_by_row_and_are_as_wide_as_the_widest_part():
    joined = EvalQueries.joined(
        [
            eval_queries([5, 1], [[50], [10]], torch.tensor([[1], [2]])),
            eval_queries([3], [[30, 31]], torch.tensor([[3, 4]])),
        ]
    )

    assert joined.row.tolist() == [1, 3, 5]
    assert joined.embedding.tolist() == [[1.0], [3.0], [5.0]]
    assert joined.positives.tolist() == [[10, -1], [30, 31], [50, -1]]
    assert joined.ranked.tolist() == [[2, -1], [3, 4], [1, -1]]


def test_a_rank_without_corpus_rows_has_an_empty_shard():
    embedding, index = EvalShard().corpus("wiki", 4)

    assert embedding.shape == (0, 4)
    assert top_k(torch.ones(2, 4), embedding, index, 3)[1].tolist() == [[-1] * 3] * 2
