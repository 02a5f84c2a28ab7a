"""The training loss of a batch of embeddings, and the keys that a query is scored against.

B queries have G keys each. K is the number of keys that a query is scored against: ``B * G``, or
``W * B * G`` if the keys of W ranks are gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llm_embedder_data.training.losses import (
    combine,
    contrastive_loss,
    has_teacher_scores,
    kl_distillation,
    known_positive_mask,
    likely_positives,
    reverse_contrastive_loss,
    same_query_mask,
    stable_distillation,
)
from llm_embedder_data.training.matryoshka import WeightedDimension, truncated
from llm_embedder_data.training.settings import LossSettings


class CompetingKeys(NamedTuple):
    """The keys that this rank's queries are scored against.

    Attributes:
        keys: ``[K, D]``, the embeddings.
        target: ``[B]`` int64, the column of each query's positive, the first key of its row.
        excluded: ``[B, K]`` bool, columns that are not negatives of a query: its known positives,
            the positives of the same query in other rows, padding, and, without in-batch negatives,
            the keys of other queries.
    """

    keys: Tensor
    target: Tensor
    excluded: Tensor


def competing_keys(
    batch: Mapping[str, Any],
    key: Tensor,
    *,
    rank: int = 0,
    all_gather: Callable[..., Any] | None = None,
) -> CompetingKeys:
    """Return the keys that this rank's queries are scored against.

    Args:
        batch: this rank's training batch.
        key: ``[B*G, D]``, the embeddings of this rank's keys.
        rank: index of this rank.
        all_gather: Lightning's ``all_gather``, to score against the keys of all ranks; None to
            score against this rank's keys.
    """
    keys = key
    n_queries, group_size = batch["key_mask"].shape
    of_keys = [batch["key_id"], batch["key_mask"].flatten()]  # [K] each
    query_id = batch.get("query_text_id")  # None in batches from elsewhere
    if query_id is not None:
        of_keys.append(query_id.repeat_interleave(group_size))
    query_index = torch.arange(n_queries, device=key.device)
    target = query_index * group_size
    if all_gather is not None:
        # The backward pass sums the gradients of all ranks with respect to this rank's keys. DDP
        # then divides by the number of ranks, which gives the mean over the global batch.
        keys = all_gather(key, sync_grads=True).flatten(0, 1)
        gathered = all_gather(torch.stack(of_keys))  # [W, 2 or 3, B*G]
        of_keys = list(gathered.transpose(0, 1).flatten(1))
        target = target + rank * len(key)
    key_id, real, *query_of_key = of_keys
    excluded = known_positive_mask(key_id, batch["positive_id"]) | (real == 0)
    if query_id is not None:
        every_query_id = query_of_key[0][::group_size]
        positive = key_id[::group_size].contiguous()
        excluded |= same_query_mask(query_id, every_query_id, positive, key_id)
    if not batch["in_batch_negatives"]:
        row_of_key = torch.arange(len(keys), device=key.device) // group_size
        excluded |= row_of_key != query_index[:, None]
    return CompetingKeys(keys, target, excluded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The parts of the loss that are the same for all tasks.

    Attributes:
        dimensions: leading dimensions of the embeddings, each with the weight of its loss.
        normalize: whether truncated embeddings are scaled to length 1.
        false_negative_margin: see ``BiEncoder``.
        symmetric: see ``BiEncoder``.
    """

    dimensions: Sequence[WeightedDimension]
    normalize: bool
    false_negative_margin: float | None = None
    symmetric: bool = False


class BatchLoss(NamedTuple):
    """The loss of a batch, and the number of keys that it leaves out.

    Attributes:
        loss: mean over this rank's queries, a scalar.
        likely_positives: mean number of keys per query that ``false_negative_margin`` leaves out, a
            scalar without gradient; None without a margin.
    """

    loss: Tensor
    likely_positives: Tensor | None


