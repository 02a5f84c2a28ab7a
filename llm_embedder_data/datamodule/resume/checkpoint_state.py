"""The data module's state in a checkpoint: writing, reading, and comparison with this run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.plan.rest_of_epoch import RestOfEpoch
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.resume.fit_progress import TrainerCounts
from llm_embedder_data.datamodule.resume.remedies import remedy_of
from llm_embedder_data.datamodule.resume.run_fingerprint import (
    STATE_VERSION,
    AtResume,
    Difference,
    RunFingerprint,
    differences_at_resume,
    global_batches,
    steps_of_epoch,
)
from llm_embedder_data.datamodule.resume.state_checks import (
    check_state,
    check_unchanged,
    digest_of,
    entry_shown,
)
from llm_embedder_data.datamodule.settings.settings import OnOtherGlobalBatch


def make_state(
    position: tuple[int, int],
    trained: int,
    fingerprint: RunFingerprint,
    began: Mapping[str, Any] | None = None,
    exchanged: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a state in plain Python, which loads with torch's default ``weights_only``.

    Args:
        position: (epoch, step) of the next batch to train on.
        trained: the number of batches trained on so far, as the trainer counts them.
        fingerprint: the fingerprint of the run.
        began: how the epoch began, see :class:`Continued`.
        exchanged: files of negatives that the run has exchanged, from
            :meth:`~llm_embedder_data.datamodule.open_data.exchanged_negatives.ExchangedNegatives.record`.
    """
    epoch, step = position
    state = {
        "version": STATE_VERSION,
        "epoch": epoch,
        "step": step,
        "trained": trained,
        "facts": fingerprint.as_dict(),
    }
    if began is not None and began["epoch"] == epoch:
        state["began"] = dict(began)
    if exchanged:
        state["exchanged"] = dict(exchanged)
    state["digest"] = digest_of(state)
    return state


def read_state(state: Any) -> dict[str, Any] | None:
    """Check a state and return it as a dict; None if the checkpoint has no state or an empty one.

    Raises:
        ConfigError: the state is damaged, or a later version wrote it.
    """
    if state is None or (isinstance(state, Mapping) and not state):
        return None
    check_state(state, STATE_VERSION)
    return dict(state)


def check_same_run(
    state: Mapping[str, Any],
    fingerprint: RunFingerprint,
    on_other_global_batch: OnOtherGlobalBatch = "raise",
) -> str | None:
    """Check that this run would continue the batches of the checkpoint's run.

    Returns:
        A warning if the layout, the padding or the number of workers differs, which is allowed;
        otherwise None.

    Raises:
        ConfigError: data or settings differ (the message lists every difference with both values
            and the config key that decides it), or the state was changed after it was written.
    """
    found = differences_at_resume(state, fingerprint)
    allowed = [difference for difference in found if difference.at_resume is AtResume.MAY_DIFFER]
    of_size = [
        difference for difference in found if difference.at_resume is AtResume.FOLLOWS_GLOBAL_BATCH
    ]
    refused = [difference for difference in found if difference.at_resume is AtResume.MUST_EQUAL]
    may_continue = on_other_global_batch == "continue"
    if not refused and (may_continue or not of_size):
        check_unchanged(state)
        return _layout_note(allowed) if allowed else None
    listed = [
        difference
        for difference in found
        if difference in refused or (difference in of_size and not may_continue)
    ]
    raise ConfigError(
        "this run does not continue the checkpoint's batches:\n"
        + "\n".join(
            f"{_name_shown(difference.name)}\n  checkpoint: {entry_shown(difference.before)}\n"
            f"  this run:   {entry_shown(difference.now)}\n  set by:     {remedy_of(difference)}"
            for difference in listed
        )
        + "\n(set these as in the checkpoint; or start anew from the weights alone"
        + ("; or set data.on_other_global_batch=continue)" if not refused else ")")
    )


def _layout_note(allowed: Iterable[Difference]) -> str:
    names = {"padding_side": "the tokenizer's padding_side"}
    parts = [
        f"{names.get(entry.name, f'data.{entry.name}')} {entry_shown(entry.now)}, "
        f"not {entry_shown(entry.before)}"
        for entry in allowed
    ]
    return (
        f"this run has the checkpoint's rows, made into batches in another way: {', '.join(parts)}"
    )


def check_agrees(state: Mapping[str, Any] | None, counts: TrainerCounts) -> None:
    """Check that the data module's state agrees with the trainer's own counts.

    Args:
        state: a state that passed :func:`check_same_run`; None if the checkpoint has no state.
        counts: the trainer's counts, after the trainer's state has been restored.

    Raises:
        ConfigError: the counts differ, or the checkpoint is from inside an epoch and has no state.
    """
    if state is None:
        if counts.step > 0:
            raise ConfigError(
                f"the checkpoint stops inside epoch {counts.epoch}, after {counts.step} of its "
                "steps, but has no state of this data module, so the rows that it trained on are "
                "unknown (resume with the data module that wrote it, or from an epoch's end, or "
                "start anew from the weights alone, without ckpt_path)"
            )
        return
    at = f"the data module's state is at epoch {state['epoch']}, step {state['step']}"
    if state["version"] > 1:
        if state["trained"] == counts.trained:
            return
        at += f", after {state['trained']} batches"
    elif _could_be(state, counts):
        return
    raise ConfigError(
        f"{at}; but the trainer has trained on {counts.trained} batches, and continues at epoch "
        f"{counts.epoch}, step {counts.step} (give trainer.fit the complete checkpoint that the "
        "state comes from as ckpt_path, without a finder of batch sizes or learning rates; or "
        "begin with a new data module and without ckpt_path)"
    )


