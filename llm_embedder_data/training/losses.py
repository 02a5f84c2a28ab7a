"""Contrastive and distillation losses: functions of tensors, independent of ranks and models.

Shapes: B queries of this rank, G keys per query, K keys that a query is scored against (the keys of
all ranks if they were gathered), P known positives. Scores are similarities; cosines are divided by
the temperature already. With ``reduction="none"`` a loss returns one value per query.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "none"]


def known_positive_mask(key_id: Tensor, positive_id: Tensor) -> Tensor:
    """Return whether each key is a known positive of each query.

    A known positive must not be a negative of the query, whichever rank and row it comes from.

    Args:
        key_id: ``[K]`` int64, hashes of the keys' texts.
        positive_id: ``[B, P]`` int64, hashes of all known positives of each query, padded with 0.

    Returns:
        ``[B, K]`` bool. Takes O(B * K * P) time and O(B * K) memory.

    >>> known_positive_mask(torch.tensor([7, 8, 9]), torch.tensor([[8, 0], [9, 7]]))
    tensor([[False,  True, False],
            [ True, False,  True]])
    """
    known = torch.zeros(len(positive_id), len(key_id), dtype=torch.bool, device=key_id.device)
    # Compare column by column: a single comparison would need memory for B * K * P values.
    for positive in positive_id.unbind(1):  # [B]
        known |= positive[:, None] == key_id
    return known & (key_id != 0)


def same_query_mask(
    query_id: Tensor, every_query_id: Tensor, positive: Tensor, key_id: Tensor
) -> Tensor:
    """Return whether each key is the positive of a query with the same text, in any row.

    Several rows may hold the same query with different positives. The positive of one row then
    answers the query in the other rows too, so it must not be a negative there.

    Args:
        query_id: ``[B]`` int64, hashes of the texts of some queries.
        every_query_id: ``[R]`` int64, hashes of the texts of all queries of the batch.
        positive: ``[R]`` int64, hashes of the positives of all queries of the batch.
        key_id: ``[K]`` int64, hashes of the keys' texts; must include every positive.

    Returns:
        ``[B, K]`` bool. Takes O(B * (K + R)) time and memory.

    >>> queries, positives = torch.tensor([1, 1, 2]), torch.tensor([7, 8, 9])
    >>> same_query_mask(queries[:2], queries, positives, torch.tensor([7, 8, 9]))
    tensor([[ True,  True, False],
            [ True,  True, False]])
    """
    sorted_id = key_id.sort().values
    place = torch.searchsorted(sorted_id, key_id)  # [K], the same for equal keys
    same = query_id[:, None] == every_query_id  # [B, R]
    # Count, for each query and key, the rows in which the key is the query's positive; it only
    # matters whether there are any. Listing such pairs would make the host wait for the device.
    shape, dtype = (len(query_id), len(key_id)), torch.bfloat16
    known = torch.zeros(shape, dtype=dtype, device=key_id.device)
    known.index_add_(1, torch.searchsorted(sorted_id, positive), same.to(dtype))
    return known[:, place] > 0


def has_teacher_scores(teacher: Tensor, key_mask: Tensor) -> Tensor:
    """Return which queries have teacher scores for all their keys: ``[B]`` bool.

    Args:
        teacher: ``[B, G]`` float32, NaN where there is no score.
        key_mask: ``[B, G]`` int64, 0 where a key is padding.
    """
    return ~(teacher.isnan() & key_mask.bool()).any(1)


def contrastive_loss(
    scores: Tensor, target: Tensor, excluded: Tensor, *, reduction: Reduction = "mean"
) -> Tensor:
    """Return InfoNCE (van den Oord et al., 2018, arXiv:1807.03748, eq. 4).

    It is the cross entropy of each query's positive among all columns that are not excluded.

    Args:
        scores: ``[B, K]`` float32.
        target: ``[B]`` int64, the column of each query's positive; it is never excluded.
        excluded: ``[B, K]`` bool, columns to leave out: padding and known positives.
        reduction: ``mean`` over the queries, or ``none``.

    Returns:
        A scalar, or ``[B]``.
    """
    is_target = target[:, None] == torch.arange(scores.shape[1], device=scores.device)  # [B, K]
    logits = scores.masked_fill(excluded & ~is_target, -torch.inf)
    return F.cross_entropy(logits, target, reduction=reduction)


def reverse_contrastive_loss(
    scores: Tensor,
    target: Tensor,
    excluded: Tensor,
    *,
    all_gather: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return InfoNCE from keys to queries: for each positive key, its query against all others.

    Together with :func:`contrastive_loss` this is the symmetric loss of CLIP (Radford et al., 2021,
    arXiv:2103.00020, figure 3).

    Args:
        scores: ``[B, P]`` float32, this rank's queries against the positive keys of all ranks.
        target: ``[B]`` int64, the column of each query's positive; it is never excluded.
        excluded: ``[B, P]`` bool, pairs to leave out, because the positive answers that query too.
        all_gather: gathers a ``[P]`` tensor of each of W ranks into ``[W, P]``, and sums the
            gradients in the backward pass; None: this rank has all queries.

    Returns:
        ``[B]``, the loss of each query's positive key.
    """
    is_target = target[:, None] == torch.arange(scores.shape[1], device=scores.device)  # [B, P]
    # Use a finite value, so that a key that answers all queries of a rank gives no NaN.
    logits = scores.masked_fill(excluded & ~is_target, _floor(scores))
    total = logits.logsumexp(0)  # [P], over this rank's queries
    if all_gather is not None:
        total = all_gather(total).logsumexp(0)
    return total[target] - scores.gather(1, target[:, None])[:, 0]


