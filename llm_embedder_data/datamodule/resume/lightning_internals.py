"""A check that Lightning counts batches where the data module reads and sets them.

These counters are no documented interface. If a release moved one, a resumed run could train on the
wrong rows without an error, so each fit begins with this check.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from llm_embedder_data.core.tried_versions import internals_changed

_BATCHES = "fit_loop.epoch_loop.batch_progress"

# Attributes of a Trainer that are read or set in a fit, with the type that each must have.
_ATTRIBUTES: dict[str, type] = {
    f"{_BATCHES}.total.processed": int,
    f"{_BATCHES}.current.ready": int,
    f"{_BATCHES}.current.started": int,
    f"{_BATCHES}.current.processed": int,
    f"{_BATCHES}.current.completed": int,
    f"{_BATCHES}.is_last_batch": bool,
    "fit_loop.epoch_loop.max_steps": int,
    "fit_loop.epoch_loop.restarting": bool,
    "fit_loop.epoch_loop.restarted_on_train_batch_end": bool,
    "fit_loop._combined_loader": object,
}


def check_lightning(trainer: Any) -> None:
    """Refuse a Lightning whose trainer lacks a counter, or has one of another type.

    Raises:
        ConfigError: the counter, the installed version, and the versions that were tried.
    """
    for name, kind in _ATTRIBUTES.items():
        try:
            value = attrgetter(name)(trainer)
        except AttributeError:
            raise internals_changed("lightning", f"Trainer.{name}", "is missing") from None
        if not isinstance(value, kind):
            found = f"is {value!r}, where {kind.__name__} is expected"
            raise internals_changed("lightning", f"Trainer.{name}", found)
