"""A check that Lightning has the batch counters that the data module reads and sets.

These counters are not a documented interface. If a release moved one, a resumed run could silently
train on the wrong rows, so each fit begins with this check.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from llm_embedder_data.core.tried_versions import internals_changed

_BATCHES = "fit_loop.epoch_loop.batch_progress"

# Attributes of a Trainer that the data module reads or sets in a fit, and their expected types.
_ATTRIBUTES: dict[str, type] = {
    f"{_BATCHES}.total.processed": int,
    f"{_BATCHES}.current.ready": int,
    f"{_BATCHES}.current.started": int,
    f"{_BATCHES}.current.processed": int,
    f"{_BATCHES}.current.completed": int,
    f"{_BATCHES}.is_last_batch": bool,
    "fit_loop.epoch_progress.current.ready": int,
    "fit_loop.epoch_progress.current.processed": int,
    "fit_loop.restarted_mid_epoch": bool,
    "fit_loop.reset_restart_stage": object,
    "fit_loop.epoch_loop.max_steps": int,
    "fit_loop.epoch_loop.restarting": bool,
    "fit_loop.epoch_loop.restarted_on_train_batch_end": bool,
    "fit_loop._combined_loader": object,
}


def check_lightning(trainer: Any) -> None:
    """Check that a trainer has all counters, with the expected types.

    Raises:
        ConfigError: a counter is missing or has another type; the message names the installed
            version and the versions tried.
    """
    for name, kind in _ATTRIBUTES.items():
        try:
            value = attrgetter(name)(trainer)
        except AttributeError:
            raise internals_changed("lightning", f"Trainer.{name}", "is missing") from None
        if not isinstance(value, kind):
            found = f"is {value!r}, where {kind.__name__} is expected"
            raise internals_changed("lightning", f"Trainer.{name}", found)
