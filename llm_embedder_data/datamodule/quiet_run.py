"""Warnings of a run that its user can do nothing about, silenced for as long as the run goes on."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

# Lightning 2.6 looks at loaders with a class that torch 2.13 deprecates.
_DEPRECATED_IN_LIGHTNING: dict[str, Any] = {
    "message": r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    "category": FutureWarning,
    "module": r"(lightning\.pytorch|pytorch_lightning)\.",
}

# Where workers are spawned. The data module makes the loaders, and knows which keep their workers.
_WORKERS_BEGIN_AGAIN: dict[str, Any] = {
    "message": r"Consider setting `persistent_workers=True` in '.*dataloader'",
    "category": UserWarning,
}

# Of the data module's own choice.
_FEW_WORKERS: dict[str, Any] = {
    "message": r"The '.*dataloader' does not have many workers",
    "category": UserWarning,
}


class QuietRun:
    """Filters of :mod:`warnings` that are there during a run, and only then.

    Filters belong to the whole process, so those of the user stay as they are: what :meth:`begin`
    adds, :meth:`end` takes out again, and nothing else.
    """

    def __init__(self) -> None:
        self._added: list[Any] = []

    def begin(self, *, chooses_workers: bool) -> None:
        """Add the filters that are not there yet.

        Args:
            chooses_workers: whether the number of workers is the data module's choice.
        """
        silenced = [_DEPRECATED_IN_LIGHTNING, _WORKERS_BEGIN_AGAIN]
        for one in [*silenced, _FEW_WORKERS] if chooses_workers else silenced:
            n_before = len(warnings.filters)
            warnings.filterwarnings("ignore", **one)
            if len(warnings.filters) > n_before:  # else the user has this very filter
                self._added.append(warnings.filters[0])

    def end(self) -> None:
        """Take out what :meth:`begin` added; it may be called at any time."""
        while self._added:
            added = self._added.pop()
            with suppress(ValueError):  # gone with the end of a catch_warnings()
                warnings.filters.remove(added)  # type: ignore[attr-defined]
