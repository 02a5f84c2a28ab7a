"""ExportEncoder: writes the model for sentence-transformers, during training or at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import lightning
from lightning.pytorch.utilities import rank_zero_warn

from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.training.export.encoder_export import check_target

Which = Literal["last", "best", "every"]


class ExportEncoder(lightning.Callback):
    """Writes the model of a fit as a folder that sentence-transformers loads.

    A folder appears complete or not at all, and exporting does not influence training. A folder
    that this run has written may be replaced, also after a resume. Any other folder with files is
    refused before the first step, unless ``overwrite`` is set.

    Args:
        folder: the folder to write to.
        which: ``last``: at the end of the fit; ``best``: after each validation that is better than
            all before; ``every``: after each validation, to ``folder/step-<optimizer steps>``.
        monitor: the logged value that ``best`` compares.
        mode: whether a higher (``max``) or lower (``min``) value is better.
        overwrite: whether to replace a folder of an earlier run.
        check: whether to load each folder again and compare token ids and vectors.

    Raises:
        ConfigError: ``which`` or ``mode`` is unknown.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        which: Which = "last",
        *,
        monitor: str = "val/ndcg@10",
        mode: Literal["max", "min"] = "max",
        overwrite: bool = False,
        check: bool = True,
    ) -> None:
        check_choice(which, Which, "which")
        check_choice(mode, ("max", "min"), "mode")
        self.folder = with_home(folder)
        self.which = which
        self.monitor = monitor
        self.mode = mode
        self.overwrite = overwrite
        self.check = check
        self._best: float | None = None
        self._written: list[str] = []

    @property
    def state_key(self) -> str:
        """The callback's name in checkpoints, which differs for callbacks with other folders."""
        return f"{type(self).__name__}({self.which}, {self.folder.name})"

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far and the folders that were written."""
        return {"best": self._best, "written": list(self._written)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value so far and the folders that were written."""
        self._best, self._written = state_dict["best"], list(state_dict["written"])

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Refuse a model without ``export``, and a folder that must not be replaced.

        Raises:
            ConfigError: the model has no ``export``, or the folder has files of another run.
        """
        if not hasattr(pl_module, "export"):
            raise ConfigError(
                f"ExportEncoder: {type(pl_module).__name__} has no export() (train a BiEncoder or "
                "a CrossEncoder, or take the callback out)"
            )
        may_replace = self.overwrite or str(self.folder) in self._written
        if self.which != "every" or not may_replace:
            check_target(self.folder, overwrite=may_replace)

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Export if ``which`` is ``every``, or if it is ``best`` and the value is the best.

        Raises:
            ConfigError: the value ``monitor`` was not logged, or the folder cannot be exported to.
        """
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self.which == "every":
            self._export(pl_module, self.folder / f"step-{trainer.global_step:06d}")
        if self.which == "best" and self._is_best(trainer):
            self._export(pl_module, self.folder)

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Export the last state if ``which`` is ``last``; else warn if nothing was exported."""
        if self.which == "last":
            self._export(pl_module, self.folder)
        elif not self._written:
            rank_zero_warn(
                f"ExportEncoder(which={self.which!r}) exported nothing: there was no validation "
                "(give eval data, or which='last')"
            )

    def _is_best(self, trainer: lightning.Trainer) -> bool:
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise ConfigError(
                f"ExportEncoder: monitor={self.monitor!r} was not logged; there are {known}"
            )
        value = float(trainer.callback_metrics[self.monitor])
        sign = 1 if self.mode == "max" else -1
        is_best = self._best is None or sign * value > sign * self._best
        if is_best:
            self._best = value
        return is_best

    def _export(self, pl_module: Any, folder: Path) -> None:
        # Overwriting is safe: the folder was checked before the first step or written by this run.
        pl_module.export(folder, overwrite=True, check=self.check)
        if str(self.folder) not in self._written:
            self._written.append(str(self.folder))
