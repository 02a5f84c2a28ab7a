"""Laws of the losses, and each loss against the formula written out query by query."""

import math

import pytest
import torch
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from llm_embedder_data.training.losses import (
    combine,
    contrastive_loss,
    has_teacher_scores,
    kl_distillation,
    known_positive_mask,
    stable_distillation,
)

NAN = float("nan")
laws = tried(40)


@st.composite
def batches(draw):
    """Scores of B queries for their own B*G keys and 3 more, some padding, some without scores."""
    n_queries, group_size = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    random = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    n_keys = n_queries * group_size + 3
    key_mask = (torch.rand(n_queries, group_size, generator=random) > 0.3).long()
    key_mask[:, 0] = 1
    teacher = torch.randn(n_queries, group_size, generator=random)
    teacher[torch.rand(n_queries, generator=random) < 0.3] = NAN
    excluded = torch.rand(n_queries, n_keys, generator=random) < 0.3
    real = torch.cat([key_mask.flatten(), torch.ones(3).long()])
    return {
        "scores": (3 * torch.randn(n_queries, n_keys, generator=random)).requires_grad_(),
        "target": torch.arange(n_queries) * group_size,
        "teacher": teacher,
        "key_mask": key_mask,
        "excluded": excluded | (real == 0),
    }


def own_scores(batch):
    group = torch.arange(batch["teacher"].shape[1])
    return batch["scores"].gather(1, batch["target"][:, None] + group)


def log_sum_exp(values):
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def softmax(values):
    return [math.exp(value - log_sum_exp(values)) for value in values]


def contrastive_of_one(batch, b):
    scores, own = batch["scores"][b].tolist(), int(batch["target"][b])
    rest = [s for k, s in enumerate(scores) if k == own or not batch["excluded"][b, k]]
    return log_sum_exp(rest) - scores[own]


def kl_of_one(batch, b, student_temperature, teacher_temperature):
    real = [g for g, mask in enumerate(batch["key_mask"][b].tolist()) if mask]
    scores, teacher = own_scores(batch)[b].tolist(), batch["teacher"][b].tolist()
    p = softmax([teacher[g] / teacher_temperature for g in real])
    q = softmax([scores[g] / student_temperature for g in real])
    return sum(x * (math.log(x) - math.log(y)) for x, y in zip(p, q, strict=True))


def stable_of_one(batch, b):
    scores, first = batch["scores"][b].tolist(), int(batch["target"][b])
    group_size = batch["teacher"].shape[1]
    own = range(first, first + group_size)
    real = [g for g in range(group_size) if batch["key_mask"][b, g]]
    weights = softmax([float(batch["teacher"][b, g]) for g in real])
    loss = 0.0
    for weight, i in zip(weights, real, strict=True):
        columns = [
            k
            for k in range(len(scores))
            if (k - first in real and k - first >= i)
            or (k not in own and not batch["excluded"][b, k])
        ]
        loss += weight * (log_sum_exp([scores[k] for k in columns]) - scores[first + i])
    return loss


def mean_over_scored(batch, of_one):
    scored = [b for b, row in enumerate(batch["teacher"]) if not row.isnan().any()]
    return sum(of_one(b) for b in scored) / max(1, len(scored))


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.lists(st.lists(st.integers(0, 5), min_size=2, max_size=2), min_size=1, max_size=4),
)
@laws
def test_a_key_is_known_where_its_hash_is_among_the_positives(key_id, positive_id):
    found = known_positive_mask(torch.tensor(key_id), torch.tensor(positive_id))

    assert found.tolist() == [[k != 0 and k in row for k in key_id] for row in positive_id]


def test_no_positives_make_no_key_known():
    assert not known_positive_mask(torch.tensor([1, 2]), torch.zeros(3, 0).long()).any()


@given(batches())
@laws
def test_contrastive_loss_is_its_formula(batch):
    arguments = batch["scores"], batch["target"], batch["excluded"]
    expected = [contrastive_of_one(batch, b) for b in range(len(batch["target"]))]

    assert_close(contrastive_loss(*arguments, reduction="none"), torch.tensor(expected))
    assert_close(contrastive_loss(*arguments), torch.tensor(expected).mean())


@given(batches())
@laws
def test_an_excluded_key_has_no_say_and_no_gradient_but_the_own_positive_has(batch):
    everything = torch.ones_like(batch["excluded"])
    contrastive_loss(batch["scores"], batch["target"], batch["excluded"]).backward()

    not_own = batch["target"][:, None] != torch.arange(batch["scores"].shape[1])
    assert (batch["scores"].grad[batch["excluded"] & not_own] == 0).all()
    assert float(contrastive_loss(batch["scores"].detach(), batch["target"], everything)) == 0


