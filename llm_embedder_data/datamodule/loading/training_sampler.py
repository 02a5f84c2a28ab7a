"""The sampler of a training loader."""

from __future__ import annotations

from lightning.pytorch import Trainer

from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.sampler import OverfitSampler, SameTaskSampler
from llm_embedder_data.datamodule.resume.fit_position import FitStart
from llm_embedder_data.rows.streaming.streamed_texts import STEPS_AHEAD


def training_sampler(
    begin: FitStart, groups: TrainGroups, rank: int, trainer: Trainer | None
) -> SameTaskSampler:
    """Return the sampler that hands this rank its share of each step.

    Args:
        begin: where the fit begins.
        groups: the training groups that the loader reads.
        rank: the rank of this process.
        trainer: the trainer that fits; None in a custom loop.
    """
    overfits = trainer is not None and trainer.overfit_batches > 0  # type: ignore[attr-defined]
    return (OverfitSampler if overfits else SameTaskSampler)(
        begin.plan,
        rank=rank,
        start=begin.start,
        place_of=begin.place_of,
        fetch_ahead=groups.fetch_ahead if groups.is_streamed else None,
        steps_ahead=STEPS_AHEAD,
    )
