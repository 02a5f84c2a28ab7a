"""LLM-Embedder's dataset builders, on top of this package's builders."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from llm_embedder_data.batches.groups.eval_rows import CorpusPassages, EvalQueries
from llm_embedder_data.batches.groups.train_rows import TrainRows
from llm_embedder_data.compat.numbered_rows import (
    CorpusDataset,
    EvalDataset,
    TrainDataset,
    score_lists,
)
from llm_embedder_data.compat.records import train_set_of
from llm_embedder_data.compat.task_config import recipe_of
from llm_embedder_data.config.negative_limits import LIMITS, normal_limit
from llm_embedder_data.config.recipe_rules import (
    COUNT,
    FLAG,
    NUMBER,
    WHOLE,
    Rule,
    check_value,
)
from llm_embedder_data.config.recipes import (
    ANY_TASK,
    Instruction,
    NegativeStrategy,
    PositiveStrategy,
    Recipe,
    TaskSettings,
)
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.rows.corpora import build_corpus
from llm_embedder_data.rows.eval_sets import build_eval_sets
from llm_embedder_data.rows.schema.evaluation import EvalMethod, eval_fields
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS
from llm_embedder_data.rows.selection.train_settings import TrainSettings
from llm_embedder_data.rows.settings.key_templates import template_fields
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.dataset_names import by_unique_name
from llm_embedder_data.rows.sources.sources import resolve_sources
from llm_embedder_data.rows.train_sets import build_train_sets

DEFAULT_TASK = "qa"


_PATH: Rule = (lambda value: isinstance(value, str | os.PathLike), "the path of a folder")

_CHOICES = {"select_positive": PositiveStrategy, "select_negative": NegativeStrategy}

_RULES: Mapping[str, Rule] = {
    "train_group_size": COUNT,
    "stable_distill": FLAG,
    "add_instruction": FLAG,
    "use_train_config": FLAG,
    "seed": WHOLE,
}

# Rules for arguments that may also be None, and what None stands for.
_RULES_OR_NONE: Mapping[str, tuple[Rule, str]] = {
    "max_sample_num": (COUNT, "all rows"),
    "teacher_scores_margin": (NUMBER, "no limit"),
    "teacher_scores_min": (NUMBER, "no limit"),
    "cache_dir": (_PATH, "the default folder"),
}


def _check_arguments(**arguments: Any) -> None:
    """Refuse an argument of another type, or with a value that is not allowed.

    Raises:
        ConfigError: the message has the argument, its value and what is allowed.
    """
    for name, value in arguments.items():
        if name in _CHOICES:
            check_choice(value, _CHOICES[name], name)
        elif name in _RULES:
            check_value(value, _RULES[name], name)
        elif value is not None:
            rule, none = _RULES_OR_NONE[name]
            check_value(value, rule, name, f"or None for {none}")


def _given_instruction(instruction: Any) -> Instruction:
    """Return the instruction that an argument gives, empty if it is None.

    Raises:
        ConfigError: it is not a mapping of ``query`` and ``key`` to texts.
    """
    given = {} if instruction is None else instruction
    is_good = isinstance(given, Mapping) and {*given} <= {"query", "key"}
    if not is_good or not all(isinstance(text, str) for text in given.values()):
        raise ConfigError(
            f"instruction={instruction!r}: expected a mapping such as "
            "{'query': 'query: ', 'key': 'passage: '}"
        )
    return Instruction(**given)


# A recipe that accepts any task and gives it no instruction.
_ANY = Recipe("any", {ANY_TASK: Instruction()})


class RetrievalDataset:
    """The builders of LLM-Embedder, as static methods."""

    @staticmethod
    def get_train_process_fn(
        train_group_size: int = 8,
        select_positive: PositiveStrategy = "first",
        select_negative: NegativeStrategy = "random",
        teacher_scores_margin: float | None = None,
        teacher_scores_min: float | None = None,
        stable_distill: bool = False,
        instruction: Mapping[str, str] | None = None,
        seed: int = 42,
    ) -> Callable[..., dict[str, Any]]:
        """Return a function for ``datasets.map(batched=True)``.

        The function makes the columns ``query``, ``key``, ``task`` and, if a row has scores,
        ``teacher_scores``, as :class:`TrainDataset` does. It leaves out rows that a filter drops,
        and rows without a negative. With ``with_indices=True``, random choices depend on (seed, row
        number); otherwise they depend on the seed and the row's position in the batch.
        """
        _check_arguments(
            train_group_size=train_group_size,
            select_positive=select_positive,
            select_negative=select_negative,
            teacher_scores_margin=teacher_scores_margin,
            teacher_scores_min=teacher_scores_min,
            stable_distill=stable_distill,
            seed=seed,
        )
        settings = TrainSettings(
            select_positive=select_positive,
            select_negative=select_negative,
            teacher_scores_margin=teacher_scores_margin,
            teacher_scores_min=teacher_scores_min,
            stable_distill=stable_distill,
            asked=_asked(select_positive, select_negative, stable_distill),
        )
        texts = _given_instruction(instruction)

        def process(
            batch: Mapping[str, Sequence[Any]], indices: Sequence[int] | None = None
        ) -> Any:
            names = list(batch)
            records = [
                dict(zip(names, row, strict=True)) for row in zip(*batch.values(), strict=True)
            ]
            made = train_set_of(records, settings)
            rows = TrainRows(made, train_group_size, seed)
            numbers = None if indices is None else np.asarray(indices, np.int64)[made.kept]
            groups = rows.groups(made.kept, epoch=0, numbers=numbers)
            columns: dict[str, Any] = {
                "query": [texts.query + text for text in groups.query],
                "key": [[texts.key + text for text in keys] for keys in groups.key],
                "task": [records[row].get("task") or DEFAULT_TASK for row in made.kept],
            }
            if groups.teacher_scores is not None:
                columns["teacher_scores"] = score_lists(groups.teacher_scores)
            return columns

        return process

    @staticmethod
    def prepare_train_dataset(
        data_file: str | Sequence[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        config: Mapping[str, Any] | None = None,
        train_group_size: int = 8,
        select_positive: PositiveStrategy = "first",
        select_negative: NegativeStrategy = "random",
        max_sample_num: int | None = None,
        teacher_scores_margin: float | None = None,
        teacher_scores_min: float | None = None,
        stable_distill: bool = False,
        add_instruction: bool = False,
        instruction: Mapping[str, str] | None = None,
        use_train_config: bool = False,
        seed: int = 42,
    ) -> tuple[TrainDataset, dict[str, tuple[int, int]]] | tuple[None, None]:
        """Read training files, as LLM-Embedder's function of the same name does.

        ``config`` is an entry of :data:`TASK_CONFIG`. With ``use_train_config``, the entry's
        ``training`` settings replace the arguments.

        Returns:
            The dataset, and the range of rows of each dataset name: ``{name: (first row, last row +
            1)}``. ``(None, None)`` without ``data_file``.

        Raises:
            DataError: a file or a row cannot be used.
            ConfigError: a strategy is unknown, or ``config`` is missing or lacks a task of the
                data.
        """
        if data_file is None:
            return None, None
        _check_arguments(
            cache_dir=cache_dir,
            train_group_size=train_group_size,
            select_positive=select_positive,
            select_negative=select_negative,
            max_sample_num=max_sample_num,
            teacher_scores_margin=teacher_scores_margin,
            teacher_scores_min=teacher_scores_min,
            stable_distill=stable_distill,
            add_instruction=add_instruction,
            use_train_config=use_train_config,
            seed=seed,
        )
        if config is None and (add_instruction or use_train_config):
            raise ConfigError(
                "config=None: add_instruction and use_train_config need one (give an entry of "
                "TASK_CONFIG)"
            )
        given = _given_instruction(instruction)
        recipe = _ANY if config is None else recipe_of(config)
        arguments = TrainSettings(
            select_positive=select_positive,
            select_negative=select_negative,
            teacher_scores_margin=teacher_scores_margin,
            teacher_scores_min=teacher_scores_min,
            max_sample_num=max_sample_num,
            stable_distill=stable_distill,
            asked=_asked(select_positive, select_negative, stable_distill),
        )

        def settings_of(task: str) -> TrainSettings:
            return _overridden(arguments, recipe.settings(task)) if use_train_config else arguments

        reading = ReadingSettings(
            recipe if add_instruction else _ANY,
            DEFAULT_TASK,
            cache_dir=cache_dir,
            add_instruction=False,  # in LLM-Embedder, rows have no instructions
        )
        sets = [
            train_set
            for source in resolve_sources(data_file, setting="data_file", fields=TRAIN_FIELDS)
            for train_set in build_train_sets(source, reading, settings_of=settings_of, seed=seed)
        ]
        by_unique_name(sets, "data_file")
        dataset = TrainDataset(
            [TrainRows(train_set, train_group_size, seed) for train_set in sets],
            [
                recipe.instruction(train_set.task) if add_instruction else given
                for train_set in sets
            ],
        )
        return dataset, dataset.indices_range

    @staticmethod
    def prepare_eval_dataset(
        data_file: str | Sequence[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        instruction: Mapping[str, str] | None = None,
        eval_method: Literal["retrieve", "retrieval", "rerank"] = "retrieve",
    ) -> EvalDataset | None:
        """Read eval files: rows of query, query_id and task; to rerank also key and key_index."""
        if data_file is None:
            return None
        _check_arguments(cache_dir=cache_dir)
        check_choice(eval_method, ("retrieve", "retrieval", "rerank"), "eval_method")
        method: EvalMethod = "rerank" if eval_method == "rerank" else "retrieve"
        texts = _given_instruction(instruction)
        sources = resolve_sources(data_file, setting="data_file", fields=eval_fields(method))
        reading = ReadingSettings(_ANY, DEFAULT_TASK, cache_dir=cache_dir, add_instruction=False)
        return EvalDataset(
            [
                EvalQueries(eval_set, texts)
                for source in sources
                for eval_set in build_eval_sets(source, reading, eval_method=method)
            ]
        )

    @staticmethod
    def prepare_corpus(
        data_file: str | Sequence[str] | None,
        key_template: str,
        cache_dir: str | os.PathLike[str] | None = None,
        instruction: Mapping[str, str] | None = None,
    ) -> CorpusDataset | None:
        """Read a corpus: rows of content, the fields of a passage joined by ``key_template``."""
        if data_file is None:
            return None
        _check_arguments(cache_dir=cache_dir)
        texts = _given_instruction(instruction)
        fields = template_fields(key_template)
        reading = ReadingSettings(_ANY, DEFAULT_TASK, cache_dir=cache_dir, add_instruction=False)
        sources = resolve_sources(data_file, setting="data_file", fields=fields)
        return CorpusDataset(
            [
                CorpusPassages(
                    build_corpus(source, reading, key_template=key_template),
                    texts.key,
                    source.name,
                )
                for source in sources
            ]
        )


def _overridden(arguments: TrainSettings, settings: TaskSettings) -> TrainSettings:
    """Replace arguments by the settings that the config names, even by None, as in LLM-Embedder."""
    values = asdict(arguments) | {
        name: getattr(settings, name)
        for name in settings.given
        if name in TrainSettings.__dataclass_fields__
    }
    limits = {name: normal_limit(getattr(settings, name)) for name in LIMITS}
    values["limits"] = {name: limit for name, limit in limits.items() if limit is not None}
    values["asked"] = arguments.asked - settings.given
    return TrainSettings(**values)


def _asked(select_positive: str, select_negative: str, stable_distill: bool) -> frozenset[str]:
    """Return the names of the arguments that differ from their defaults."""
    asked = {"select_positive": select_positive != "first"}
    asked |= {"select_negative": select_negative != "random", "stable_distill": stable_distill}
    return frozenset(name for name, is_asked in asked.items() if is_asked)
