"""Files of negatives that a fit exchanges between epochs, and what a checkpoint says of them.

The rows that are trained on stay those with which the fit began, so that the plan stays too. A row
that has no negative left is trained with in-batch negatives only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.train_set import TokenRows, TrainSet

_REMEDY = "(put the file back, or start anew from the weights alone, without ckpt_path)"


def with_rows_of(train_set: TrainSet, begun: TrainSet) -> TrainSet:
    """Return a training set with the rows of another one of the same source.

    Args:
        train_set: with its own negatives, and all rows that may be trained on.
        begun: the training set with which the fit began.
    """
    positions = np.searchsorted(train_set.kept, begun.kept)
    within = np.minimum(positions, max(len(train_set.kept) - 1, 0))
    assert np.array_equal(train_set.kept[within], begun.kept), "a row that was kept is dropped"
    return replace(
        train_set,
        kept=begun.kept,
        dropped=begun.dropped,
        token_rows=TokenRows(train_set.kept, positions, train_set.n_scored),
    )


def recorded(files: Mapping[str, str], train_sets: Iterable[TrainSet]) -> dict[str, dict[str, str]]:
    """Return the exchanged files in plain Python: path and digest, by the name of the source."""
    found: dict[str, dict[str, str]] = {}
    for train_set in train_sets:
        name = "" if train_set.source is None else train_set.source.name
        if name in files:
            found[name] = {"path": files[name], "digest": train_set.side_cars["negatives"]}
    return found


def files_of(state: Any) -> dict[str, str]:
    """Return the paths of exchanged files that a checkpoint's state records, by source.

    Raises:
        ConfigError: the record is damaged.
    """
    record = state.get("exchanged", {}) if isinstance(state, Mapping) else {}
    entries = record.values() if isinstance(record, Mapping) else [None]
    if not all(
        isinstance(entry, Mapping)
        and isinstance(entry.get("path"), str)
        and isinstance(entry.get("digest"), str)
        for entry in entries
    ):
        raise ConfigError(
            "the checkpoint's data state is damaged: 'exchanged' is no record of files of "
            "negatives (take another checkpoint, or start anew from the weights alone, without "
            "ckpt_path)"
        )
    return {str(name): entry["path"] for name, entry in record.items()}


def missing(name: str, path: str) -> ConfigError:
    """Return the error for a file that is not there or cannot be read."""
    return ConfigError(
        f"the checkpoint's run has exchanged the negatives of dataset {name!r} for "
        f"{one_line(path)}, which cannot be read {_REMEDY}"
    )


def check_recorded(state: Mapping[str, Any], train_sets: Iterable[TrainSet]) -> None:
    """Refuse files of negatives that are not those of a checkpoint.

    Args:
        state: of the checkpoint.
        train_sets: opened with the files that it records.

    Raises:
        ConfigError: a file has another content.
    """
    wanted = state.get("exchanged", {})
    found = recorded({name: entry["path"] for name, entry in wanted.items()}, train_sets)
    for name, entry in wanted.items():
        if name not in found:
            raise ConfigError(
                f"the checkpoint's run has exchanged the negatives of dataset {name!r}, which "
                "this run does not have (give the same data)"
            )
        if found[name]["digest"] != entry["digest"]:
            raise ConfigError(
                f"the checkpoint's run has exchanged the negatives of dataset {name!r} for "
                f"{one_line(entry['path'])}, which has another content now: digest "
                f"{found[name]['digest']}, not {one_line(entry['digest'])} {_REMEDY}"
            )