def _could_be(state: Mapping[str, Any], counts: TrainerCounts) -> bool:
    """Return whether a state of version 1, which lacks the trainer's count, may agree with it."""
    epoch, step = state["epoch"], state["step"]
    if "began" not in state:
        for n_steps in (steps_of_epoch(state), counts.n_steps):
            if counts.trained == epoch * n_steps + step:
                return True
    # Epochs may have had another length, for example with another limit_train_batches.
    return epoch == counts.epoch and step in (counts.step, counts.processed)


@dataclass(frozen=True, slots=True)
class Continued:
    """How a run continues from a checkpoint.

    Attributes:
        plan: the plan of the epoch in which it continues; ``plan.at`` gives the other epochs.
        start: the (epoch, step) of the first batch.
        began: None, unless the epoch began with other global batches. Then it is the history that a
            state must keep: the ``epoch``; the earlier ``runs`` in order, each with its ``global
            batch`` by dataset, its first step (``first``) and the step after its last (``step``);
            and the first step of this run (``first``).
        note: a warning about other global batches; None if they are the same.
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
    """Return where a run continues, and with which plan.

    With the checkpoint's global batches, the run continues at the checkpoint's position. With other
    global batches, and inside an epoch, it trains on the remaining rows, so that no row comes
    twice: see :class:`RestOfEpoch`. With ``organize_method="random"``, where rows may come twice
    anyway, it continues at the same fraction of the epoch.

    Args:
        state: a state that passed :func:`check_same_run`.
        plan: the plan of this run.
        plan_of: returns the plan with other global batches, given by dataset.
        limit: Lightning's ``limit_train_batches``: a number of steps, or a fraction of the epoch.
    """
    epoch, step = state["epoch"], state["step"]
    if step == steps_of_epoch(state) and "began" not in state:
        epoch, step = epoch + 1, 0
    plan = plan.at(epoch)
    n_steps = min(limit, len(plan)) if isinstance(limit, int) else int(limit * len(plan))
    then = global_batches(state)
    now = {name: plan.global_batch(name) for name in plan.sizes}
    began = state.get("began", {"first": 0, "runs": []})
    if then == now:
        if not began["runs"]:
            return Continued(plan, (epoch, step))
        rest = rest_of_epoch(began["runs"], plan, plan_of, began["first"])
        return Continued(rest, (epoch, step), dict(began))
    note = "this run has other global batches than the checkpoint's: " + ", ".join(
        f"{one_line(name)} {now[name]} rows, not {then[name]}"
        for name in then
        if then[name] != now[name]
    )
    if step == 0:
        return Continued(plan, (epoch, 0), None, f"{note}; it continues with epoch {epoch}")
    if plan.organize_method == "random":
        first = min(len(plan) * step // len(plan_of(then)), n_steps - 1)
        return Continued(
            plan,
            (epoch, first),
            None,
            f"{note}; epoch {epoch} continues at step {first}, the same fraction of it",
        )
    runs = [*began["runs"], {"global batch": then, "first": began["first"], "step": step}]
    rest = rest_of_epoch(runs, plan, plan_of, None)
    rest.first = min(rest.first, n_steps - 1)  # Lightning ends an epoch only after a step
    what = (
        f"continues with its {rest.n_rows} remaining rows, in {rest.n_left} steps from step "
        f"{rest.first} on; no row comes twice in it, and {rest.n_left_out} rows that do not fill a "
        "global batch are left out"
        if rest.n_left
        else f"has {rest.n_rows} rows left, which do not fill a global batch: it ends with a step "
        "of this run's own plan, whose rows may come twice"
    )
    return Continued(
        rest,
        (epoch, rest.first),
        {"epoch": epoch, "first": rest.first, "runs": runs},
        f"{note}; epoch {epoch} {what}; from epoch {epoch + 1} on, batches are as in a run that "
        "always had these global batches",
    )


def rest_of_epoch(
    runs: list[dict[str, Any]],
    plan: EpochPlan,
    plan_of: Callable[[Mapping[str, int]], EpochPlan],
    first: int | None,
) -> RestOfEpoch:
    """Return the plan of an epoch that other runs began.

    Args:
        runs: the earlier runs, in the form of :attr:`Continued.began`; at least one.
        plan: the plan of the epoch in the run that continues.
        plan_of: returns the plan with other global batches, given by dataset.
        first: the first step of the run that continues; None makes the rest end with the epoch.
    """
    before = plan_of(runs[0]["global batch"]).at(plan.epoch)
    for earlier, run in pairwise(runs):
        later = plan_of(run["global batch"]).at(plan.epoch)
        before = RestOfEpoch(later, before, earlier["step"], run["first"])
    return RestOfEpoch(plan, before, runs[-1]["step"], first)


def _name_shown(name: str) -> str:
    return name if name.isprintable() and len(name) <= 200 else entry_shown(name)
