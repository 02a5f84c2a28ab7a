"""LLM-Embedder's names and signatures, thin over the rooms below: change the import line and go on.

``from llm_embedder_data.compat import RetrievalDataset, SameDatasetTrainDataset,
RetrievalDataCollator, TASK_CONFIG`` takes the place of ``from src.retrieval.data import ...`` of
FlagEmbedding, research/llm_embedder. For the deterministic strategies the batches are the
original's, token for token.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch.utils.data import Dataset

from llm_embedder_data.batches.choices import TrainRows
from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups import CorpusPassages, EvalQueries
from llm_embedder_data.batches.plan import EpochPlan, OrganizeMethod
from llm_embedder_data.batches.tokens import InstructedText
from llm_embedder_data.config import ConfigError, check_choice
from llm_embedder_data.recipes import (
    ANY_TASK,
    Instruction,
    NegativeStrategy,
    PositiveStrategy,
    Recipe,
    TaskSettings,
    load_recipe,
    recipe_names,
)
from llm_embedder_data.rows.builders import (
    TRAIN_FIELDS,
    EvalMethod,
    TrainSet,
    build_corpus,
    build_eval_sets,
    build_train_sets,
    eval_fields,
    template_fields,
)
from llm_embedder_data.rows.filters import RowFacts, TrainSettings, count_reasons, drop_reasons
from llm_embedder_data.rows.schema import DataError, train_batch
from llm_embedder_data.rows.sources import resolve_sources

__all__ = ["TASK_CONFIG", "RetrievalDataCollator", "RetrievalDataset", "SameDatasetTrainDataset"]

DEFAULT_TASK = "qa"

# Files that name no task are all one task, whatever it is called.
_ANY = Recipe("any", {ANY_TASK: Instruction()})


def _task_config() -> dict[str, dict[str, Any]]:
    config: dict[str, dict[str, Any]] = {}
    for name in recipe_names():
        recipe = load_recipe(name)
        entry: dict[str, Any] = {}
        instructions = {task: asdict(one) for task, one in recipe.instructions.items()}
        if ANY_TASK in instructions:
            anything = instructions.pop(ANY_TASK)
            entry["instruction"] = defaultdict(anything.copy, instructions)
        else:
            entry["instruction"] = instructions
        if recipe.training:
            entry["training"] = {
                task: {
                    key: value for key, value in asdict(settings).items() if key in settings.given
                }
                for task, settings in recipe.training.items()
            }
        config[recipe.name] = entry
    return config


TASK_CONFIG = _task_config()


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
        """A function for ``datasets.map(batched=True)``: raw columns to query, key, task, scores.

        Rows that a filter takes out, or that have no negative, are missing from what it returns.
        With ``with_indices=True`` random choices are a function of (seed, row number); without, of
        the row's place in the batch.
        """
        settings = TrainSettings(
            select_positive=select_positive,
            select_negative=select_negative,
            teacher_scores_margin=teacher_scores_margin,
            teacher_scores_min=teacher_scores_min,
            stable_distill=stable_distill,
            asked=_asked(select_positive, select_negative, stable_distill),
        )
        put = Instruction(**(instruction or {}))

        def process(
            batch: Mapping[str, Sequence[Any]], indices: Sequence[int] | None = None
        ) -> Any:
            names = list(batch)
            records = [
                dict(zip(names, row, strict=True)) for row in zip(*batch.values(), strict=True)
            ]
            made = _grouped(records, settings)
            rows = TrainRows(made, train_group_size, seed)
            numbers = None if indices is None else np.asarray(indices, np.int64)[made.kept]
            groups = rows.groups(made.kept, epoch=0, numbers=numbers)
            columns: dict[str, Any] = {
                "query": [put.query + text for text in groups.query],
                "key": [[put.key + text for text in keys] for keys in groups.key],
                "task": [records[row].get("task") or DEFAULT_TASK for row in made.kept],
            }
            if groups.teacher_scores is not None:
                columns["teacher_scores"] = _score_lists(groups.teacher_scores)
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
        """(dataset, {dataset name: (first, last + 1)}) of training files.

        ``dataset[i]`` and ``dataset[[i, j]]`` give query, key, task and, where the data has them,
        teacher_scores. ``config`` is an entry of :data:`TASK_CONFIG`; ``use_train_config`` lets its
        ``training`` override the arguments, as LLM-Embedder does.

        Raises:
            DataError: a file or row that cannot be used.
            ConfigError: an unknown strategy, or a config that is missing or has no such task.
        """
        if data_file is None:
            return None, None
        check_choice(select_positive, PositiveStrategy, "select_positive")
        check_choice(select_negative, NegativeStrategy, "select_negative")
        if config is None and (add_instruction or use_train_config):
            raise ConfigError(
                "config=None: add_instruction and use_train_config need one (give an entry of "
                "TASK_CONFIG)"
            )
        recipe = _recipe(config) if add_instruction or use_train_config else _ANY
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

        sets = [
            one
            for source in resolve_sources(data_file, key="data_file", fields=TRAIN_FIELDS)
            for one in build_train_sets(
                source,
                settings_of=settings_of,
                recipe=recipe if add_instruction else _ANY,
                default_task=DEFAULT_TASK,
                seed=seed,
                cache_dir=_path(cache_dir),
            )
        ]
        given = Instruction(**(instruction or {}))
        dataset = TrainDataset(
            [TrainRows(one, train_group_size, seed) for one in sets],
            [recipe.instruction(one.task) if add_instruction else given for one in sets],
        )
        return dataset, dataset.indices_range

    @staticmethod
    def prepare_eval_dataset(
        data_file: str | Sequence[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        instruction: Mapping[str, str] | None = None,
        eval_method: Literal["retrieve", "retrieval", "rerank"] = "retrieve",
    ) -> EvalDataset | None:
        """Eval queries: ``dataset[i]`` gives query, query_id, task; to rerank key, key_index."""
        if data_file is None:
            return None
        check_choice(eval_method, ("retrieve", "retrieval", "rerank"), "eval_method")
        method: EvalMethod = "rerank" if eval_method == "rerank" else "retrieve"
        put = Instruction(**(instruction or {}))
        sources = resolve_sources(data_file, key="data_file", fields=eval_fields(method))
        return EvalDataset(
            [
                EvalQueries(one, put)
                for source in sources
                for one in build_eval_sets(
                    source,
                    eval_method=method,
                    recipe=_ANY,
                    default_task=DEFAULT_TASK,
                    cache_dir=_path(cache_dir),
                )
            ]
        )

    @staticmethod
    def prepare_corpus(
        data_file: str | Sequence[str] | None,
        key_template: str,
        cache_dir: str | os.PathLike[str] | None = None,
        instruction: Mapping[str, str] | None = None,
    ) -> CorpusDataset | None:
        """A corpus: ``dataset[i]`` gives content, its fields put together by ``key_template``."""
        if data_file is None:
            return None
        put = Instruction(**(instruction or {}))
        fields = template_fields(key_template)
        sources = resolve_sources(data_file, key="data_file", fields=fields)
        return CorpusDataset(
            [
                CorpusPassages(
                    build_corpus(source, key_template=key_template, cache_dir=_path(cache_dir)),
                    put.key,
                    source.name,
                )
                for source in sources
            ]
        )


class _Rows(Dataset[dict[str, Any]]):
    """Rows of several parts one after the other, by number or by a list of numbers."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._ends = np.cumsum(np.asarray(sizes, np.int64))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
        if isinstance(index, int | np.integer):
            return {
                name: values[0] for name, values in self._columns(self._checked([index])).items()
            }
        if isinstance(index, slice):
            index = range(*index.indices(len(self)))
        return self._columns(self._checked(index))

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        columns = self._columns(self._checked(indices))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def _checked(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        numbers = np.asarray(indices, np.int64)
        if len(numbers) and not -len(self) <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(f"row must be in [0, {len(self)}), got {indices}")
        return numbers % max(len(self), 1)

    def _columns(self, indices: NDArray[np.int64]) -> dict[str, list[Any]]:
        """The columns of rows in the order asked for, gathered part by part."""
        part_of = np.searchsorted(self._ends, indices, side="right")
        found: dict[str, list[Any]] = {}
        for part in np.unique(part_of):
            at = np.flatnonzero(part_of == part)
            first = int(self._ends[part - 1]) if part else 0
            for name, values in self._part(int(part), indices[at] - first).items():
                column = found.setdefault(name, [None] * len(indices))
                for place, value in zip(at, values, strict=True):
                    column[place] = value
        return found

    def _part(self, part: int, places: NDArray[np.int64]) -> dict[str, list[Any]]:
        raise NotImplementedError


class TrainDataset(_Rows):
    """What :meth:`RetrievalDataset.prepare_train_dataset` gives.

    Random choices are a function of (seed, epoch, row); a Trainer calls :meth:`set_epoch`.
    """

    def __init__(self, parts: Sequence[TrainRows], instructions: Sequence[Instruction]) -> None:
        super().__init__([len(part) for part in parts])
        self._parts, self._instructions = list(parts), list(instructions)
        self._scored = any(part.train_set.n_scored for part in parts)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the choices of another epoch."""
        self.epoch = epoch

    @property
    def column_names(self) -> list[str]:
        return ["query", "key", "task", *(["teacher_scores"] if self._scored else [])]

    @property
    def indices_range(self) -> dict[str, tuple[int, int]]:
        """{dataset name: (first row, last row + 1)}."""
        starts = [0, *self._ends.tolist()]
        return {
            part.train_set.name: (start, end)
            for part, start, end in zip(self._parts, starts, self._ends.tolist(), strict=False)
        }

    def _part(self, part: int, places: NDArray[np.int64]) -> dict[str, list[Any]]:
        rows, put = self._parts[part], self._instructions[part]
        groups = rows.groups(rows.train_set.kept[places], self.epoch)
        columns: dict[str, list[Any]] = {
            "query": [_instructed(put.query, text) for text in groups.query],
            "key": [
                [_instructed(put.key, text) for text, real in zip(texts, mask, strict=True) if real]
                for texts, mask in zip(groups.key, groups.key_mask.tolist(), strict=True)
            ],
            "task": [rows.train_set.task] * len(places),
        }
        if self._scored:
            scores = groups.teacher_scores
            columns["teacher_scores"] = (
                [None] * len(places) if scores is None else _score_lists(scores)
            )
        return columns


class EvalDataset(_Rows):
    """What :meth:`RetrievalDataset.prepare_eval_dataset` gives."""

    def __init__(self, parts: Sequence[EvalQueries]) -> None:
        super().__init__([len(part) for part in parts])
        self._parts = list(parts)

    def _part(self, part: int, places: NDArray[np.int64]) -> dict[str, list[Any]]:
        found = self._parts[part][places]
        put = Instruction(found["query_instruction"], found.get("key_instruction", ""))
        columns = {
            "query": [_instructed(put.query, text) for text in found["query"]],
            "query_id": found["query_id"],
            "task": [found["task"]] * len(places),
        }
        if "key" in found:
            columns["key_index"] = [
                [one for one in row if one >= 0] for row in found["key_index"].tolist()
            ]
            columns["key"] = [
                [_instructed(put.key, text) for text in texts] for texts in found["key"]
            ]
        return columns


class CorpusDataset(_Rows):
    """What :meth:`RetrievalDataset.prepare_corpus` gives."""

    def __init__(self, parts: Sequence[CorpusPassages]) -> None:
        super().__init__([len(part) for part in parts])
        self._parts = list(parts)

    def _part(self, part: int, places: NDArray[np.int64]) -> dict[str, list[Any]]:
        found = self._parts[part][places]
        return {
            "content": [_instructed(found["key_instruction"], text) for text in found["content"]]
        }


class SameDatasetTrainDataset(Dataset[dict[str, Any]]):
    """An item is a whole batch, all of one dataset: item k is this process' share of step k.

    Unlike the original, an item is a function of its number and the epoch: items may be read in any
    order, by any number of workers, again after a restart. For transformers' ``Trainer`` set
    ``per_device_train_batch_size=1`` and give it :class:`RetrievalDataCollator`.

    Accelerate deals the items of a dataset out among processes. Under it, with several processes,
    the length is steps x processes, and item i belongs to process ``i mod processes`` at step ``i
    // processes``: set ``TrainingArguments(train_sampling_strategy="sequential")``, else the
    processes would be at different steps, and so at different tasks, which raises an error.

    Args:
        dataset: from :meth:`RetrievalDataset.prepare_train_dataset`.
        dataset_indices_range: likewise.
        batch_size: queries per process and step.
        seed: of the plan.
        organize_method: epoch, epoch-static, epoch-random, random; see
            :class:`~llm_embedder_data.EpochPlan`.
        process_index: this process.
        num_processes: all processes.
    """

    def __init__(
        self,
        dataset: Any,
        dataset_indices_range: Mapping[str, tuple[int, int]],
        batch_size: int,
        seed: int,
        organize_method: OrganizeMethod,
        process_index: int = 0,
        num_processes: int = 1,
    ) -> None:
        if not 0 <= process_index < num_processes:
            raise ConfigError(f"process_index must be in [0, {num_processes}), got {process_index}")
        self.dataset = dataset
        self.process_index = process_index
        self.num_processes = num_processes
        self._ranges = dict(dataset_indices_range)
        self._plan = EpochPlan(
            {name: stop - start for name, (start, stop) in self._ranges.items()},
            batch_size,
            num_processes,
            seed,
            organize_method,
        )

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch, with an order and choices of its own."""
        self._plan = self._plan.at(epoch)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __len__(self) -> int:
        """Steps of an epoch; under accelerate times the processes, which share them out."""
        return len(self._plan) * (self.num_processes if self._is_dealt_out() else 1)

    def __getitem__(self, index: int) -> dict[str, Any]:
        step = int(index)
        if self._is_dealt_out():
            step, process = divmod(step, self.num_processes)
            if process != self.process_index:
                raise ConfigError(
                    f"item {index} belongs to process {process} of {self.num_processes}, and "
                    f"process {self.process_index} asked for it: a shuffling sampler takes "
                    "processes to different tasks (the items are shuffled already: set "
                    "TrainingArguments(train_sampling_strategy='sequential'))"
                )
        name, rows = self._plan.for_rank(step, self.process_index)
        batch: dict[str, Any] = self.dataset[(rows + self._ranges[name][0]).tolist()]
        return batch

    def _is_dealt_out(self) -> bool:
        """Whether accelerate runs these processes, and so deals the items out among them."""
        state = sys.modules.get("accelerate.state")
        return bool(
            self.num_processes > 1
            and state is not None
            and state.PartialState._shared_state.get("num_processes", 1) == self.num_processes
        )


# ------------------------------------------------------------------------------------------------


def _grouped(records: Sequence[Mapping[str, Any]], settings: TrainSettings) -> TrainSet:
    """A training set of records in memory.

    Raises:
        DataError: a record that breaks a rule, or finds no positive.
    """
    faults: list[str | None] = [None] * len(records)
    rows = datasets.Dataset(pa.Table.from_batches([train_batch(records, faults)]))
    facts = RowFacts(rows.data)
    for row in np.flatnonzero(facts.without_positive(settings)).tolist():
        faults[row] = faults[row] or f"no positive for {settings.select_positive!r} (give it a pos)"
    for number, fault in enumerate(faults):
        if fault is not None:
            raise DataError.at("batch", fault, row=number)
    reasons = drop_reasons(facts, np.ones(len(records), bool), settings)
    kept = np.flatnonzero(reasons == 0)
    return TrainSet(
        name="batch",
        task="",
        files=(),
        digests=(),
        rows=rows,
        n_rows=(),
        kept=kept,
        n_read=len(records),
        dropped=count_reasons(reasons),
        settings=settings,
        n_scored=int(facts.scored.sum()),
        n_without_negatives=0,
    )


def _path(cache_dir: str | os.PathLike[str] | None) -> Path | None:
    return None if cache_dir is None else Path(cache_dir).expanduser()


def _recipe(config: Mapping[str, Any] | None) -> Recipe:
    assert config is not None
    instruction = config["instruction"]
    entries = dict(instruction)
    if isinstance(instruction, defaultdict) and instruction.default_factory is not None:
        entries[ANY_TASK] = instruction.default_factory()
    return load_recipe({"instruction": entries, "training": config.get("training")})


def _overridden(arguments: TrainSettings, settings: TaskSettings) -> TrainSettings:
    """The config's settings in place of the arguments; a null in it counts, as in LLM-Embedder."""
    values = asdict(arguments) | {
        name: getattr(settings, name)
        for name in settings.given
        if name in TrainSettings.__dataclass_fields__
    }
    values["asked"] = arguments.asked - settings.given
    return TrainSettings(**values)


def _asked(select_positive: str, select_negative: str, stable_distill: bool) -> frozenset[str]:
    asked = {"select_positive": select_positive != "first"}
    asked |= {"select_negative": select_negative != "random", "stable_distill": stable_distill}
    return frozenset(name for name, is_asked in asked.items() if is_asked)


def _instructed(instruction: str, text: str) -> str:
    return InstructedText(instruction, text) if instruction else text


def _score_lists(scores: NDArray[np.float64]) -> list[list[float] | None]:
    return [None if np.isnan(row[0]) else row.tolist() for row in scores]
