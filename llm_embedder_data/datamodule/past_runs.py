"""Past runs, reconstructed from checkpoints: data module, number of ranks, plan of any step."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import cause, one_line
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.datamodule.resume.checkpoint_state import read_state, rest_of_epoch
from llm_embedder_data.datamodule.resume.run_fingerprint import (
    AtResume,
    differences_at_resume,
    global_batches,
    steps_of_epoch,
)
from llm_embedder_data.datamodule.resume.state_checks import check_unchanged, entry_shown


@dataclass(frozen=True, slots=True)
class PastRun:
    """What a checkpoint records about the data of its run.

    Attributes:
        path: path of the checkpoint.
        state: the state of the data module.
        settings: the settings of the data module, in plain Python.
        model_settings: the settings of the model, in plain Python.
    """

    path: str
    state: dict[str, Any]
    settings: dict[str, Any]
    model_settings: dict[str, Any]

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, step) of the next batch to train on."""
        return self.state["epoch"], self.state["step"]


def read_run(path: str, setting: str = "ckpt_path") -> PastRun:
    """Read a checkpoint's record of its run's data, without the weights.

    Args:
        path: path of the checkpoint.
        setting: the key of the setting that names it, for messages.

    Raises:
        ConfigError: there is no such checkpoint, or it has no state of RetrievalDataModule.
    """
    where = f"{setting}={one_line(path)!r}"
    if not os.path.isfile(path):
        raise ConfigError(f"{where}: there is no such file (name a checkpoint that a run wrote)")
    try:
        saved = torch.load(path, map_location="meta", mmap=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"{where} cannot be read: {str(error).splitlines()[0]} (name a checkpoint that a run "
            "wrote)"
        ) from cause(error)
    states = [
        value
        for value in (saved.values() if isinstance(saved, Mapping) else ())
        if isinstance(value, Mapping) and "facts" in value and "epoch" in value
    ]
    if not states:
        raise ConfigError(
            f"{where} has no state of RetrievalDataModule, so the rows that its run trained on are "
            "unknown (name a checkpoint of trainer.fit(..., datamodule=RetrievalDataModule(...)))"
        )
    state = read_state(states[0])
    assert state is not None
    check_unchanged(state)
    return PastRun(
        path=path,
        state=state,
        settings=dict(saved.get(RetrievalDataModule.CHECKPOINT_HYPER_PARAMS_KEY) or {}),
        model_settings=dict(saved.get("hyper_parameters") or {}),
    )


def data_of(run: PastRun, **settings: Any) -> RetrievalDataModule:
    """Return the data module of a past run, set up for training.

    Args:
        run: the run.
        settings: settings that replace the recorded ones, such as new paths of files that moved.

    Raises:
        ConfigError: the data, the settings or the tokenizer are no longer those of the run.
    """
    known = inspect.signature(RetrievalDataModule).parameters
    recorded = {name: value for name, value in run.settings.items() if name in known}
    datamodule = RetrievalDataModule(**recorded | settings)
    datamodule.prepare_data()
    datamodule.setup("fit")
    fingerprint = datamodule.fingerprint(world_size_of(run, datamodule))
    changed = [
        difference
        for difference in differences_at_resume(run.state, fingerprint)
        if difference.at_resume in (AtResume.MUST_EQUAL, AtResume.FOLLOWS_GLOBAL_BATCH)
    ]
    if changed:
        listed = "; ".join(
            f"{one.name}: {entry_shown(one.before)} then, {entry_shown(one.now)} now"
            for one in changed[:4]
        )
        more = f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise ConfigError(
            f"ckpt_path={one_line(run.path)!r}: data, settings or tokenizer are no longer those of "
            f"the run, so its batches cannot be made again: {one_line(listed)}{more} (give the "
            "run's files and tokenizer, as data.train_data=... and data.tokenizer=...)"
        )
    return datamodule


