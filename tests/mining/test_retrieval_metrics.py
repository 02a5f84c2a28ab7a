"""The metrics against their definitions and torchmetrics."""

import math

import pytest
import torch
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.retrieval import (
    retrieval_normalized_dcg,
    retrieval_recall,
    retrieval_reciprocal_rank,
)

from llm_embedder_data.mining.retrieval_metrics import retrieval_metrics

laws = tried(60)


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
            "map@1": 0.0,
            "map@2": (1 / 2) / 3 / 2,
            "map@3": (1 / 2 + 2 / 3) / 3 / 2,
            "precision@1": 0.0,
            "precision@2": 1 / 2 / 2,
            "precision@3": 2 / 3 / 2,
            "hit_rate@1": 0.0,
            "hit_rate@2": 1 / 2,
            "hit_rate@3": 1 / 2,
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
    for name, value in sums.items():
        assert found[name] == pytest.approx(value / n_queries)


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

    assert len(found) == 6
    assert set(found.values()) == {0.0}


def test_queries_without_positives_do_not_count():
    retrieved = torch.tensor([[1, 2], [1, 2]])

    assert retrieval_metrics(retrieved, torch.tensor([[1], [-1]]), (1,))["mrr@1"] == 1.0
    assert retrieval_metrics(retrieved, torch.tensor([[-1], [-1]]), (1,)) == {}


def test_grades_are_the_gains_of_ndcg_as_in_trec_eval():
    retrieved, positives = torch.tensor([[4, 9, 2, 7]]), torch.tensor([[2, 4, 8, -1]])
    grades = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    log = [math.log2(rank + 1) for rank in range(1, 5)]

    found = retrieval_metrics(retrieved, positives, [1, 3], grades)

    best = [3 / log[0], 3 / log[0] + 2 / log[1] + 1 / log[2]]
    assert found["ndcg@1"] == pytest.approx(1 / log[0] / best[0], abs=1e-15)
    assert found["ndcg@3"] == pytest.approx((1 / log[0] + 3 / log[2]) / best[1], abs=1e-15)
    assert (found["mrr@3"], found["recall@3"]) == (1.0, 2 / 3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 12))
def test_grades_of_one_change_no_bit(seed, width, k):
    generator = torch.Generator().manual_seed(seed)
    retrieved = torch.stack([torch.randperm(15, generator=generator)[:k] for _ in range(5)])
    positives = torch.randint(-1, 15, (5, width), generator=generator)
    ones = (positives >= 0).double()

    with_grades = retrieval_metrics(retrieved, positives, [1, 3, 10], ones)

    assert with_grades == retrieval_metrics(retrieved, positives, [1, 3, 10])
