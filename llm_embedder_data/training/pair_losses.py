"""Losses of a cross-encoder: functions of the scores of each query's keys.

Shapes: B queries with G keys each, the positive first. Scores are logits. A loss returns ``[B]``.
The list-wise loss is :func:`~llm_embedder_data.training.losses.contrastive_loss` over the keys of a
query (Gao et al., 2021, arXiv:2101.08751, eq. 3, "localized contrastive estimation").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_embedder_data.training.losses import (
    combine,
    contrastive_loss,
    has_teacher_scores,
    kl_distillation,
    stable_distillation,
)
from llm_embedder_data.training.settings import LossSettings

LabelLoss = Literal["listwise", "binary"]
Distillation = Literal["auto", "kl", "margin-mse", "stable"]


def mean_pair_loss(
    scores: Tensor,
    batch: Mapping[str, Any],
    settings: LossSettings,
    *,
    label_loss: LabelLoss,
    distillation: Distillation,
    pos_weight: float,
) -> Tensor:
    """Return the mean loss over a batch's queries, a scalar.

    Args:
        scores: ``[B, G]`` float32.
        batch: a training batch of pairs.
        settings: the loss settings of the batch's task.
        label_loss: loss of the labels; see ``CrossEncoder``.
        distillation: loss of the teacher's scores; see ``CrossEncoder``.
        pos_weight: weight of the positive in the binary loss.
    """
    teacher, mask = batch["teacher_scores"], batch["key_mask"]
    left_out = left_out_keys(mask, batch["key_id"], batch["positive_id"])
    target = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    if label_loss == "binary":
        labels = binary_loss(scores, left_out, pos_weight)
    else:
        labels = contrastive_loss(scores, target, left_out, reduction="none")
    if teacher is None:
        return labels.mean()
    temperatures = {
        "student_temperature": settings.student_temperature,
        "teacher_temperature": settings.teacher_temperature,
    }
    if distillation == "margin-mse":
        of_teacher = margin_mse(scores, teacher, mask, **temperatures)
    elif distillation == "stable" or (distillation == "auto" and settings.stable_distill):
        of_teacher = stable_distillation(scores, target, teacher, mask, mask == 0, reduction="none")
    else:
        of_teacher = kl_distillation(scores, teacher, mask, reduction="none", **temperatures)
    return combine(
        labels,
        of_teacher,
        has_teacher_scores(teacher, mask),
        contrastive_weight=settings.contrastive_weight,
        distill_weight=settings.distill_weight,
    ).mean()


def left_out_keys(key_mask: Tensor, key_id: Tensor, positive_id: Tensor) -> Tensor:
    """Return which keys do not count as negatives: padding, and other known positives.

    Args:
        key_mask: ``[B, G]`` int64, 0 where a key is padding.
        key_id: ``[B*G]`` int64, hashes of the keys' texts.
        positive_id: ``[B, P]`` int64, hashes of all known positives of each query, padded with 0.

    Returns:
        ``[B, G]`` bool; always False for the first key, which is the positive to train on.

    >>> left_out_keys(
    ...     torch.tensor([[1, 1, 1, 0]]), torch.tensor([7, 8, 9, 5]), torch.tensor([[7, 9]])
    ... )
    tensor([[False, False,  True,  True]])
    """
    ids = key_id.view_as(key_mask)
    known = (ids[:, :, None] == positive_id[:, None, :]).any(2) & (ids != 0)
    known[:, 0] = False
    return known | (key_mask == 0)


def binary_loss(scores: Tensor, left_out: Tensor, pos_weight: float = 1.0) -> Tensor:
    """Return the mean binary cross entropy of each query's keys, the first labelled 1.

    Args:
        scores: ``[B, G]`` float32.
        left_out: ``[B, G]`` bool, keys that do not count.
        pos_weight: multiplies the term of the positive.

    Returns:
        ``[B]``.
    """
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1.0
    terms = F.binary_cross_entropy_with_logits(
        scores, labels, pos_weight=scores.new_tensor(pos_weight), reduction="none"
    )
    counted = ~left_out
    return terms.masked_fill(left_out, 0.0).sum(1) / counted.sum(1).clamp(min=1)


def margin_mse(
    student: Tensor,
    teacher: Tensor,
    key_mask: Tensor,
    *,
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
) -> Tensor:
    """Return the mean squared error of each query's margins, positive minus negative.

    Follows Hofstätter et al., 2020, arXiv:2010.02666, eq. 3, over all negatives of a query.

    Args:
        student: ``[B, G]`` float32, the model's scores.
        teacher: ``[B, G]`` float32, NaN in the row of a query without scores.
        key_mask: ``[B, G]`` int64, 0 where a key is padding.
        student_temperature: divides the student's scores.
        teacher_temperature: divides the teacher's scores.

    Returns:
        ``[B]``, 0 for a query without teacher scores or without a negative.
    """
    known = has_teacher_scores(teacher, key_mask)
    teacher = teacher.masked_fill(teacher.isnan(), 0.0) / teacher_temperature
    student = student / student_temperature
    error = (student[:, :1] - student) - (teacher[:, :1] - teacher)  # [B, G], 0 for the positive
    real = key_mask.bool()
    mean = error.masked_fill(~real, 0.0).square().sum(1) / real[:, 1:].sum(1).clamp(min=1)
    return mean.masked_fill(~known, 0.0)
