"""The data that a stage needs (fit, validate, test, predict, or None for all): caches, opening."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from lightning.pytorch.trainer.states import TrainerFn
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.open_data.building import DatasetBuilder
from llm_embedder_data.datamodule.open_data.open_data import OpenData
from llm_embedder_data.datamodule.settings.maximum_lengths import notes_on_lengths
from llm_embedder_data.datamodule.settings.settings import DataSettings


def write_caches(
    builder: DatasetBuilder, tokenizer: PreTrainedTokenizerBase, stage: str | None
) -> None:
    """Read the data of a stage once, so that its rows and tokens are in the caches on disk.

    Raises:
        ConfigError, DataError: the data cannot be used.
    """
    train_sets = builder.train_sets()
    evals, corpora = builder.evaluation()
    builder.require_corpora(stage, evals, corpora)
    if stage in ("fit", None):
        builder.token_tables(tokenizer, train_sets)
    builder.token_tables(tokenizer, evals)
    builder.token_tables(tokenizer, builder.matching(evals, corpora).views)


def open_stage(
    data: OpenData,
    builder: DatasetBuilder,
    tokenizer: PreTrainedTokenizerBase,
    settings: DataSettings,
    stage: str | None,
    first_plan: Callable[[], EpochPlan | None],
) -> list[str]:
    """Open the data that a stage needs, unless they are open, and return notes on them.

    Args:
        data: holds the data that are opened.
        builder: builds the datasets.
        tokenizer: the tokenizer of the token tables.
        settings: the settings of the data module.
        stage: the stage.
        first_plan: returns the plan of epoch 0 once the training sets are open; None if there are
            none.

    Raises:
        ConfigError, DataError: the data cannot be used.
    """
    notes = []
    if data.train is None and stage in ("fit", None):
        notes += data.open_train(builder, tokenizer)
        plan = first_plan()
        notes += [] if plan is None else data.notes_on_plan(plan)
    if data.evals is None or data.corpora is None:
        notes += notes_on_lengths(tokenizer, settings)
        notes += data.open_evaluation(builder, tokenizer)
    assert data.evals is not None
    assert data.corpora is not None
    builder.require_corpora(stage, data.evals, data.corpora)
    return notes


def check_instructions_fit(
    data: OpenData, builder: DatasetBuilder, collator: RetrievalDataCollator
) -> None:
    """Check that the instructions in force leave room for texts within the maximum lengths.

    Raises:
        ConfigError: one does not.
    """
    instructions = chain.from_iterable(map(builder.instructions_of, data.with_instructions()))
    for instruction in dict.fromkeys(instructions):
        collator.check_room(instruction.query, instruction.key)


def check_has_eval_data(data: OpenData, stage: str | None) -> None:
    """Check that there are eval data if the stage is an evaluation.

    Raises:
        ConfigError: there are none.
    """
    if stage in ("validate", "test") and not data.evals:
        raise ConfigError(
            f"data.eval_data=None: nothing to {TrainerFn(stage).value} (give eval data)"
        )
