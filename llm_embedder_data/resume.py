"""The state that goes into a checkpoint: where a run stands, and what its batches are a function of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.config import ConfigError

STATE_VERSION = 1


def make_state(epoch: int, step: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Plain Python, so that it loads with torch's default ``weights_only``."""
    return {"version": STATE_VERSION, "epoch": epoch, "step": step, "facts": dict(facts)}


def read_state(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """A state that this version understands; None for the empty one of a run that never trained.

    Raises:
        ConfigError: a state of a later version.
    """
    if not state:
        return None
    if state.get("version", 0) > STATE_VERSION:
        raise ConfigError(
            f"the checkpoint's data state has version {state['version']}, this package reads up to "
            f"{STATE_VERSION} (install a later llm_embedder_data)"
        )
    return dict(state)


def position(state: Mapping[str, Any], n_steps: int) -> tuple[int, int]:
    """(epoch, step) at which the run goes on; the end of an epoch is the beginning of the next."""
    epoch, step = int(state["epoch"]), int(state["step"])
    return (epoch + 1, 0) if step >= n_steps else (epoch, step)


def check_same_run(state: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to go on with other data or settings: the batches would not be those that are missing.

    Raises:
        ConfigError: every difference, the checkpoint's side and this run's on lines of their own.
    """
    before = _flat(state.get("facts", {}))
    now = _flat(facts)
    differences = [
        f"{name}\n  checkpoint: {before.get(name, 'absent')!r}\n  this run:   {now.get(name, 'absent')!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differences:
        raise ConfigError(
            "this run does not continue the checkpoint's batches:\n"
            + "\n".join(differences)
            + "\n(give the same data and settings; or start anew from the weights alone)"
        )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        path = f"{prefix}{name}"
        flat |= _flat(value, f"{path}, ") if isinstance(value, Mapping) else {path: value}
    return flat
