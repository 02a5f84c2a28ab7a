"""The settings of a model in a run: its arguments, the recipe's, the defaults."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import cast

import lightning

from llm_embedder_data.config.recipes import ModelSettings, Recipe, TaskSettings
from llm_embedder_data.core.printable import printable
from llm_embedder_data.training.data_module_protocols import GivesConventions, GivesTaskSettings
from llm_embedder_data.training.settings import DEFAULTS, LossSettings, merge_loss_settings

logger = logging.getLogger(__name__)


class FollowsRecipe(lightning.LightningModule):
    """A model that takes what its arguments leave open from a recipe, its own or the data module's.

    A subclass sets the attributes below in its ``__init__``.

    Attributes:
        _recipe: the model's own recipe, which replaces the data module's, or None.
        _given: settings that the model was given.
        _warned: messages that were logged in this run.
    """

    _recipe: Recipe | None
    _given: ModelSettings
    _warned: set[str]

    @property
    def model_settings(self) -> ModelSettings:
        """The model-wide settings: each is the argument, else the recipe's, else the default."""
        datamodule, from_recipe = self._datamodule, ModelSettings()
        if self._recipe is not None:
            from_recipe = self._recipe.model
        elif isinstance(datamodule, GivesConventions):
            from_recipe = datamodule.model_settings()
        return DEFAULTS | from_recipe | self._given

    def settings_of(self, task: str) -> LossSettings:
        """Return a task's loss settings.

        Each is the argument, else the recipe's for the task, else the recipe's for the model, else
        the default.
        """
        datamodule, of_task = self._datamodule, TaskSettings()
        if isinstance(datamodule, GivesTaskSettings):
            of_task = datamodule.task_settings(task)
        if self._recipe is not None:
            # Whether negatives are sorted is the data module's choice if the recipe has none.
            sorted_negatives = of_task.stable_distill
            of_task = self._recipe.settings(task)
            if of_task.stable_distill is None:
                of_task = replace(of_task, stable_distill=sorted_negatives)
        return merge_loss_settings(self.model_settings, of_task, self._given)

    @property
    def temperature(self) -> float:
        """The number that divides the cosine."""
        return cast(float, self.model_settings.temperature)

    @property
    def learning_rate(self) -> float:
        """The peak learning rate of AdamW; Lightning's learning-rate finder sets it."""
        return cast(float, self.model_settings.learning_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._given = replace(self._given, learning_rate=float(value))

    # The trainer, which is absent in a notebook

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

    def _warn_once(self, message: str) -> None:
        """Warn on rank 0, once per run, except in the sanity check, which sees few batches."""
        trainer = self._attached
        if message in self._warned or (trainer is not None and trainer.sanity_checking):
            return
        self._warned.add(message)
        if self.global_rank == 0:
            logger.warning(printable(message))
