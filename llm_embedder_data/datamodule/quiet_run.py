"""Silences warnings during a run that the user can do nothing about."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

# Lightning 2.6 inspects loaders with a class that torch 2.13 deprecates.
_DEPRECATED_IN_LIGHTNING: dict[str, Any] = {
    "message": r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    "category": FutureWarning,
    "module": r"(lightning\.pytorch|pytorch_lightning)\.",
}

# Given where workers are spawned. The data module decides which loaders keep their workers.
_WORKERS_BEGIN_AGAIN: dict[str, Any] = {
    "message": r"Consider setting `persistent_workers=True` in '.*dataloader'",
    "category": UserWarning,
}

# Given even if the data module chose the number of workers.
_FEW_WORKERS: dict[str, Any] = {
    "message": r"The '.*dataloader' does not have many workers",
    "category": UserWarning,
}


class QuietRun:
    """Warning filters that exist only during a run.

    Filters are global to the process. :meth:`end` removes the filters that :meth:`begin` added, and
    leaves the user's filters alone.
    """

    def __init__(self) -> None:
        self._added: list[Any] = []

    def begin(self, *, chooses_workers: bool) -> None:
        """Add the filters that are missing.

        Args:
            chooses_workers: whether the data module chooses the number of workers.
        """
        silenced = [_DEPRECATED_IN_LIGHTNING, _WORKERS_BEGIN_AGAIN]
        for warning in [*silenced, _FEW_WORKERS] if chooses_workers else silenced:
            n_before = len(warnings.filters)
            warnings.filterwarnings("ignore", **warning)
            if len(warnings.filters) > n_before:  # otherwise the user had set the same filter
                self._added.append(warnings.filters[0])

    def end(self) -> None:
        """Remove the filters that :meth:`begin` added. May be called at any time."""
        while self._added:
            added = self._added.pop()
            with suppress(ValueError):  # already removed by the end of a catch_warnings()
                warnings.filters.remove(added)  # type: ignore[attr-defined]
