"""The data module's part of a checkpoint: where a run stands, and what its batches depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import xxhash

from llm_embedder_data.batches.plan import EpochPlan
from llm_embedder_data.config import ConfigError
from llm_embedder_data.recipes import Instruction
from llm_embedder_data.rows.builders import TrainSet

STATE_VERSION = 1

# Arguments that every batch depends on, beside what is said of each dataset.
_OF_ALL = (
    "seed",
    "train_group_size",
    "organize_method",
    "remainder",
    "length_window",
    "query_max_length",
    "key_max_length",
    "cross",
)


class EpochClock:
    """Where a Lightning fit stands in the plan, whatever Lightning counts.

    Lightning 2.6.6 miscounts in two cases. A fit that resumes at an epoch's end with ``max_steps``
    and no ``max_epochs`` passes through an epoch without a batch, and counts one too many from then
    on. One that resumes from an epoch's last step, before the epoch's end, counts one too few, and
    a later resume begins its epoch at step 0 once more. Here an epoch counts only when something
    was trained on in it, and its steps are the batches trained on since it was announced.

    Args:
        trainer: that fits.
        start: (epoch, step) at which it begins.
    """

    def __init__(self, trainer: Any, start: tuple[int, int] = (0, 0)) -> None:
        self.trainer = trainer
        self.is_over = False
        self._start = start
        self._epoch = start[0]
        self._announced: int | None = None
        self._n_trained = 0

    def epoch_of(self, announced: int) -> int:
        """The plan's epoch, as the trainer announces one of its own."""
        n_trained = self._total_trained()
        if self._announced not in (None, announced) and n_trained != self._n_trained:
            self._epoch += 1
        self._announced, self._n_trained = announced, n_trained
        return self._epoch

    def position(self) -> tuple[int, int]:
        """(epoch, step) of the first batch that was not trained on.

        A batch whose training step did not end is not counted, as Lightning does not count it when
        it restarts. The end of an epoch, which ``limit_train_batches`` may bring forward, is the
        beginning of the next; where ``max_steps`` ended a run inside an epoch, a longer run goes on
        inside it.
        """
        first = self._start[1] if self._epoch == self._start[0] else 0
        if self._announced is None or self._total_trained() == self._n_trained:
            return self._epoch, first
        step = first + self._total_trained() - self._n_trained
        return (
            (self._epoch + 1, 0)
            if step >= self.trainer.num_training_batches
            else (self._epoch, step)
        )

    def _total_trained(self) -> int:
        total: int = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed
        return total


def batch_facts(
    train_sets: Iterable[TrainSet],
    plan: EpochPlan,
    arguments: Mapping[str, Any],
    instructions: Mapping[str, Instruction],
) -> dict[str, Any]:
    """What training batches are a function of, by name, in plain Python.

    Args:
        train_sets: in their order, which the plan depends on.
        plan: of any epoch.
        arguments: of the data module.
        instructions: by task.
    """
    facts: dict[str, Any] = {name: arguments[name] for name in _OF_ALL}
    facts["instructions"] = {task: asdict(one) for task, one in instructions.items()}
    facts["datasets"] = list(plan.sizes)
    for one in train_sets:
        settings = asdict(one.settings)
        settings.pop("asked")  # who chose a setting changes no batch
        facts[f"dataset {one.name}"] = {
            "task": one.task,
            "files": list(one.digests),
            "rows kept": len(one.kept),
            "rows digest": xxhash.xxh3_64_hexdigest(one.kept.tobytes()),
            "global batch": plan.batch_size[one.name] * plan.num_replicas,
            "steps": plan.steps.get(one.name, 0),
            "weight": one.weight,
            "in_batch_negatives": one.in_batch_negatives,
            "settings": settings,
        }
    return facts


def make_state(position: tuple[int, int], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Plain Python, so that it loads with torch's default ``weights_only``."""
    epoch, step = position
    return {"version": STATE_VERSION, "epoch": epoch, "step": step, "facts": dict(facts)}


def read_state(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """A state that this version understands; None for the empty one of a run that never trained.

    Raises:
        ConfigError: a state of a later version.
    """
    if not state:
        return None
    if state["version"] > STATE_VERSION:
        raise ConfigError(
            f"the checkpoint's data state has version {state['version']}, this package reads up to "
            f"{STATE_VERSION} (install a later llm_embedder_data)"
        )
    return dict(state)


def check_same_run(state: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to go on with other data or settings: the batches would not be those that are missing.

    Raises:
        ConfigError: every difference, the checkpoint's side and this run's on lines of their own.
    """
    differences = [
        f"{name}\n  checkpoint: {before!r}\n  this run:   {now!r}"
        for name, before, now in different_facts(state["facts"], facts)
    ]
    if differences:
        raise ConfigError(
            "this run does not continue the checkpoint's batches:\n"
            + "\n".join(differences)
            + "\n(give the same data and settings; or start anew from the weights alone)"
        )


def different_facts(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, one side, other side) of each fact that differs; 'absent' where a side has none."""
    flat, other_flat = _flat(one), _flat(other)
    return [
        (name, flat.get(name, "absent"), other_flat.get(name, "absent"))
        for name in sorted({*flat, *other_flat})
        if flat.get(name, "absent") != other_flat.get(name, "absent")
    ]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        path = f"{prefix}{name}"
        flat |= _flat(value, f"{path}, ") if isinstance(value, Mapping) else {path: value}
    return flat
