"""Making the batches of a step with the groups and the collator of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.plan.sampler import BatchIndex
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.inspection.batch_view.key_masks import GlobalKeys


@dataclass(frozen=True, slots=True)
class RankBatch:
    """The batch of a rank.

    Attributes:
        rank: the rank.
        groups: the chosen texts, which the collator gets.
        batch: the tensors, which the model gets.
    """

    rank: int
    groups: dict[str, Any]
    batch: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StepBatches:
    """The batches of a step.

    Attributes:
        plan: the plan of the epoch.
        step: the step.
        ranks: the batches that were asked for.
        keys: the keys of all ranks, including those whose batches were not asked for.
    """

    plan: EpochPlan
    step: int
    ranks: list[RankBatch]
    keys: GlobalKeys


def batches_of_step(
    plan: EpochPlan,
    groups: TrainGroups,
    collator: RetrievalDataCollator,
    step: int,
    rank: int | None,
) -> StepBatches:
    """Make the batch of a rank, or the batches of all ranks if ``rank`` is None.

    Raises:
        ConfigError: the plan has no such step or rank.
    """
    try:
        ranks: Sequence[int] = range(plan.num_replicas) if rank is None else [rank]
        made = []
        for number in ranks:
            chosen = groups[index_of(plan, step, number)]
            made.append(RankBatch(number, chosen, collator(chosen)))
        if len(made) == plan.num_replicas == 1:
            of_all_ranks = made[0].groups
        else:  # of the other ranks only the keys are needed, not the tokens
            of_all_ranks = groups[index_of(plan, step, None)]
    except IndexError as error:
        raise ConfigError(f"epoch={plan.epoch}: {error}") from error
    return StepBatches(plan, step, made, _keys(of_all_ranks, collator.cross))


def index_of(plan: EpochPlan, step: int, rank: int | None) -> BatchIndex:
    """Return the index of a rank's batch in the training dataset; None: of all ranks together.

    Raises:
        IndexError: the plan has no such step or rank.
    """
    planned = plan.batch(step, rank)
    rows = tuple(planned.rows.tolist())
    return BatchIndex(plan.epoch, step, planned.dataset, rows, planned.repeat)


def _keys(chosen: dict[str, Any], is_cross: bool) -> GlobalKeys:
    mask = chosen["key_mask"]
    return GlobalKeys(
        key_id=np.asarray(chosen["key_id"]).reshape(mask.shape),
        key_mask=mask,
        positive_id=chosen["positive_id"],
        query_text_id=chosen["query_text_id"],
        # A cross-encoder scores a query only against the keys of its row.
        in_batch_negatives=chosen["in_batch_negatives"] and not is_cross,
    )
