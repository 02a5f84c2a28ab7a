"""DataFigures: logs how fast data come, how much of them is padding, and which rows were seen."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from llm_embedder_data.batches.plan.sampler import SameTaskSampler
from llm_embedder_data.callbacks.batch_counts import BatchCounts, FiguresWindow
from llm_embedder_data.callbacks.coverage import Coverage
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line, printable
from llm_embedder_data.datamodule.loading.loaders import BatchLoader, Watch
from llm_embedder_data.datamodule.module import RetrievalDataModule


class DataFigures(Callback):
    """Logs figures of the data path to the trainer's loggers, and warns if the device waits.

    All figures are measured on the host before a batch goes to the device, so measuring never waits
    for the device. Ranks do not communicate: the log has the figures of rank 0. To estimate the
    tokens of all ranks, multiply by the number of ranks. Shares and coverage are the same on every
    rank, because all ranks train on the same plan. Unless stated otherwise, a figure is about the
    last ``every_n_steps`` batches:

    - ``data/tokens_per_s``: tokens without padding per second of training, without validation
    - ``data/padded_share``: share of padding among the elements of ``input_ids``
    - ``data/wait_s``: seconds per batch that training waited for data
    - ``data/wait_share``: share of the time that training waited for data. On a GPU, a wait counts
      only if the GPU had finished its work when the batch came. The GPU may have finished during
      the wait, so this is an upper bound
    - ``data/share/<task>``: the task's share of all steps since the fit began
    - ``data/coverage`` and ``data/coverage/<dataset>``: share of the kept rows that any rank has
      trained on so far, also before a resume; not logged with more than 100 million rows. A later
      fit on other datasets begins anew
    - ``data/known_positives``: keys per query that belong to other queries of this rank's batch and
      are known to answer this query, so that the loss leaves them out
    - ``data/rejected_negatives``: number of hard negatives of the kept rows that limits such as
      ``relative_margin`` leave out in this epoch, over all datasets; logged only if there are
      limits

    Args:
        every_n_steps: batches between two values in the log.
        warn_share: share of the time that may be spent waiting. Above it, each rank warns once and
            names settings to change. The first ``every_n_steps`` batches are not judged.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(self, every_n_steps: int = 50, *, warn_share: float = 0.1) -> None:
        if type(every_n_steps) is not int or every_n_steps < 1:
            raise ConfigError(
                f"every_n_steps={every_n_steps!r}: expected a whole number of at least 1"
            )
        if type(warn_share) not in (int, float) or not 0 <= warn_share <= 1:
            raise ConfigError(f"warn_share={warn_share!r}: expected a number from 0 to 1")
        self.every_n_steps = every_n_steps
        self.warn_share = warn_share
        self._window = FiguresWindow()
        self._figures: dict[str, float] = {}
        self._steps_of_task: Counter[str] = Counter()
        self._coverage = Coverage()
        self._device_done: Any = None
        self._n_windows = 0
        self._has_warned = False

    def state_dict(self) -> dict[str, Any]:
        """Return which rows were trained on and how many steps each task had."""
        return {"seen": self._coverage.packed(), "steps of task": dict(self._steps_of_task)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore which rows were trained on and how many steps each task had."""
        self._coverage = Coverage(state_dict["seen"])
        self._steps_of_task = Counter(state_dict["steps of task"])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that there is a data module whose batches can be watched.

        Raises:
            ConfigError: the data module is not a RetrievalDataModule.
        """
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and not isinstance(datamodule, RetrievalDataModule):
            raise ConfigError(
                "DataFigures measures the batches of a RetrievalDataModule (give one to "
                "trainer.fit(datamodule=...), or take the callback out)"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch the training loader, and all loaders that replace it in this fit."""
        self._watch(trainer, self._count)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the rows of this epoch."""
        self._cover(_sampler_of(trainer))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Log the figures of a window that has ended."""
        sampler = _sampler_of(trainer)
        # Lightning does not call on_train_epoch_start if a fit resumes inside an epoch or at its
        # end, and another callback may have replaced the loader after that call.
        if sampler is not None and not self._coverage.has_begun(sampler):
            self._cover(sampler)
        self._log(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch that was trained on."""
        self._steps_of_task[batch["task"]] += 1
        self._coverage.step()
        if pl_module.device.type == "cuda":
            self._device_done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._device_done.record()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not count the time of validation."""
        self._window.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the time of training again."""
        self._window.resume()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the figures of the last window, and stop watching the loader."""
        self._close(time.perf_counter())
        self._log(trainer)
        self._watch(trainer, None)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Stop watching the loader."""
        self._watch(trainer, None)

    def _cover(self, sampler: SameTaskSampler | None) -> None:
        if sampler is not None and self._coverage.begin(sampler):
            self._steps_of_task.clear()

    def _watch(self, trainer: Trainer, watch: Watch | None) -> None:
        """Watch the training loader, and all that replace it; None stops watching."""
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(datamodule, RetrievalDataModule):
            datamodule.watch_training = watch
        if (loader := _loader_of(trainer)) is not None:
            loader.watch = watch

    def _count(self, batch: Any, asked: float, came: float) -> None:
        """Count a batch that has just come. If the window is full, begin a new window first."""
        if self._window.n_batches == self.every_n_steps:
            self._close(asked)
        was_busy = self._device_done is not None and not self._device_done.query()
        self._window.add(BatchCounts.of(batch), asked, came, was_busy=was_busy)

    def _close(self, now: float) -> None:
        if self._window.n_batches:
            self._figures = self._window.figures(now)
            self._n_windows += 1
        self._window = FiguresWindow()

    def _log(self, trainer: Trainer) -> None:
        """Log the figures of the last window, unless they have been logged."""
        if not self._figures:
            return
        figures, self._figures = self._figures, {}
        if figures["data/wait_share"] > self.warn_share and self._n_windows > 1:
            self._warn(trainer, figures)
        n_steps = self._steps_of_task.total()
        for task, steps in self._steps_of_task.items():
            figures[f"data/share/{one_line(task)}"] = steps / n_steps
        figures |= self._coverage.figures()
        figures |= _rejected_negatives(trainer)
        # Pass the values directly to the loggers: self.log would copy them to the device and wait
        # for it. Use the step under which Lightning logged the last batch.
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=max(trainer.global_step - 1, 0))

    def _warn(self, trainer: Trainer, figures: dict[str, float]) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        knobs = "; ".join(self._knobs(trainer))
        rank = f"rank {trainer.global_rank}: " if trainer.world_size > 1 else ""
        text = (
            f"{rank}{figures['data/wait_share']:.0%} of the time goes into waiting for data "
            f"({figures['data/wait_s']:.3g} s a batch): {knobs} (DataFigures.warn_share changes "
            "when this is said)"
        )
        warnings.warn(printable(text), stacklevel=2)

    def _knobs(self, trainer: Trainer) -> Iterator[str]:
        """Yield settings that may help, the most likely remedy first."""
        settings = trainer.datamodule.hparams  # type: ignore[attr-defined]
        loader = _loader_of(trainer)
        workers = 0 if loader is None else loader.num_workers
        if workers == 0:
            yield "set data.num_workers to the cores that are free"
        if settings["tokenize"] != "cached":
            yield "set data.tokenize=cached, so that no text is tokenized in training"
        if not settings["unique_keys"]:
            yield "set data.unique_keys=true if many rows share passages"
        if settings["layout"] == "padded":
            yield "set data.layout=packed, which has no padding to make and to copy"
        if workers:
            yield f"give more than data.num_workers={workers} if cores are free"


def _loader_of(trainer: Trainer) -> BatchLoader | None:
    """Return the training loader of a fit, if it is one of a RetrievalDataModule."""
    loader = trainer.train_dataloader
    return loader if isinstance(loader, BatchLoader) else None


def _sampler_of(trainer: Trainer) -> SameTaskSampler | None:
    loader = _loader_of(trainer)
    sampler = None if loader is None else loader.sampler
    return sampler if isinstance(sampler, SameTaskSampler) else None


def _rejected_negatives(trainer: Trainer) -> dict[str, float]:
    """Return how many negatives the limits leave out in this epoch; nothing without limits."""
    sampler, counts = _sampler_of(trainer), []
    # Lightning miscounts epochs in some resumed fits; the sampler has the epoch of the plan.
    epoch = trainer.current_epoch if sampler is None else sampler.epoch
    for train_set in trainer.datamodule.train_sets().values():  # type: ignore[attr-defined]
        if train_set.policies is not None:
            firsts = train_set.policies.first_epochs
            number = max(n for n, first in enumerate(firsts) if first <= epoch)
            counts += [by_policy[number] for by_policy in train_set.left_out_by_limit.values()]
    return {"data/rejected_negatives": float(sum(counts))} if counts else {}
