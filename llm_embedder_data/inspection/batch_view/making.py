"""Making the batches of a step in the same way as training makes them."""

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
        rank: number of the rank, from 0.
        groups: the chosen texts, which the collator takes.
        batch: the batch that the collator makes of them, which the model takes.
    """

    rank: int
    groups: dict[str, Any]
    batch: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StepBatches:
    """The batches of a step.

    Attributes:
        plan: the plan of the epoch.
        step: number of the step, from 0.
        ranks: the batches of the requested ranks.
        keys: the keys of all ranks, whether their batches were requested or not.
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
    """Make the batches of a step.

    Args:
        plan: the plan of the epoch.
        groups: chooses the keys of rows, as in training.
        collator: the run's collator.
        step: number of the step, from 0.
        rank: the rank whose batch to make; None: the batches of all ranks.

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
    """Return the index by which the training groups give a rank's part of a step.

    Args:
        plan: the plan of the epoch.
        step: number of the step, from 0.
        rank: the rank; None: the global batch, the rows of all ranks together.

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