def likely_positives(similarity: Tensor, target: Tensor, group_size: int, margin: float) -> Tensor:
    """Return which keys of other queries are so similar to a query that they probably answer it.

    These are the keys whose similarity exceeds that of the query's positive by more than a margin,
    as in Qwen3-Embedding (Zhang et al., 2025, arXiv:2506.05176, eq. 2, with margin 0.1). The keys
    of the query's own row are never included, because they were chosen as its negatives.

    Args:
        similarity: ``[B, K]``, not divided by a temperature. No gradient flows through it.
        target: ``[B]`` int64, the column of each query's positive, followed by the other keys of
            its row.
        group_size: G, number of keys of a row.
        margin: a difference of similarities. With a negative margin, keys that score less than the
            positive, by up to ``-margin``, are included.

    Returns:
        ``[B, K]`` bool.

    >>> similarity = torch.tensor([[0.5, 0.9, 0.7, 0.55]])
    >>> likely_positives(similarity, torch.tensor([0]), 2, 0.1)
    tensor([[False, False,  True, False]])
    """
    similarity = similarity.detach()
    positive = similarity.gather(1, target[:, None])  # [B, 1]
    column = torch.arange(similarity.shape[1], device=similarity.device)
    of_row = (column >= target[:, None]) & (column < target[:, None] + group_size)  # [B, K]
    return (similarity > positive + margin) & ~of_row


def kl_distillation(
    student: Tensor,
    teacher: Tensor,
    key_mask: Tensor,
    *,
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return KL(teacher || student) of the softmax over each query's keys.

    Follows FlagEmbedding, research/llm_embedder/src/retrieval/modeling_dense.py, ``_compute_loss``.
    A query without teacher scores has the value 0 and does not count in the mean.

    Args:
        student: ``[B, G]`` float32, the model's scores of the keys of each query's row.
        teacher: ``[B, G]`` float32, NaN in the row of a query without scores.
        key_mask: ``[B, G]`` int64, 0 where a key is padding.
        student_temperature: divides the student's scores.
        teacher_temperature: divides the teacher's scores.
        reduction: ``mean`` over the queries with scores, or ``none``.

    Returns:
        A scalar, or ``[B]``. If no query has scores, its gradient is zero.
    """
    scored = has_teacher_scores(teacher, key_mask)
    weights = _teacher_weights(teacher, key_mask, teacher_temperature)  # [B, G]
    student = (student / student_temperature).masked_fill(~key_mask.bool(), _floor(student))
    divergence = torch.xlogy(weights, weights) - weights * student.log_softmax(1)  # [B, G]
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
    """Return list-wise distillation: each key of a query against the keys ranked below it.

    Follows FlagEmbedding, research/llm_embedder/src/retrieval/modeling_dense.py, ``_compute_loss``
    with ``stable_distill``. For each key i of a query, take the cross entropy of that key among all
    columns except the query's keys 0 to i-1. Sum these, weighted by the teacher's softmax. A query
    without teacher scores has the value 0 and does not count in the mean.

    Args:
        scores: ``[B, K]`` float32.
        target: ``[B]`` int64, the column of each query's positive. The G keys of its row are
            consecutive: the positive, then the others by descending teacher score.
        teacher: ``[B, G]`` float32, NaN in the row of a query without scores.
        key_mask: ``[B, G]`` int64, 0 where a key is padding.
        excluded: ``[B, K]`` bool, columns to leave out. It does not apply to the keys of the
            query's row, which are left out only if they are padding.
        reduction: ``mean`` over the queries with scores, or ``none``.

    Returns:
        A scalar, or ``[B]``. Takes O(B * (K + G * G)) time and memory.
    """
    group_size = teacher.shape[1]
    position = torch.arange(group_size, device=scores.device)
    columns = target[:, None] + position  # [B, G]
    real, floor = key_mask.bool(), _floor(scores)

    group = scores.gather(1, columns)  # [B, G]
    others = scores.masked_fill(excluded.scatter(1, columns, True), floor).logsumexp(1)  # [B]
    follows = (position >= position[:, None]) & real[:, None, :]  # [B, G, G]: key j is i or later
    rest = group[:, None, :].masked_fill(~follows, floor).logsumexp(2)  # [B, G]
    cross_entropy = torch.logaddexp(others[:, None], rest) - group  # [B, G]

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
    """Combine the two losses of each query, so that every query is trained.

    - A query with teacher scores, both weights above 0: the weighted sum of both losses.
    - A query with teacher scores, only ``distill_weight`` above 0: distillation, unweighted.
    - Any other query: the contrastive loss, unweighted.

    Follows FlagEmbedding's modeling_dense.py, but decides for each query rather than for the batch.

    Args:
        contrastive: ``[B]``, the contrastive loss of each query.
        distillation: ``[B]``, the distillation loss of each query.
        scored: ``[B]`` bool, which queries have teacher scores.
        contrastive_weight: weight of the contrastive loss, at least 0.
        distill_weight: weight of the distillation loss, at least 0.

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
    """Return the softmax of the teacher's scores over the real keys, ``[B, G]``, without NaN."""
    logits = teacher.masked_fill(teacher.isnan(), 0.0) / temperature
    return logits.masked_fill(~key_mask.bool(), _floor(teacher)).softmax(1)


def _floor(scores: Tensor) -> float:
    """Return the logit of excluded columns: finite, so that a fully excluded row gives no NaN."""
    return torch.finfo(scores.dtype).min / 4


def _reduce(losses: Tensor, counted: Tensor, reduction: Reduction) -> Tensor:
    losses = torch.where(counted, losses, 0.0)
    return losses if reduction == "none" else losses.sum() / counted.sum().clamp(min=1)
