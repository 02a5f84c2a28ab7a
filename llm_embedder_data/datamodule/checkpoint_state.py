"""The data module's part of a checkpoint: where a run stands, and what its batches depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import xxhash
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.plan.rest_of_epoch import RestOfEpoch
from llm_embedder_data.batches.tokens.tokenizer_digest import tokenizer_digest
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.fit_progress import TrainerCounts
from llm_embedder_data.datamodule.state_checks import check_state, check_unchanged, digest_of, shown
from llm_embedder_data.rows.train_sets import TrainSet

STATE_VERSION = 2

# In place of a fact in the states of earlier versions, which had it not.
NOT_RECORDED = "not recorded"

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

# Facts that say how the rows of a batch are laid out and made. A run may go on with others.
_OF_LAYOUT = ("layout", "chunk_size", "unique_keys", "pad_to_multiple_of")
_MAY_DIFFER = (*_OF_LAYOUT, "padding_side", "num_workers")
_SINCE_VERSION_2 = (*_MAY_DIFFER, "tokenizer")


def batch_facts(
    train_sets: Iterable[TrainSet],
    plan: EpochPlan,
    arguments: Mapping[str, Any],
    instructions: Mapping[str, Instruction],
    tokenizer: Mapping[str, Any],
) -> dict[str, Any]:
    """What training batches are a function of, by name, in plain Python.

    Args:
        train_sets: in their order, which the plan depends on.
        plan: of any epoch.
        arguments: of the data module.
        instructions: by task.
        tokenizer: see :func:`tokenizer_facts`.
    """
    facts: dict[str, Any] = {name: arguments[name] for name in (*_OF_ALL, *_OF_LAYOUT)}
    facts |= {"num_workers": arguments["num_workers"], "state version": STATE_VERSION, **tokenizer}
    facts["instructions"] = {task: asdict(one) for task, one in instructions.items()}
    facts["datasets"] = list(plan.sizes)
    for one in train_sets:
        settings = asdict(one.settings)
        settings.pop("asked")  # who chose a setting changes no batch
        if settings["normalize_scores"] is None:  # a state from before there was the setting
            del settings["normalize_scores"]
        facts[f"dataset {one.name}"] = {
            "task": one.task,
            "files": list(one.digests),
            "rows kept": len(one.kept),
            "rows digest": xxhash.xxh3_64_hexdigest(one.kept.data),
            "global batch": plan.global_batch(one.name),
            "steps": plan.steps.get(one.name, 0),
            "weight": one.weight,
            "in_batch_negatives": one.in_batch_negatives,
            "settings": settings,
        }
        if one.n_instructed:  # the texts are covered by the digests of the files
            facts[f"dataset {one.name}"]["rows with own instructions"] = one.n_instructed
    return facts


def tokenizer_facts(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a tokenizer does to a text, in a digest, and on which side it pads."""
    side = tokenizer.padding_side
    try:
        tokenizer.padding_side = "right"  # on whichever side padding is, the tokens are the same
        digest = tokenizer_digest(tokenizer)
    finally:
        tokenizer.padding_side = side
    return {"tokenizer": digest, "padding_side": side}