def world_size_of(run: PastRun, datamodule: RetrievalDataModule) -> int:
    """Return the number of ranks of a past run: rows of a global batch, divided by batch size.

    The number is exact if the data module has the run's own data and settings. Otherwise it is 1 if
    the sizes do not fit.
    """
    train_sets = datamodule.train_sets()
    worlds = {
        divmod(size, train_sets[name].batch_size or datamodule.batch_size)
        for name, size in global_batches(run.state).items()
        if name in train_sets
    }
    world, rest = worlds.pop() if len(worlds) == 1 else (1, 0)
    return world if world and not rest else 1


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of a past run.

    Attributes:
        plan: the plan that contains the step.
        notes: sentences with what the user should know about the step.
    """

    plan: EpochPlan
    notes: list[str]


def plan_of_step(
    run: PastRun,
    datamodule: RetrievalDataModule,
    epoch: int,
    step: int,
    *,
    number: int | None = None,
    world_size: int | None = None,
) -> PlannedStep:
    """Return the plan by which a past run trained on a step.

    An epoch that was continued with other global batches was planned by several runs, one after the
    other. The checkpoint records these runs for its current epoch only.

    Args:
        run: the past run.
        datamodule: the data module from :func:`data_of`.
        epoch: the epoch, zero-based.
        step: the step of the epoch, as the run counted it.
        number: which of several runs, 0 for the earliest; needed if several trained on the step.
        world_size: number of ranks of that run, which the checkpoint does not record for an earlier
            run. None plans an earlier run for a single rank.

    Raises:
        ConfigError: no run trained on the step, or several did; or ``world_size`` is not that of
            the run, whose number of ranks is recorded.
    """
    began = run.state.get("began")
    own = datamodule.plan(epoch, world_size_of(run, datamodule))
    notes = _not_yet_trained(run, epoch, step)
    if began is None or epoch > began["epoch"]:
        _check_ranks(world_size, own)
        if number not in (None, 0):
            raise ConfigError(f"run={number}: one run trained on epoch {epoch}, run 0")
        return PlannedStep(own, notes + _of_unknown_size(run, epoch))
    plan_of = _plans(datamodule, epoch, world_size)
    runs = began["runs"]
    if epoch < began["epoch"]:
        notes.append(
            f"epoch {epoch} is assumed to have had the global batches with which epoch "
            f"{began['epoch']} began, {_sizes(runs[0])}"
        )
        return PlannedStep(plan_of(runs[0]["global batch"]), notes)
    ends = [(one["first"], one["step"]) for one in runs] + [(began["first"], len(own))]
    having = [at for at, (first, end) in enumerate(ends) if first <= step < end]
    spans = "; ".join(
        f"run {at}: steps {first} to {end - 1}" if end > first else f"run {at}: none"
        for at, (first, end) in enumerate(ends)
    )
    if number is None and len(having) > 1:
        raise ConfigError(
            f"step={step}: epoch {epoch} was continued with other global batches, and several "
            f"runs trained on a step of this number ({spans}; choose one with run=)"
        )
    chosen = number if number is not None else having[0] if having else None
    if chosen is None or chosen not in having:
        raise ConfigError(f"step={step}: no such step in epoch {epoch} ({spans})")
    if chosen == len(runs):
        _check_ranks(world_size, own)
        return PlannedStep(rest_of_epoch(runs, own, plan_of, began["first"]), notes)
    notes.append(f"run {chosen} of epoch {epoch}, with global batches of {_sizes(runs[chosen])}")
    plan = plan_of(runs[chosen]["global batch"])
    if chosen:
        plan = rest_of_epoch(runs[:chosen], plan, plan_of, runs[chosen]["first"])
    return PlannedStep(plan, notes)


# --------------------------------------------------------------------------------------------------


def _check_ranks(world_size: int | None, own: EpochPlan) -> None:
    """Refuse another number of ranks than the checkpoint's run had: its batches were others."""
    if world_size not in (None, own.num_replicas):
        raise ConfigError(
            f"world_size={world_size}: the run of this checkpoint had {own.num_replicas} (leave "
            "world_size out, or inspect other plans with the verb inspect)"
        )


def _not_yet_trained(run: PastRun, epoch: int, step: int) -> list[str]:
    at_epoch, at_step = run.position
    if (epoch, step) < (at_epoch, at_step):
        return []
    return [
        f"the checkpoint is at epoch {at_epoch}, step {at_step}: this batch comes later, if the "
        "run is continued"
    ]


def _of_unknown_size(run: PastRun, epoch: int) -> list[str]:
    """Return a note if an earlier epoch may have had other global batches.

    A checkpoint records other global batches only for its current epoch. For earlier epochs they
    show in the number of batches trained on, which then differs from the number expected.
    """
    at_epoch, at_step = run.position
    n_trained = run.state.get("trained")
    n_steps = at_epoch * steps_of_epoch(run.state) + at_step
    if epoch >= at_epoch or n_trained is None or n_trained == n_steps:
        return []
    return [
        f"the run trained on {n_trained:,} batches, but with its last global batches it would have "
        f"trained on {n_steps:,}: if epoch {epoch} had other global batches, or was continued with "
        "others, this is not its batch (a checkpoint from within that epoch would tell)"
    ]


def _plans(
    datamodule: RetrievalDataModule, epoch: int, world_size: int | None
) -> Callable[[Mapping[str, int]], EpochPlan]:
    """Return a function that gives the plan of an epoch with other global batches.

    Without ``world_size``, the plan is for a single rank.
    """

    def plan_of(sizes: Mapping[str, int]) -> EpochPlan:
        ranks = world_size or 1
        if any(size % ranks for size in sizes.values()):
            raise ConfigError(
                f"world_size={ranks}: does not divide the global batches of that run, "
                f"{', '.join(map(str, sorted(set(sizes.values()))))}"
            )
        each = {name: size // ranks for name, size in sizes.items()}
        return datamodule.plan(epoch, ranks, batch_size=each)

    return plan_of


def _sizes(run: Mapping[str, Any]) -> str:
    return one_line(
        ", ".join(f"{size} rows of {name}" for name, size in run["global batch"].items())
    )
