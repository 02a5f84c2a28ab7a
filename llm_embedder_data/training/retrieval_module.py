"""The base class of BiEncoder and CrossEncoder: settings, optimizer, logging and evaluation."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import lightning
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.config.model_tokenizer import load_tokenizer
from llm_embedder_data.config.recipes import ModelSettings, Recipe, TaskSettings, load_recipe
from llm_embedder_data.core.printable import one_line, printable
from llm_embedder_data.training.data_module_protocols import GivesConventions, GivesTaskSettings
from llm_embedder_data.training.evaluation.eval_sources import EvalSources
from llm_embedder_data.training.evaluation.evaluator import RetrievalEvaluator
from llm_embedder_data.training.evaluation.trainer_limits import running_loaders
from llm_embedder_data.training.optimization import Schedule, adamw, warmup_schedule
from llm_embedder_data.training.settings import (
    DEFAULTS,
    LossSettings,
    check_model_arguments,
    merge_loss_settings,
)

logger = logging.getLogger(__name__)


class RetrievalModule(lightning.LightningModule):
    """A model that trains on the batches of RetrievalDataModule and is evaluated by retrieval.

    A subclass defines the training and evaluation steps.

    Attributes:
        evaluator: collects the batches of an evaluation, and computes the metrics.

    Args:
        given: the settings that the user passed as arguments; a field that is None is decided by
            the recipe.
        recipe: a recipe that replaces the data module's; None takes the data module's.
        weight_decay: weight decay of AdamW, except for biases and norms.
        warmup_ratio: share of the optimizer steps in which the learning rate rises from 0, [0, 1].
        schedule: how the learning rate falls to 0 after the warmup, or ``constant``.
        cutoffs: the k of MRR@k, Recall@k and nDCG@k.
    """

    _defaults: ClassVar[ModelSettings] = DEFAULTS

    def __init__(
        self,
        given: ModelSettings,
        *,
        recipe: Recipe | None,
        weight_decay: float,
        warmup_ratio: float,
        schedule: Schedule,
        cutoffs: Sequence[int],
    ) -> None:
        super().__init__()
        check_model_arguments(
            given, weight_decay=weight_decay, warmup_ratio=warmup_ratio, cutoffs=cutoffs
        )
        self._given = given
        self._recipe = recipe
        self.weight_decay = weight_decay
        self.warmup_ratio = warmup_ratio
        self.schedule = schedule
        self.cutoffs = cutoffs
        self._warned: set[str] = set()
        self.evaluator = RetrievalEvaluator(cutoffs)

    # Settings

    @property
    def model_settings(self) -> ModelSettings:
        """Settings for all tasks: arguments override the recipe, which overrides the defaults."""
        datamodule, from_recipe = self._datamodule, ModelSettings()
        if self._recipe is not None:
            from_recipe = self._recipe.model
        elif isinstance(datamodule, GivesConventions):
            from_recipe = datamodule.model_settings()
        return self._defaults | from_recipe | self._given

    def settings_of(self, task: str) -> LossSettings:
        """Return a task's loss settings.

        The order of precedence is: the argument, the recipe's setting for the task, the recipe's
        setting for the model, the default.
        """
        datamodule, of_task = self._datamodule, TaskSettings()
        if isinstance(datamodule, GivesTaskSettings):
            of_task = datamodule.task_settings(task)
        if self._recipe is not None:
            # stable_distill needs sorted negatives, which the data module makes. So if the recipe
            # does not set it, take the data module's value.
            sorted_negatives = of_task.stable_distill
            of_task = self._recipe.settings(task)
            if of_task.stable_distill is None:
                of_task = replace(of_task, stable_distill=sorted_negatives)
        return merge_loss_settings(self.model_settings, of_task, self._given)

    @property
    def learning_rate(self) -> float:
        """The peak learning rate of AdamW; Lightning's learning-rate finder sets it."""
        return cast(float, self.model_settings.learning_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._given = replace(self._given, learning_rate=float(value))

    # Training

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and a schedule that is stepped after every optimizer step.

        Raises:
            ConfigError: the schedule needs the number of steps, but the fit has no limit.
        """
        trainer = self._attached
        optimizer = adamw(
            self.parameters(),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            may_fuse=trainer is not None and trainer.precision == "32-true",
        )
        if self.schedule == "constant" and self.warmup_ratio == 0:
            return optimizer
        scheduler = warmup_schedule(
            optimizer,
            self.trainer.estimated_stepping_batches,
            warmup_ratio=self.warmup_ratio,
            schedule=self.schedule,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _log_loss(self, loss: Tensor, batch: Mapping[str, Any]) -> None:
        """Log this rank's loss of a training batch: as a whole, and by task."""
        n_queries = len(batch["key_mask"])
        # Log to a progress bar only if there is one: reading values at every step makes the host
        # wait for the device.
        has_bar = self._trainer is not None and self._trainer.progress_bar_callback is not None
        # Do not reduce over ranks: that would add a collective operation to each step.
        self.log("train/loss", loss, prog_bar=has_bar, batch_size=n_queries)
        self.log(f"train/loss/{one_line(batch['task'])}", loss, batch_size=n_queries)

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        """Start anew: drop batches that an interrupted evaluation may have left behind."""
        self.evaluator.reset(EvalSources.of_loaders(running_loaders(self.trainer)))

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Log ``val/<eval set>/mrr@10`` etc., and the means over the eval sets, ``val/mrr@10``.

        Nothing is logged in the sanity check, which sees only a few batches of a corpus. If the
        trainer's limits leave out a part of a corpus, its eval sets and the means are not logged.
        """
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the metrics under ``test/``; see :meth:`on_validation_epoch_end`."""
        self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        values = self.evaluator.finish(self, stage, self._warn_once)
        if self.trainer.sanity_checking:
            return
        # sync_dist avoids a warning of Lightning. All ranks have the same values, so their maximum
        # is exact, while a mean over three ranks may differ in the last bit.
        for name, value in values.items():
            self.log(name, value, sync_dist=True, reduce_fx="max", batch_size=1)

    # The trainer; there may be none, as in a notebook

    @property
    def _attached(self) -> lightning.Trainer | None:
        try:
            return self.trainer
        except RuntimeError:  # Lightning raises it if no trainer is attached
            return None

    @property
    def _datamodule(self) -> lightning.LightningDataModule | None:
        return getattr(self._attached, "datamodule", None)

    @property
    def _num_replicas(self) -> int:
        return 1 if self._attached is None else self._attached.world_size

    def _tokenizer_of(self, datamodule: object) -> PreTrainedTokenizerBase | None:
        """Return the data module's tokenizer, or that of the name ``encoder`` if it has none."""
        tokenizer = getattr(datamodule, "tokenizer", None)
        if not isinstance(tokenizer, PreTrainedTokenizerBase) and "encoder" in self.hparams:
            tokenizer = load_tokenizer(self.hparams["encoder"])
        return tokenizer if isinstance(tokenizer, PreTrainedTokenizerBase) else None

    def _warn_once(self, message: str) -> None:
        """Warn on rank 0, once per run, except in the sanity check, which sees few batches."""
        trainer = self._attached
        if message in self._warned or (trainer is not None and trainer.sanity_checking):
            return
        self._warned.add(message)
        if self.global_rank == 0:
            logger.warning(printable(message))


def plain_recipe(
    recipe: Mapping[str, Any] | Recipe | str | os.PathLike[str] | None,
) -> tuple[Recipe | None, Any]:
    """Load a recipe; return it, and the plain Python value to record for it in checkpoints."""
    if recipe is None:
        return None, None
    loaded = load_recipe(recipe, "model.recipe")
    is_name = isinstance(recipe, str | os.PathLike)
    return loaded, os.fspath(recipe) if is_name else loaded.to_mapping()  # type: ignore[arg-type]
