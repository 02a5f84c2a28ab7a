"""The data module's part of a checkpoint: where a run stands, and what its batches depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import xxhash

from llm_embedder_data.batches.plan import EpochPlan
from llm_embedder_data.batches.rest_of_epoch import RestOfEpoch
from llm_embedder_data.config import ConfigError
from llm_embedder_data.printable import one_line
from llm_embedder_data.recipes import Instruction
from llm_embedder_data.rows.builders import TrainSet

STATE_VERSION = 1

OnOtherGlobalBatch = Literal["raise", "continue"]

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
            "rows digest": xxhash.xxh3_64_hexdigest(one.kept.data),
            "global batch": plan.batch_size[one.name] * plan.num_replicas,
            "steps": plan.steps.get(one.name, 0),
            "weight": one.weight,
            "in_batch_negatives": one.in_batch_negatives,
            "settings": settings,
        }
    return facts


def make_state(
    position: tuple[int, int], facts: Mapping[str, Any], began: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Plain Python, so that it loads with torch's default ``weights_only``.

    Args:
        position: (epoch, step) of the first batch that was not trained on.
        facts: see :func:`batch_facts`.
        began: see :class:`Continued`.
    """
    epoch, step = position
    state = {"version": STATE_VERSION, "epoch": epoch, "step": step, "facts": dict(facts)}
    if began is not None and began["epoch"] == epoch:
        state["began"] = dict(began)
    return state


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
    # A fact that a later version adds is filled in here for the states of earlier ones.
    return {**state, "facts": {"length_window": None, **state["facts"]}}


def check_same_run(
    state: Mapping[str, Any],
    facts: Mapping[str, Any],
    on_other_global_batch: OnOtherGlobalBatch = "raise",
) -> None:
    """Refuse to go on with other data or settings: the batches would not be those that are missing.

    Raises:
        ConfigError: every difference, the checkpoint's side and this run's on lines of their own.
    """
    different = different_facts(state["facts"], facts)
    of_size = [one for one in different if one[0].endswith((", global batch", ", steps"))]
    if on_other_global_batch == "continue":
        different = [one for one in different if one not in of_size]
    if not different:
        return
    raise ConfigError(
        "this run does not continue the checkpoint's batches:\n"
        + "\n".join(
            f"{name}\n  checkpoint: {before!r}\n  this run:   {now!r}"
            for name, before, now in different
        )
        + "\n(give the same data and settings; or start anew from the weights alone"
        + ("; or set data.on_other_global_batch=continue)" if different == of_size else ")")
    )


@dataclass(frozen=True, slots=True)
class Continued:
    """How a run goes on from a checkpoint.

    Attributes:
        plan: of the epoch in which it goes on, and by its ``at`` of all others.
        start: (epoch, step).
        began: where the epoch began with other global batches, what a state must say of it: its
            ``epoch``; the ``runs`` that had others, in turn, each with its ``global batch`` by
            dataset, the step at which it came in (``first``) and the first that it did not train on
            (``step``); and the step ``first`` at which this run came in.
        note: what it means that the checkpoint's global batches are others; None where they are
            not.
    """

    plan: EpochPlan
    start: tuple[int, int]
    began: dict[str, Any] | None = None
    note: str | None = None


def continued(
    state: Mapping[str, Any],
    plan: EpochPlan,
    plan_of: Callable[[Mapping[str, int]], EpochPlan],
    limit: int | float,
) -> Continued:
    """Where and with which plan a run goes on.

    With the checkpoint's global batches: where that stands. With others, inside an epoch: with the
    rows that are left of the epoch, see :class:`RestOfEpoch`, so that none comes twice in it. With
    ``organize_method="random"``, where rows come again in any case: as far into the epoch.

    Args:
        state: that :func:`check_same_run` let pass.
        plan: this run's.
        plan_of: the plan of the same data and settings with other global batches, by dataset.
        limit: Lightning's ``limit_train_batches``, steps or a share.
    """
    epoch, step = state["epoch"], state["step"]
    plan = plan.at(epoch)
    n_steps = min(limit, len(plan)) if isinstance(limit, int) else int(limit * len(plan))
    then = {name: state["facts"][f"dataset {name}"]["global batch"] for name in plan.sizes}
    now = {name: size * plan.num_replicas for name, size in plan.batch_size.items()}
    began = state.get("began", {"first": 0, "runs": []})
    if then == now:
        if not began["runs"]:
            return Continued(plan, (epoch, step))
        rest = _rest_of_epoch(began["runs"], plan, plan_of, began["first"])
        return Continued(rest, (epoch, step), dict(began))
    note = "this run has other global batches than the checkpoint's: " + ", ".join(
        f"{one_line(name)} {now[name]} rows, not {then[name]}"
        for name in then
        if then[name] != now[name]
    )
    if step == 0:
        return Continued(plan, (epoch, 0), None, f"{note}; it goes on with epoch {epoch}")
    if plan.organize_method == "random":
        first = min(len(plan) * step // len(plan_of(then)), n_steps - 1)
        return Continued(
            plan, (epoch, first), None, f"{note}; epoch {epoch} goes on at step {first}, as far in"
        )
    runs = [*began["runs"], {"global batch": then, "first": began["first"], "step": step}]
    rest = _rest_of_epoch(runs, plan, plan_of, None)
    rest.first = min(rest.first, n_steps - 1)  # Lightning ends an epoch after a step only
    what = (
        f"goes on with the {rest.n_rows} rows that were left of it, in {rest.n_left} steps from "
        f"step {rest.first} on; none that was trained on comes again in it, and {rest.n_left_out} "
        "rows that fill no global batch are left out"
        if rest.n_left
        else f"has {rest.n_rows} rows left, which fill no global batch: it ends with a step of "
        "this run's own, whose rows may come twice"
    )
    return Continued(
        rest,
        (epoch, rest.first),
        {"epoch": epoch, "first": rest.first, "runs": runs},
        f"{note}; epoch {epoch} {what}; from epoch {epoch + 1} on all is as in a run with these",
    )


def _rest_of_epoch(
    runs: list[dict[str, Any]],
    plan: EpochPlan,
    plan_of: Callable[[Mapping[str, int]], EpochPlan],
    first: int | None,
) -> RestOfEpoch:
    before = plan_of(runs[0]["global batch"]).at(plan.epoch)
    for earlier, run in pairwise(runs):
        later = plan_of(run["global batch"]).at(plan.epoch)
        before = RestOfEpoch(later, before, earlier["step"], run["first"])
    return RestOfEpoch(plan, before, runs[-1]["step"], first)


def different_facts(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, one side, other side) of each fact that differs; 'absent' where a side has none."""
    flat, other_flat = _flat(one), _flat(other)
    return [
        (one_line(name), flat.get(name, "absent"), other_flat.get(name, "absent"))
        for name in sorted({*flat, *other_flat})
        if flat.get(name, "absent") != other_flat.get(name, "absent")
    ]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        path = f"{prefix}{name}"
        flat |= _flat(value, f"{path}, ") if isinstance(value, Mapping) else {path: value}
    return flat