@given(batches(), st.sampled_from([0.1, 1.0]), st.sampled_from([0.5, 1.0]))
@laws
def test_kl_distillation_is_its_formula(batch, teacher_temperature, student_temperature):
    temperatures = {
        "teacher_temperature": teacher_temperature,
        "student_temperature": student_temperature,
    }
    loss = kl_distillation(own_scores(batch), batch["teacher"], batch["key_mask"], **temperatures)

    expected = mean_over_scored(batch, lambda b: kl_of_one(batch, b, **temperatures))
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-4, rel=1e-4)


@given(batches())
@laws
def test_stable_distillation_is_its_formula(batch):
    loss = stable_distillation(**batch)

    expected = mean_over_scored(batch, lambda b: stable_of_one(batch, b))
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5, rel=1e-5)


def original_stable_distillation(scores, teacher):
    """FlagEmbedding's loop, on one rank: a mask that grows by one own column at a time."""
    weights, group_size = teacher.softmax(1), teacher.shape[1]
    mask, loss = torch.zeros_like(scores), 0.0
    for i in range(group_size):
        column = torch.arange(len(scores)) * group_size + i
        ce = torch.nn.functional.cross_entropy(scores + mask, column, reduction="none")
        loss = loss + (weights[:, i] * ce).mean()
        mask = mask.scatter(1, column[:, None], torch.finfo(scores.dtype).min)
    return loss


def test_without_padding_or_exclusion_it_equals_the_original_with_its_gradient():
    torch.manual_seed(0)
    scores = (5 * torch.randn(4, 12)).requires_grad_()
    teacher = torch.randn(4, 3).sort(1, descending=True).values
    ours = stable_distillation(
        scores,
        torch.arange(4) * 3,
        teacher,
        torch.ones(4, 3).long(),
        torch.zeros(4, 12).bool(),
    )
    theirs = original_stable_distillation(scores, teacher)

    assert_close(ours, theirs)
    for mine, other in zip(
        torch.autograd.grad(ours, scores), torch.autograd.grad(theirs, scores), strict=True
    ):
        assert_close(mine, other)


@given(batches())
@laws
def test_losses_of_rows_have_the_mean_that_is_given_and_zeros_for_unscored_queries(batch):
    scored = has_teacher_scores(batch["teacher"], batch["key_mask"])
    student, teacher, mask = own_scores(batch), batch["teacher"], batch["key_mask"]

    for rows, mean in (
        (
            kl_distillation(student, teacher, mask, reduction="none"),
            kl_distillation(student, teacher, mask),
        ),
        (stable_distillation(**batch, reduction="none"), stable_distillation(**batch)),
    ):
        assert (rows[~scored] == 0).all()
        assert_close(mean, rows.sum() / max(1, int(scored.sum())))


@given(batches())
@laws
def test_distillation_without_any_scores_is_zero_with_a_gradient(batch):
    batch["teacher"] = torch.full_like(batch["teacher"], NAN)
    loss = stable_distillation(**batch) + kl_distillation(
        own_scores(batch), batch["teacher"], batch["key_mask"]
    )
    (gradient,) = torch.autograd.grad(loss, batch["scores"])

    assert float(loss.detach()) == 0.0
    assert (gradient == 0).all()


@given(batches())
@laws
def test_gradients_are_finite_and_none_reaches_padding(batch):
    group_size = batch["teacher"].shape[1]
    loss = stable_distillation(**batch) + kl_distillation(
        own_scores(batch), batch["teacher"], batch["key_mask"], student_temperature=0.01
    )
    (gradient,) = torch.autograd.grad(loss, batch["scores"])

    assert gradient.isfinite().all()
    own = batch["target"][:, None] + torch.arange(group_size)
    assert (gradient.gather(1, own)[batch["key_mask"] == 0] == 0).all()


def test_a_score_missing_under_padding_does_not_unscore_a_query():
    teacher = torch.tensor([[1.0, NAN], [1.0, NAN]])

    assert has_teacher_scores(teacher, torch.tensor([[1, 0], [1, 1]])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("contrastive_weight", "distill_weight", "scored", "unscored"),
    [
        (0.2, 0.5, 0.2 * 3 + 0.5 * 7, 3.0),  # both, weighted
        (0.0, 0.5, 7.0, 3.0),  # distillation alone is not weighted
        (0.2, 0.0, 3.0, 3.0),  # neither is the contrastive loss alone
        (0.0, 0.0, 3.0, 3.0),  # no query goes untrained
    ],
)
def test_weights_are_those_of_the_original_and_every_query_is_trained(
    contrastive_weight, distill_weight, scored, unscored
):
    found = combine(
        torch.full((2,), 3.0),
        torch.full((2,), 7.0),
        torch.tensor([True, False]),
        contrastive_weight=contrastive_weight,
        distill_weight=distill_weight,
    )

    assert found.tolist() == pytest.approx([scored, unscored])
