"""Symmetric loss and the margin of likely false negatives, against formulas written out."""

import pytest
import torch
import torch.nn.functional as F
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from training_cases import Batches, quiet_trainer, texts, tiny_bert, training_batch

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.training.bi_encoder import BiEncoder
from llm_embedder_data.training.losses import likely_positives, reverse_contrastive_loss

laws = tried(40)
TEMPERATURE = 0.5


def cosines(batch):
    model = BiEncoder(tiny_bert())
    return model.encode(batch["query"]) @ model.encode(batch["key"]).T  # [4, 12]


def known_and_padded(batch):
    known = (batch["positive_id"][:, :, None] == batch["key_id"]).any(1)
    return known | (batch["key_mask"].flatten() == 0)


def test_the_symmetric_loss_scores_each_positive_against_the_queries_too():
    batch = training_batch()
    batch["positive_id"][2, 1] = batch["key_id"][0]  # key 0, query 0's positive, answers query 2
    scores, excluded = cosines(batch) / TEMPERATURE, known_and_padded(batch)

    terms = []
    for i in range(4):
        rivals = [j for j in range(12) if j == 3 * i or not excluded[i, j]]
        forward = torch.logsumexp(scores[i, rivals], 0) - scores[i, 3 * i]
        queries = [j for j in range(4) if j == i or not excluded[j, 3 * i]]
        backward = torch.logsumexp(scores[queries, 3 * i], 0) - scores[i, 3 * i]
        terms.append((forward + backward) / 2)
        assert (2 in queries) == (i != 0)

    model = BiEncoder(tiny_bert(), temperature=TEMPERATURE, symmetric=True)
    assert_close(model.loss(batch), torch.stack(terms).mean())


def test_without_in_batch_negatives_there_are_no_queries_to_score():
    batch = training_batch(in_batch_negatives=False)
    losses = [
        BiEncoder(tiny_bert(), temperature=TEMPERATURE, symmetric=one).loss(batch)
        for one in (True, False)
    ]

    assert_close(*losses)


def test_symmetric_training_with_teacher_scores_weighs_the_averaged_loss():
    batch = training_batch("both")
    weights = {"contrastive_weight": 2.0, "distill_weight": 0.5}

    def loss(**more):
        return BiEncoder(tiny_bert(), temperature=TEMPERATURE, **more).loss(batch)

    contrastive = {
        symmetric: BiEncoder(tiny_bert(), temperature=TEMPERATURE, symmetric=symmetric).loss(
            {**batch, "teacher_scores": None}
        )
        for symmetric in (False, True)
    }
    # One query of four has no teacher scores: its loss has weight 1, not 2.
    alone = {**batch, "teacher_scores": torch.full_like(batch["teacher_scores"], torch.nan)}
    for symmetric in (False, True):
        model = BiEncoder(tiny_bert(), temperature=TEMPERATURE, symmetric=symmetric, **weights)
        assert_close(model.loss(alone), contrastive[symmetric])
    assert loss(symmetric=True, **weights) != loss(**weights)


@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 10_000),
    st.lists(st.booleans(), min_size=75, max_size=75),
)
@laws
def test_columns_may_be_summed_in_parts(n_queries, n_ranks, seed, excluded):
    random = torch.Generator().manual_seed(seed)
    n_all = n_queries * n_ranks
    scores = torch.randn(n_all, n_all, generator=random, dtype=torch.float64)
    flags = torch.tensor((excluded * 4)[: n_all * n_all]).view(n_all, n_all)
    target = torch.arange(n_all)
    whole = reverse_contrastive_loss(scores, target, flags)
    floor = torch.finfo(scores.dtype).min / 4
    masked = scores.masked_fill(flags & ~torch.eye(n_all, dtype=torch.bool), floor)
    parts = masked.view(n_ranks, n_queries, n_all).logsumexp(1)  # [W, P], of each rank's queries

    for rank in range(n_ranks):
        here = slice(rank * n_queries, (rank + 1) * n_queries)
        part = reverse_contrastive_loss(
            scores[here], target[here], flags[here], all_gather=lambda _: parts
        )
        assert_close(part, whole[here])
    assert (whole >= -1e-9).all()


@pytest.mark.parametrize("margin", [-0.2, 0.0, 0.1, 5.0])
def test_keys_above_the_margin_are_left_out_and_a_querys_own_are_not(margin):
    batch = training_batch()
    cosine, excluded = cosines(batch), known_and_padded(batch)
    left_out = 0
    for i in range(4):
        for j in range(12):
            if j // 3 != i and cosine[i, j] > cosine[i, 3 * i] + margin:
                left_out += not excluded[i, j]
                excluded[i, j] = True
        excluded[i, 3 * i] = False
    scores = (cosine / TEMPERATURE).masked_fill(excluded, -torch.inf)

    model = BiEncoder(tiny_bert(), temperature=TEMPERATURE, false_negative_margin=margin)
    assert_close(model.loss(batch), F.cross_entropy(scores, torch.arange(4) * 3))
    assert (left_out > 0) == (margin < 5)


def test_no_gradient_flows_through_the_margin():
    similarity = torch.tensor([[0.5, 0.9, 0.7, 0.55]], requires_grad=True)

    assert not likely_positives(similarity, torch.tensor([0]), 2, 0.1).requires_grad


@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 10_000))
@laws
def test_a_larger_margin_leaves_out_fewer_keys(one, other, seed):
    similarity = torch.rand(3, 12, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    target = torch.tensor([0, 4, 8])
    least, most = sorted((one, other))
    few = likely_positives(similarity, target, 4, most)
    many = likely_positives(similarity, target, 4, least)

    assert not (few & ~many).any()


def test_the_share_of_keys_that_were_left_out_is_logged():
    trainer = quiet_trainer(max_epochs=1)
    model = BiEncoder(tiny_bert(), false_negative_margin=-2.5)  # all keys of other queries
    trainer.fit(model, datamodule=Batches([training_batch()]))

    # 4 queries against 12 keys, of which 3 are their own, 1 is padding and 1 answers query 0 too.
    of_others = 4 * 9 - 3 - 1
    assert float(trainer.callback_metrics["train/likely_positives"]) == pytest.approx(of_others / 4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"mini_batch_size": 0}, r"model\.mini_batch_size=0: expected an integer above 0"),
        ({"mini_batch_size": 2.5}, r"model\.mini_batch_size=2\.5: expected an integer above 0"),
        (
            {"false_negative_margin": float("nan")},
            r"model\.false_negative_margin=nan: expected a number, or null",
        ),
    ],
)
def test_a_wrong_setting_is_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        BiEncoder(tiny_bert(), **setting)


def test_a_loss_without_gradients_needs_no_cache():
    batch = {**training_batch(), "query": texts(4, 1)}
    with torch.no_grad():
        small = BiEncoder(tiny_bert(), mini_batch_size=3).loss(batch)

        assert_close(small, BiEncoder(tiny_bert()).loss(batch))
