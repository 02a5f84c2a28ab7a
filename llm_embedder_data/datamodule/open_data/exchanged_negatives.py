"""Files of negatives that a fit exchanges between epochs, and their record in a checkpoint.

An exchange does not change the rows that are trained on, so the plan does not change either. A row
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
    """Return a training set, restricted to the rows with which the fit began.

    Args:
        train_set: the training set with new negatives, and all rows that may be trained on.
        begun: the training set of the same source with which the fit began.
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


def recorded_files(
    files: Mapping[str, str], train_sets: Iterable[TrainSet]
) -> dict[str, dict[str, str]]:
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
            "the checkpoint's data state is damaged: 'exchanged' is not a record of files of "
            "negatives (take another checkpoint, or start anew from the weights alone, without "
            "ckpt_path)"
        )
    return {str(name): entry["path"] for name, entry in record.items()}


def missing_file_error(name: str, path: str) -> ConfigError:
    """Return the error for an exchanged file that does not exist or cannot be read."""
    return ConfigError(
        f"the checkpoint's run has exchanged the negatives of dataset {name!r} for "
        f"{one_line(path)}, which cannot be read {_REMEDY}"
    )


def check_recorded(state: Mapping[str, Any], train_sets: Iterable[TrainSet]) -> None:
    """Check that exchanged files of negatives have the content that a checkpoint recorded.

    Args:
        state: the data module's state in the checkpoint.
        train_sets: the training sets, opened with the files that the state records.

    Raises:
        ConfigError: a file has other content, or a dataset does not exist.
    """
    wanted = state.get("exchanged", {})
    found = recorded_files({name: entry["path"] for name, entry in wanted.items()}, train_sets)
    for name, entry in wanted.items():
        if name not in found:
            raise ConfigError(
                f"the checkpoint's run has exchanged the negatives of dataset {name!r}, which "
                "this run does not have (give the same data)"
            )
        if found[name]["digest"] != entry["digest"]:
            raise ConfigError(
                f"the checkpoint's run has exchanged the negatives of dataset {name!r} for "
                f"{one_line(entry['path'])}, which has other content now: digest "
                f"{found[name]['digest']}, not {one_line(entry['digest'])} {_REMEDY}"
            )
