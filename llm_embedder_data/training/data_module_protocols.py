"""Protocols for what a model needs to know from its data module.

RetrievalDataModule implements all of them. A model can also train with a data module that
implements none.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

from transformers import PreTrainedTokenizerBase

from llm_embedder_data.config.recipes import Instruction, ModelSettings, Recipe, TaskSettings
from llm_embedder_data.mining.embeddable_texts import PromptedTexts


@runtime_checkable
class GivesTaskSettings(Protocol):
    """A data module that knows how each task is trained."""

    def task_settings(self, task: str) -> TaskSettings:
        """Return a task's settings: the data module's arguments merged with its recipe.

        A field is None where neither sets it.
        """


@runtime_checkable
class GivesConventions(Protocol):
    """A data module that knows model-wide settings, and the instructions put before texts."""

    recipe: Recipe

    def model_settings(self) -> ModelSettings:
        """Return the recipe's model-wide settings; a field is None where it is not set."""

    def instruction(self, task: str) -> Instruction:
        """Return the texts put before a task's queries and keys."""


@runtime_checkable
class GivesLongestInputs(Protocol):
    """A data module that knows how long its tokenized texts can be."""

    def longest_inputs(self) -> dict[str, tuple[int, int]]:
        """Return the maximum lengths of texts and batches, by the setting that determines them.

        Each value has two numbers: the maximum number of tokens of a text, and the maximum number
        of columns of a batch, which is higher if batches are padded to a multiple.
        """


@runtime_checkable
class GivesTextsToEmbed(Protocol):
    """A data module that knows the texts to embed into embedding stores."""

    tokenizer: PreTrainedTokenizerBase
    hparams: Any

    def texts_to_embed(self, kind: Literal["corpus", "eval_data"]) -> dict[str, PromptedTexts]:
        """Return the passages or queries with their prompts, by name of the dataset."""


@runtime_checkable
class GivesPairs(Protocol):
    """A data module that may make (query, key) pairs for a cross-encoder."""

    cross: bool
    eval_method: str
    hparams: Any


def tokenizer_of(datamodule: object) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of a data module's batches, or None if it does not tell."""
    tokenizer = getattr(datamodule, "tokenizer", None)
    return tokenizer if isinstance(tokenizer, PreTrainedTokenizerBase) else None
