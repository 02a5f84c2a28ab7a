"""Files of negatives that a fit exchanges between epochs, and their record in a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llm_embedder_data.core.errors import ConfigError, did_you_mean
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.open_data.open_data import OpenData
from llm_embedder_data.rows.train_set import TrainSet

_REMEDY = "(put the file back, or start anew from the weights alone, without ckpt_path)"


class ExchangedNegatives:
    """The files of negatives that a fit has exchanged, by source.

    Args:
        data: the open data.
        reopen: opens the training sets of ``data`` with other files of negatives, given by the name
            of the source, and returns notes on them.
    """

    def __init__(self, data: OpenData, reopen: Callable[[Mapping[str, str]], list[str]]) -> None:
        self._data = data
        self._reopen = reopen
        self._files: dict[str, str] = {}

    def exchange(self, files: Mapping[str, str | os.PathLike[str]]) -> list[str]:
        """Open the training sets with new files of negatives; return notes on them.

        Args:
            files: the new files, by the name of the source. The other sources keep theirs.

        Raises:
            ConfigError: a source does not exist.
            DataError: a file cannot be read.
        """
        train_sets = self._data.train_sets().values()
        names = {found.source.name for found in train_sets if found.source}
        for name in files:
            if name not in names:
                raise ConfigError(
                    f"there is no dataset {name!r} whose negatives could be exchanged"
                    f"{did_you_mean(name, sorted(names))}"
                )
        given = {name: os.path.abspath(path) for name, path in files.items()}
        return self._open(self._files | given)

    def restore(self, state: Any) -> list[str]:
        """Open the training sets, if they are open, with a checkpoint's files; return notes.

        Args:
            state: the data module's state in the checkpoint.

        Raises:
            ConfigError: the record is damaged, or its files are missing or have changed.
        """
        files = _recorded_paths(state)
        if self._data.train is None or not (files or self._files):
            return []
        notes = self._open(files)
        _check_unchanged(state.get("exchanged", {}), self._data.train.values())
        return notes

    def record(self) -> dict[str, dict[str, str]]:
        """Return the exchanged files in plain Python: path and digest, by name of the source."""
        return _record_of(self._files, self._data.train_sets().values())

    def _open(self, files: dict[str, str]) -> list[str]:
        for name, path in files.items():
            if not os.path.isfile(path):
                raise ConfigError(
                    f"the checkpoint's run has exchanged the negatives of dataset {name!r} for "
                    f"{one_line(path)}, which cannot be read {_REMEDY}"
                )
        self._files = files
        return self._reopen(files)


# --------------------------------------------------------------------------------------------------


def _record_of(
    files: Mapping[str, str], train_sets: Iterable[TrainSet]
) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for train_set in train_sets:
        name = "" if train_set.source is None else train_set.source.name
        if name in files:
            found[name] = {"path": files[name], "digest": train_set.side_cars["negatives"]}
    return found


def _recorded_paths(state: Any) -> dict[str, str]:
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


def _check_unchanged(
    wanted: Mapping[str, Mapping[str, str]], train_sets: Iterable[TrainSet]
) -> None:
    """Check that exchanged files of negatives have the content that a checkpoint recorded.

    Args:
        wanted: the record in the checkpoint.
        train_sets: the training sets, opened with the recorded files.

    Raises:
        ConfigError: a file has other content, or a dataset does not exist.
    """
    found = _record_of({name: entry["path"] for name, entry in wanted.items()}, train_sets)
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