def make_state(
    position: tuple[int, int],
    trained: int,
    facts: Mapping[str, Any],
    began: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Plain Python, so that it loads with torch's default ``weights_only``.

    Args:
        position: (epoch, step) of the first batch that was not trained on.
        trained: batches that were trained on in all, as the trainer counts them.
        facts: see :func:`batch_facts`.
        began: see :class:`Continued`.
    """
    epoch, step = position
    state = {
        "version": STATE_VERSION,
        "epoch": epoch,
        "step": step,
        "trained": trained,
        "facts": dict(facts),
    }
    if began is not None and began["epoch"] == epoch:
        state["began"] = dict(began)
    state["digest"] = digest_of(state)
    return state


def read_state(state: Any) -> dict[str, Any] | None:
    """A state that this version understands; None where a checkpoint has none, or an empty one.

    Raises:
        ConfigError: a state of a later version, or one that no version wrote.
    """
    if state is None or (isinstance(state, Mapping) and not state):
        return None
    check_state(state, STATE_VERSION)
    return dict(state)


def check_same_run(
    state: Mapping[str, Any],
    facts: Mapping[str, Any],
    on_other_global_batch: OnOtherGlobalBatch = "raise",
) -> str | None:
    """Refuse to go on with other data or settings: the batches would not be those that are missing.

    Returns:
        What to say of another layout, padding or number of workers, with which a run may go on.

    Raises:
        ConfigError: every difference, the checkpoint's side and this run's on lines of their own;
            or a state that was changed after it was written.
    """
    written = dict(state["facts"])
    if state["version"] == 1:
        # Facts that later versions added are filled in here.
        written = {"length_window": None} | dict.fromkeys(_SINCE_VERSION_2, NOT_RECORDED) | written
    different = [
        one
        for one in different_facts(written, facts)
        if one[0] != "state version" and not (state["version"] == 1 and one[1] == NOT_RECORDED)
    ]
    free = [one for one in different if one[0] in _MAY_DIFFER]
    different = [one for one in different if one not in free]
    of_size = [one for one in different if one[0].endswith((", global batch", ", steps"))]
    if on_other_global_batch == "continue":
        different = [one for one in different if one not in of_size]
    if not different:
        check_unchanged(state)
        if not free:
            return None
        return (
            "this run has the checkpoint's rows, made into batches in another way: "
            + ", ".join(
                f"data.{name} {shown(now)}, not {shown(before)}" for name, before, now in free
            )
        ).replace("data.padding_side", "the tokenizer's padding_side")
    raise ConfigError(
        "this run does not continue the checkpoint's batches:\n"
        + "\n".join(
            f"{_name_shown(name)}\n  checkpoint: {shown(before)}\n  this run:   {shown(now)}"
            for name, before, now in different
        )
        + "\n(give the same data and settings; or start anew from the weights alone"
        + ("; or set data.on_other_global_batch=continue)" if different == of_size else ")")
    )


def check_agrees(state: Mapping[str, Any] | None, counts: TrainerCounts) -> None:
    """Refuse a state that does not go with the trainer's own counts; or its lack inside an epoch.

    Args:
        state: that :func:`check_same_run` let pass; None where the checkpoint has none.
        counts: of the trainer, when its own state is restored.

    Raises:
        ConfigError: what either side says.
    """
    if state is None:
        if counts.step > 0:
            raise ConfigError(
                f"the checkpoint stops inside epoch {counts.epoch}, after {counts.step} of its "
                "steps, and has no state of this data module: nobody knows on which rows it "
                "trained (resume with the data module that wrote it, or from an epoch's end, or "
                "start anew from the weights alone, without ckpt_path)"
            )
        return
    at = f"the data module's state stands at epoch {state['epoch']}, step {state['step']}"
    if state["version"] > 1:
        if state["trained"] == counts.trained:
            return
        at += f", after {state['trained']} batches"
    elif _could_be(state, counts):
        return
    raise ConfigError(
        f"{at}; the trainer has trained on {counts.trained}, and goes on at epoch {counts.epoch}, "
        f"step {counts.step} (give trainer.fit the checkpoint that the state is of, whole, as "
        "ckpt_path, and no finder of batch sizes or learning rates with it; or begin with a new "
        "data module and without ckpt_path)"
    )


def _could_be(state: Mapping[str, Any], counts: TrainerCounts) -> bool:
    """Whether a state of version 1, which did not record the trainer's counts, goes with them."""
    epoch, step = state["epoch"], state["step"]
    if "began" not in state:
        for n_steps in (steps_of_epoch(state), counts.n_steps):
            if counts.trained == epoch * n_steps + step:
                return True
    # Of a run whose epochs had other lengths, as by another limit_train_batches.
    return epoch == counts.epoch and step in (counts.step, counts.processed)


def steps_of_epoch(state: Mapping[str, Any]) -> int:
    """Steps of an epoch of the run that wrote a state."""
    facts = state["facts"]
    return sum(facts[f"dataset {name}"]["steps"] for name in facts["datasets"])


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
    if step == steps_of_epoch(state) and "began" not in state:
        epoch, step = epoch + 1, 0
    plan = plan.at(epoch)
    n_steps = min(limit, len(plan)) if isinstance(limit, int) else int(limit * len(plan))
    then = {name: state["facts"][f"dataset {name}"]["global batch"] for name in plan.sizes}
    now = {name: plan.global_batch(name) for name in plan.sizes}
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


def _name_shown(name: str) -> str:
    return name if name.isprintable() and len(name) <= 200 else shown(name)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        path = f"{prefix}{name}"
        flat |= _flat(value, f"{path}, ") if isinstance(value, Mapping) else {path: value}
    return flat
