"""Checks of the data module's state in a checkpoint, which like any file may be damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xxhash

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.shown_values import shown

# No run reaches these counts. Higher counts would overflow when rows are computed from them.
_MOST_EPOCHS = 2**31 - 1
_MOST_BATCHES = 2**62

_DEEPEST = 16  # most levels of nesting in a fingerprint; real ones have four


def digest_of(state: Mapping[str, Any]) -> str:
    """Return a 128-bit hexadecimal digest of a state without its own digest.

    Args:
        state: a state in plain Python.
    """
    said = {name: value for name, value in state.items() if name != "digest"}
    return xxhash.xxh3_128_hexdigest(json.dumps(said, sort_keys=True).encode())


def check_state(state: Any, version: int) -> None:
    """Check that all entries of a state have the right type and range.

    Args:
        state: a state from a checkpoint.
        version: the latest state version that this package can read.

    Raises:
        ConfigError: an entry is wrong; the message has its name, its value, and what is expected.
    """
    if not isinstance(state, Mapping):
        raise _wrong("it", state, "a mapping")
    _check_whole(state, "version", 1, _MOST_EPOCHS)
    if state["version"] > version:
        raise ConfigError(
            f"the checkpoint's data state has version {state['version']}, but this package reads "
            f"versions up to {version} (install a later llm_embedder_data)"
        )
    _check_whole(state, "epoch", 0, _MOST_EPOCHS)
    _check_whole(state, "step", 0, _MOST_EPOCHS)
    if state["version"] > 1:
        _check_whole(state, "trained", 0, _MOST_BATCHES)
        if not isinstance(_entry(state, "digest"), str):
            raise _wrong("'digest'", state["digest"], "text")
    datasets = _check_fingerprint(_entry(state, "facts"))
    n_steps = sum(state["facts"][f"dataset {name}"]["steps"] for name in datasets)
    if state["step"] > n_steps:
        raise _wrong("'step'", state["step"], f"at most {n_steps}, the steps of an epoch")
    if "began" in state:
        _check_began(state["began"], state["epoch"], datasets)


def check_unchanged(state: Mapping[str, Any]) -> None:
    """Check that a state was not changed after it was written.

    Args:
        state: a state that passed :func:`check_state`.

    Raises:
        ConfigError: the digest does not match.
    """
    if state["version"] == 1:  # version 1 has no digest
        return
    try:
        found = digest_of(state)
    except (TypeError, ValueError, RecursionError):  # not plain Python, so it was changed
        found = ""
    if found != state["digest"]:
        raise ConfigError(
            f"the checkpoint's data state (epoch {state['epoch']}, step {state['step']}, "
            f"{state['trained']} batches trained on, and its facts) was changed after it was "
            f"written{_REMEDY}"
        )


def entry_shown(value: Any) -> str:
    """Return an entry of a state or fingerprint for a message, up to 200 characters of it."""
    return shown(value, 200)


_REMEDY = " (take another checkpoint, or start anew from the weights alone, without ckpt_path)"


def _wrong(what: str, found: Any, expected: str) -> ConfigError:
    kind = f"{type(found).__name__} {entry_shown(found)}"
    return ConfigError(
        f"the checkpoint's data state is damaged: {what} is {kind}, expected {expected}{_REMEDY}"
    )


def _entry(mapping: Mapping[str, Any], name: str, within: str = "") -> Any:
    if name not in mapping:
        raise ConfigError(
            f"the checkpoint's data state is damaged: it has no {within}{name!r}{_REMEDY}"
        )
    return mapping[name]


def _check_whole(
    mapping: Mapping[str, Any], name: str, least: int, most: int, within: str = ""
) -> None:
    value = _entry(mapping, name, within)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(f"{within}{name!r}", value, f"a whole number from {least} to {most}")


def _check_fingerprint(fingerprint: Any) -> list[str]:
    """Return the names of the datasets in a fingerprint."""
    if not isinstance(fingerprint, Mapping):
        raise _wrong("'facts'", fingerprint, "a mapping")
    _check_depth(fingerprint)
    datasets = _entry(fingerprint, "datasets", "'facts', ")
    named = isinstance(datasets, list) and all(isinstance(name, str) for name in datasets)
    if not named or not datasets or len(set(datasets)) < len(datasets):
        raise _wrong("'facts', 'datasets'", datasets, "a list of different names")
    for name in datasets:
        within = f"'facts', {f'dataset {name}'!r}"
        dataset = _entry(fingerprint, f"dataset {name}", "'facts', ")
        if not isinstance(dataset, Mapping):
            raise _wrong(within, dataset, "a mapping")
        _check_whole(dataset, "global batch", 1, _MOST_EPOCHS, f"{within}, ")
        _check_whole(dataset, "steps", 0, _MOST_EPOCHS, f"{within}, ")
    return list(datasets)


def _check_depth(fingerprint: Mapping[str, Any]) -> None:
    level: list[Any] = [fingerprint]
    for _ in range(_DEEPEST):
        if not level:
            return
        inner: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                for name in value:
                    if not isinstance(name, str):
                        raise _wrong("a name in 'facts'", name, "text")
                inner += value.values()
            elif isinstance(value, list | tuple):
                inner += value
        level = inner
    raise ConfigError(
        f"the checkpoint's data state is damaged: 'facts' is nested more than {_DEEPEST} levels "
        f"deep{_REMEDY}"
    )


def _check_began(began: Any, epoch: int, datasets: list[str]) -> None:
    if not isinstance(began, Mapping):
        raise _wrong("'began'", began, "a mapping")
    _check_whole(began, "epoch", 0, _MOST_EPOCHS, "'began', ")
    if began["epoch"] != epoch:
        raise _wrong("'began', 'epoch'", began["epoch"], f"{epoch}, the state's epoch")
    _check_whole(began, "first", 0, _MOST_EPOCHS, "'began', ")
    runs = _entry(began, "runs", "'began', ")
    if not isinstance(runs, list) or not runs:
        raise _wrong("'began', 'runs'", runs, "a list of runs")
    for number, run in enumerate(runs):
        within = f"'began', 'runs', {number}"
        if not isinstance(run, Mapping):
            raise _wrong(within, run, "a mapping")
        _check_whole(run, "first", 0, _MOST_EPOCHS if number else 0, f"{within}, ")
        _check_whole(run, "step", run["first"], _MOST_EPOCHS, f"{within}, ")
        sizes = _entry(run, "global batch", f"{within}, ")
        if not isinstance(sizes, Mapping) or set(sizes) != set(datasets):
            raise _wrong(f"{within}, 'global batch'", sizes, "a number for each dataset")
        for name in datasets:
            _check_whole(sizes, name, 1, _MOST_EPOCHS, f"{within}, 'global batch', ")
