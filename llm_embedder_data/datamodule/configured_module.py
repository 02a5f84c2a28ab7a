"""The settings of a data module, and everything that follows from them without reading data."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.config.model_pooling import leaves_prompt_out
from llm_embedder_data.config.model_prompts import with_conventions
from llm_embedder_data.config.model_tokenizer import load_tokenizer
from llm_embedder_data.config.recipes import (
    Instruction,
    ModelSettings,
    Recipe,
    TaskSettings,
    load_recipe,
)
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.core.printable import cause
from llm_embedder_data.datamodule.open_data.building import DatasetBuilder
from llm_embedder_data.datamodule.resume.run_fingerprint import TokenizerFingerprint
from llm_embedder_data.datamodule.settings.hparams import (
    logged_names,
    recorded,
    refuse_descriptions,
)
from llm_embedder_data.datamodule.settings.settings import (
    DEFAULTS,
    DataSettings,
)
from llm_embedder_data.datamodule.settings.settings_checks import check_settings, check_whole
from llm_embedder_data.datamodule.settings.task_settings import merged_task_settings
from llm_embedder_data.rows.schema.evaluation import EvalMethod


class ReadOnlySetting(ConfigError, AttributeError):
    """A setting that is fixed for the whole life of a data module."""


# Exceptions, because Lightning's batch-size finder sets them.
_SETTABLE = ("batch_size", "eval_batch_size")


class ConfiguredDataModule(LightningDataModule):
    """Holds the settings in force: read-only, recorded in checkpoints, and sent to loggers.

    Args:
        settings: the arguments of the constructor, as the user passed them.

    Raises:
        ConfigError: a setting is invalid.
    """

    def __init__(self, settings: DataSettings) -> None:
        super().__init__()
        self._settings = settings
        refuse_descriptions(settings)
        check_settings(settings)
        self._given_recipe = load_recipe(settings.recipe)
        # These lines do what save_hyperparameters() does. It cannot be called, because it compares
        # values, which fails for data in memory.
        self._set_hparams(recorded(settings))
        self._hparams_initial = copy.deepcopy(self._hparams)
        self._log_hyperparams = True

    @property
    def batch_size(self) -> int:
        """Queries per rank and step, for datasets that do not set a size themselves.

        It can be changed, as Lightning's batch-size finder does; loaders made afterwards use it.
        """
        return self._settings.batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        check_whole("batch_size", size)
        self._settings = replace(self._settings, batch_size=size)
        self.hparams["batch_size"] = size

    @property
    def eval_batch_size(self) -> int:
        """Queries or passages per rank and step; it can be changed, like :attr:`batch_size`."""
        return self._settings.eval_batch_size

    @eval_batch_size.setter
    def eval_batch_size(self, size: int) -> None:
        check_whole("eval_batch_size", size)
        self._settings = replace(self._settings, eval_batch_size=size)
        self.hparams["eval_batch_size"] = size

    @property
    def cache_dir(self) -> Path | None:
        """The folder of Arrow files and token tables; None means the default folder."""
        folder = self._settings.cache_dir
        return None if folder is None else with_home(folder)

    @property
    def default_task(self) -> str:
        """The task of rows that name no task."""
        return self._settings.default_task

    @property
    def add_instruction(self) -> bool:
        """Whether the recipe's instructions are put before queries and keys."""
        return self._settings.add_instruction

    @property
    def use_train_config(self) -> bool:
        """Whether the recipe's per-task settings apply."""
        return self._settings.use_train_config

    @property
    def train_group_size(self) -> int:
        """Keys per query."""
        return self._settings.train_group_size

    @property
    def cross(self) -> bool:
        """Whether batches are (query, key) pairs for a cross-encoder."""
        return self._settings.cross

    @property
    def seed(self) -> int:
        """The seed of every random choice."""
        return self._settings.seed

    @property
    def eval_method(self) -> EvalMethod:
        """``retrieve`` to search a corpus, or ``rerank`` to rank the candidates of each row."""
        return self._settings.eval_method

    def __setattr__(self, name: str, value: Any) -> None:
        if name in DEFAULTS and name not in _SETTABLE and "_settings" in self.__dict__:
            raise ReadOnlySetting(
                f"data.{name} of a data module cannot be changed: objects that were built from it "
                f"would not change (make a new one: RetrievalDataModule(..., {name}={name}))"
            )
        super().__setattr__(name, value)

    @property
    def hparams_initial(self) -> Any:
        """The settings under the names that loggers record; see :func:`logged_names`."""
        model = getattr(self.trainer, "lightning_module", None)
        return logged_names(super().hparams_initial, model)

    @cached_property
    def recipe(self) -> Recipe:
        """The instructions and per-task settings in force; with ``auto``, the encoder's own."""
        given = self._given_recipe
        return with_conventions(given, self._model_name) if given.is_auto else given

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, loaded when it is first used."""
        given = self._settings.tokenizer
        if isinstance(given, PreTrainedTokenizerBase):
            return given
        try:
            return load_tokenizer(given)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"data.tokenizer={given!r} cannot be loaded: "
                f"{str(error).splitlines()[0]} (give a name on the Hugging Face hub, a folder that "
                "holds a tokenizer, or a tokenizer)"
            ) from cause(error)

    def task_settings(self, task: str) -> TaskSettings:
        """Return a task's training settings: the user's, or the recipe's where there is none."""
        return merged_task_settings(self._settings, self.recipe, task)

    def model_settings(self) -> ModelSettings:
        """Return the recipe's model-wide training settings; empty without ``use_train_config``."""
        return self.recipe.model if self._settings.use_train_config else ModelSettings()

    def instruction(self, task: str) -> Instruction:
        """Return the texts put before a task's queries and keys, empty if instructions are off."""
        return self._builder.instruction(task)

    def longest_inputs(self) -> dict[str, tuple[int, int]]:
        """Return (maximum tokens of a text, maximum columns of a padded batch), by setting."""
        return self._settings.longest_inputs()

    @cached_property
    def _builder(self) -> DatasetBuilder:
        return DatasetBuilder(self._settings, self.recipe)

    @cached_property
    def _collator(self) -> RetrievalDataCollator:
        settings = self._settings
        return RetrievalDataCollator(
            self.tokenizer,
            query_max_length=settings.query_max_length,
            key_max_length=settings.key_max_length,
            cross=settings.cross,
            pad_to_multiple_of=settings.pad_to_multiple_of,
            layout=settings.layout,
            chunk_size=settings.chunk_size,
            unique_keys=settings.unique_keys,
            prompt_lengths=leaves_prompt_out(self._model_name),
        )

    @cached_property
    def _tokenizer_fingerprint(self) -> TokenizerFingerprint:
        return TokenizerFingerprint.of(self.tokenizer)

    @property
    def _model_name(self) -> str | None:
        """The folder or hub name that the tokenizer comes from; None if unknown."""
        tokenizer = self._settings.tokenizer
        if isinstance(tokenizer, PreTrainedTokenizerBase):
            return tokenizer.name_or_path or None
        return os.fspath(tokenizer)
