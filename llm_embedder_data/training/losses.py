"""Contrastive and distillation losses: tensors in, tensors out, whichever ranks the keys came from.

Letters: B local queries, G keys per query, K keys that a query is scored against (all ranks' keys
where they are gathered), P known positives. Scores are similarities, divided by the temperature of
the cosine where that is the similarity. Every loss has ``reduction="none"`` for one value per
query: the mean of those over the ranks is what data-parallel training averages.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "none"]


def known_positive_mask(key_id: Tensor, positive_id: Tensor) -> Tensor:
    """Which keys are a known positive of which query.

    Such a key is no negative for that query, whichever rank and row brought it.

    Args:
        key_id: ``[K]`` int64, hashes of the keys' texts.
        positive_id: ``[B, P]`` int64, hashes of all known positives of a query; 0 is padding.

    Returns:
        ``[B, K]`` bool. O(B * K * P) time, O(B * K) memory.

    >>> known_positive_mask(torch.tensor([7, 8, 9]), torch.tensor([[8, 0], [9, 7]]))
    tensor([[False,  True, False],
            [ True, False,  True]])
    """
    known = torch.zeros(len(positive_id), len(key_id), dtype=torch.bool, device=key_id.device)
    for one in positive_id.unbind(1):  # [B]; all P at once would hold B * K * P values
        known |= one[:, None] == key_id
    return known & (key_id != 0)


def has_teacher_scores(teacher: Tensor, key_mask: Tensor) -> Tensor:
    """Which queries have a teacher score for each of their keys: ``[B]`` bool.

    Args:
        teacher: ``[B, G]`` float32, NaN where there is no score.
        key_mask: ``[B, G]`` int64, 0 where a key is padding.
    """
    return ~(teacher.isnan() & key_mask.bool()).any(1)


def contrastive_loss(
    scores: Tensor, target: Tensor, excluded: Tensor, *, reduction: Reduction = "mean"
) -> Tensor:
    """InfoNCE (van den Oord et al., 2018, arXiv:1807.03748, eq. 4): own positive against the rest.

    Args:
        scores: ``[B, K]`` float32.
        target: ``[B]`` int64, the column of each query's own positive; it always competes.
        excluded: ``[B, K]`` bool, columns that are no negatives: padding and known positives.
        reduction: mean over the queries, or ``none``.

    Returns:
        A scalar, or ``[B]``.
    """
    own = target[:, None] == torch.arange(scores.shape[1], device=scores.device)  # [B, K]
    logits = scores.masked_fill(excluded & ~own, -torch.inf)
    return F.cross_entropy(logits, target, reduction=reduction)


def kl_distillation(
    student: Tensor,
    teacher: Tensor,
    key_mask: Tensor,
    *,
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """KL divergence of the student's distribution over a query's keys from its teacher's.

    As FlagEmbedding, research/llm_embedder/src/retrieval/modeling_dense.py, ``_compute_loss``. A
    query without teacher scores does not count: its value is 0, and the mean is over the others.

    Args:
        student: ``[B, G]`` float32, scores of a query's own keys.
        teacher: ``[B, G]`` float32, NaN in the row of a query without scores.
        key_mask: ``[B, G]`` int64, 0 where a key is padding.
        student_temperature: divides the student's scores.
        teacher_temperature: divides the teacher's scores.
        reduction: mean over the queries with scores, or ``none``.

    Returns:
        A scalar, or ``[B]``; it has a gradient, of zero, where no query has scores.
    """
    scored = has_teacher_scores(teacher, key_mask)
    wanted = _teacher_weights(teacher, key_mask, teacher_temperature)  # [B, G]
    student = (student / student_temperature).masked_fill(~key_mask.bool(), _floor(student))
    divergence = torch.xlogy(wanted, wanted) - wanted * student.log_softmax(1)  # [B, G]
    return _reduce(divergence.sum(1), scored, reduction)


def stable_distillation(
    scores: Tensor,
    target: Tensor,
    teacher: Tensor,
    key_mask: Tensor,
    excluded: Tensor,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """List-wise distillation: each key, best first, against all that come after it.

    As FlagEmbedding, research/llm_embedder/src/retrieval/modeling_dense.py, ``_compute_loss`` with
    ``stable_distill``: the teacher's softmax weighs, for each key i of a query, the cross entropy
    of that key among all columns but the query's keys 0 to i-1. A query without teacher scores does
    not count: its value is 0, and the mean is over the others.

    Args:
        scores: ``[B, K]`` float32.
        target: ``[B]`` int64, the column of a query's first key; its G keys follow each other,
            the positive first, then by falling teacher score.
        teacher: ``[B, G]`` float32, NaN in the row of a query without scores.
        key_mask: ``[B, G]`` int64, 0 where a key is padding.
        excluded: ``[B, K]`` bool, columns that do not compete; of a query's own keys, only those
            that are padding do not.
        reduction: mean over the queries with scores, or ``none``.

    Returns:
        A scalar, or ``[B]``. O(B * (K + G * G)) time and memory.
    """
    group_size = teacher.shape[1]
    places = torch.arange(group_size, device=scores.device)
    columns = target[:, None] + places  # [B, G]
    real, floor = key_mask.bool(), _floor(scores)

    own = scores.gather(1, columns)  # [B, G]
    others = scores.masked_fill(excluded.scatter(1, columns, True), floor).logsumexp(1)  # [B]
    follows = (places >= places[:, None]) & real[:, None, :]  # [B, G, G]: key j is i or comes later
    rest = own[:, None, :].masked_fill(~follows, floor).logsumexp(2)  # [B, G]
    cross_entropy = torch.logaddexp(others[:, None], rest) - own  # [B, G]

    weighted = _teacher_weights(teacher, key_mask, 1.0) * cross_entropy
    return _reduce(weighted.sum(1), has_teacher_scores(teacher, key_mask), reduction)


def combine(
    contrastive: Tensor,
    distillation: Tensor,
    scored: Tensor,
    *,
    contrastive_weight: float,
    distill_weight: float,
) -> Tensor:
    """The loss of each query from its two parts; no query is left untrained.

    A query with teacher scores has the weighted sum of both parts if both weights are above 0, and
    distillation alone, unweighted, if only that weight is. Every other query has the contrastive
    part alone, unweighted. These are the sums of FlagEmbedding's modeling_dense.py, per query.

    Args:
        contrastive: ``[B]``.
        distillation: ``[B]``.
        scored: ``[B]`` bool, the queries with teacher scores.
        contrastive_weight: at least 0.
        distill_weight: at least 0.

    Returns:
        ``[B]``.

    >>> parts = torch.tensor([1.0, 1.0]), torch.tensor([10.0, 10.0]), torch.tensor([True, False])
    >>> combine(*parts, contrastive_weight=0.2, distill_weight=0.5)
    tensor([5.2000, 1.0000])
    >>> combine(*parts, contrastive_weight=0.0, distill_weight=0.5)
    tensor([10.,  1.])
    """
    if distill_weight == 0:
        return contrastive
    if contrastive_weight == 0:
        return torch.where(scored, distillation, contrastive)
    both = contrastive * contrastive_weight + distillation * distill_weight
    return torch.where(scored, both, contrastive)


def _teacher_weights(teacher: Tensor, key_mask: Tensor, temperature: float) -> Tensor:
    """Softmax of the teacher over the real keys, ``[B, G]``; without NaN where scores are."""
    logits = teacher.masked_fill(teacher.isnan(), 0.0) / temperature
    return logits.masked_fill(~key_mask.bool(), _floor(teacher)).softmax(1)


def _floor(scores: Tensor) -> float:
    """The logit of what does not compete; finite, so that a row of nothing else has gradients."""
    return torch.finfo(scores.dtype).min / 4


def _reduce(rows: Tensor, counted: Tensor, reduction: Reduction) -> Tensor:
    rows = torch.where(counted, rows, 0.0)
    return rows if reduction == "none" else rows.sum() / counted.sum().clamp(min=1)