def loss_of_embeddings(
    query: Tensor,
    competing: CompetingKeys,
    batch: Mapping[str, Any],
    settings: LossSettings,
    objective: Objective,
    *,
    temperature: float,
    all_gather: Callable[..., Any] | None = None,
) -> BatchLoss:
    """Return the loss of a batch from its embeddings.

    Args:
        query: ``[B, D]``, the queries' embeddings.
        competing: the keys to score them against.
        batch: this rank's training batch.
        settings: the loss settings of the batch's task.
        objective: the parts of the loss that do not depend on the task.
        temperature: divides the similarities.
        all_gather: the argument of :func:`competing_keys`.
    """
    losses: list[Tensor] = []
    left_out = None
    for width, weight in objective.dimensions:
        cut_query, cut_keys = (
            truncated(side, width, normalize=objective.normalize)
            for side in (query, competing.keys)
        )
        similarity = cut_query @ cut_keys.T  # [B, K]
        if objective.false_negative_margin is not None and not losses:
            # Decide once, with the full width, which comes first and is the most accurate.
            group_size, margin = batch["key_mask"].shape[1], objective.false_negative_margin
            likely = likely_positives(similarity, competing.target, group_size, margin)
            left_out = (likely & ~competing.excluded).sum(1).float().mean()
            competing = CompetingKeys(competing.keys, competing.target, competing.excluded | likely)
        reverse = None
        if objective.symmetric and batch["in_batch_negatives"]:
            reverse = _reverse(similarity / temperature, competing, batch, all_gather)
        losses.append(
            weight * mean_loss(similarity / temperature, competing, batch, settings, reverse)
        )
    return BatchLoss(torch.stack(losses).sum(), left_out)


def _reverse(
    scores: Tensor,
    competing: CompetingKeys,
    batch: Mapping[str, Any],
    all_gather: Callable[..., Any] | None,
) -> Tensor:
    """Return the loss of each of this rank's positive keys against the queries, ``[B]``.

    Each rank has only the scores of its own queries. For each positive key, the ranks exchange the
    log-sum-exp over their queries, so they need not exchange embeddings or ids of queries.
    """
    group_size = batch["key_mask"].shape[1]
    return reverse_contrastive_loss(
        scores[:, ::group_size],
        competing.target // group_size,
        competing.excluded[:, ::group_size],
        all_gather=None if all_gather is None else lambda x: all_gather(x, sync_grads=True),
    )


def mean_loss(
    scores: Tensor,
    competing: CompetingKeys,
    batch: Mapping[str, Any],
    settings: LossSettings,
    reverse: Tensor | None = None,
) -> Tensor:
    """Return the mean loss over this rank's queries, a scalar.

    Args:
        scores: ``[B, K]`` float32, queries against the competing keys, divided by the temperature.
        competing: the keys, which are the columns of ``scores``.
        batch: this rank's training batch.
        settings: the loss settings of the batch's task.
        reverse: ``[B]``, the contrastive loss of each query's positive against all queries, which
            is averaged with the contrastive loss of the query; None if the loss is not symmetric.
    """
    _, target, excluded = competing
    key_mask, teacher = batch["key_mask"], batch["teacher_scores"]
    contrastive = contrastive_loss(scores, target, excluded, reduction="none")
    if reverse is not None:
        contrastive = (contrastive + reverse) / 2
    if teacher is None:
        return contrastive.mean()
    if settings.stable_distill:
        distillation = stable_distillation(
            scores, target, teacher, key_mask, excluded, reduction="none"
        )
    else:
        group = torch.arange(key_mask.shape[1], device=target.device)
        distillation = kl_distillation(
            scores.gather(1, target[:, None] + group),  # [B, G]
            teacher,
            key_mask,
            student_temperature=settings.student_temperature,
            teacher_temperature=settings.teacher_temperature,
            reduction="none",
        )
    return combine(
        contrastive,
        distillation,
        has_teacher_scores(teacher, key_mask),
        contrastive_weight=settings.contrastive_weight,
        distill_weight=settings.distill_weight,
    ).mean()
