"""A record of what a run trained on and measured, for the model card of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The data of a run, its number of steps, its settings and its metrics.

    Attributes:
        data: the run fingerprint of :class:`~llm_embedder_data.RetrievalDataModule`: everything
            that its batches depend on, including digests of the files. Empty if nothing was
            trained.
        steps: number of optimizer steps so far.
        settings: arguments of the model, by name.
        metrics: metrics of evaluations, by the names under which they were logged.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_trainer(
        cls, trainer: lightning.Trainer | None, settings: Mapping[str, Any]
    ) -> RunRecord:
        """Return the record of a trainer's run; an empty record without a trainer."""
        if trainer is None:
            return cls()
        datamodule = getattr(trainer, "datamodule", None)
        state = {} if datamodule is None or not trainer.global_step else datamodule.state_dict()
        return cls(
            data=state.get("facts", {}),
            steps=trainer.global_step,
            settings=settings,
            metrics={
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith(("val/", "test/"))
            },
        )

    @classmethod
    def of_checkpoint(cls, checkpoint: Mapping[str, Any]) -> RunRecord:
        """Return the record of the run that wrote a checkpoint.

        A checkpoint has no metrics except those that a ModelCheckpoint monitors.
        """
        states = [value for value in checkpoint.values() if isinstance(value, Mapping)]
        monitored = {
            state["monitor"]: float(state["current_score"])
            for state in checkpoint.get("callbacks", {}).values()
            if isinstance(state, Mapping)
            and state.get("monitor") is not None
            and state.get("current_score") is not None
        }
        return cls(
            data=next((state["facts"] for state in states if "facts" in state), {}),
            steps=int(checkpoint.get("global_step", 0)),
            settings=checkpoint.get("hyper_parameters", {}),
            metrics=monitored,
        )
