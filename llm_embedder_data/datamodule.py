"""RetrievalDataModule: the builders, the plan, the groups and the collator, put together for Lightning."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
import xxhash
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Sampler
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from llm_embedder_data.batches.collator import Layout, RetrievalDataCollator
from llm_embedder_data.batches.groups import CorpusPassages, EvalQueries, TrainGroups
from llm_embedder_data.batches.plan import EpochPlan, OrganizeMethod, Remainder, SmallDatasets
from llm_embedder_data.batches.sampler import OverfitSampler, SameTaskSampler, ShardSampler
from llm_embedder_data.config import ConfigError, check_choice
from llm_embedder_data.ranks import Ranks, check_ranks_agree
from llm_embedder_data.recipes import (
    Instruction,
    NegativeStrategy,
    PositiveStrategy,
    TaskSettings,
    load_recipe,
)
from llm_embedder_data.report import Report, make_report
from llm_embedder_data.resume import check_same_run, make_state, position, read_state
from llm_embedder_data.rows.builders import (
    DEFAULT_KEY_TEMPLATE,
    TRAIN_FIELDS,
    Corpus,
    EvalMethod,
    EvalSet,
    OnBadRow,
    OnNoNegatives,
    TrainSet,
    TrainSettings,
    build_corpus,
    build_eval_sets,
    build_train_sets,
    eval_fields,
    template_fields,
)
from llm_embedder_data.rows.schema import DataError
from llm_embedder_data.rows.sources import Source, resolve_sources

Auto = Literal["auto"]
Loader = DataLoader[Any]
Loaders = Loader | dict[str, Loader]


class RetrievalDataModule(LightningDataModule):
    """Feeds the training and evaluation of retrieval embedding models.

    At every step all ranks hold rows of one dataset, and different ones; every rank makes the same number
    of steps; and what a step holds is a function of (data, arguments, seed, epoch, step), so batches are
    the same with any number of workers, after a restart from a Lightning checkpoint, and on any number of
    ranks with the same global batch.

    >>> datamodule = RetrievalDataModule(
    ...     tokenizer="BAAI/bge-small-en-v1.5", train_data="data/*/train.jsonl"
    ... )  # doctest: +SKIP
    >>> trainer.fit(model, datamodule=datamodule)  # doctest: +SKIP

    A training batch is a dict. Shapes: B queries on this rank, G keys each, L tokens, P positives.

    - ``query``: what the tokenizer gives (input_ids, attention_mask, ...), int64 [B, L]
    - ``key``: the same, [B*G, L]; keys of query i are rows i*G .. i*G+G-1, the positive first
    - ``key_mask``: int64 [B, G], 0 where a key is padding
    - ``teacher_scores``: float32 [B, G], or None where the dataset has none; NaN in a row that has none
    - ``task``, ``dataset``: str; ``query_id``: list of int or str; ``row``: int64 [B], rows of the dataset
    - ``key_id``: int64 [B*G], a hash of each key's text; ``positive_id``: int64 [B, P], of all known
      positives, 0 for none. Gathered over ranks they tell a loss which keys are no negatives.
    - ``in_batch_negatives``: bool, the same on all ranks
    - with ``cross``: ``cross`` [B*G, L] and ``batch_size`` in place of ``query`` and ``key``

    An eval batch has query, query_id, task, dataset, corpus, row and pos_index (int64 [n, P], the right
    passages' indices, -1 padded), for reranking also key, key_mask and key_index (int64 [n, G], -1
    padded). A corpus batch has content, index (int64 [n]) and dataset.

    Args:
        tokenizer: a name or path for AutoTokenizer, or a tokenizer.
        train_data: a path, glob or folder, a list of them, or a mapping {name: source}; a source is a
            path, or a dict with ``path`` and any of ``task``, ``format``, ``weight``, ``batch_size``,
            ``in_batch_negatives``, ``max_sample_num`` and names of fields (``query: question``).
        eval_data: likewise; the settings of a source are ``task`` and ``format``.
        corpus: likewise; ``format`` and ``key_template``. An eval set is matched against the corpus of its
            name, or against the only one there is.
        data_root: what the prefix ``llm-embedder:`` of a path stands for.
        recipe: instructions and per-task settings: a name in conf/recipe, a path, or a mapping.
        default_task: task of rows that name none, where their source names none either.
        add_instruction: whether the recipe's instructions are put before queries and keys.
        use_train_config: whether the recipe's per-task settings apply. An argument that differs from its
            default wins over them.
        train_group_size: G, keys per query: 1 positive and G-1 negatives.
        select_positive: first, random, teacher (best score of all keys), teacher-pos (of the positives).
        select_negative: random, first, teacher+ (highest scores first), teacher- (lowest first).
        teacher_scores_min: drop rows whose highest score is lower.
        teacher_scores_margin: drop rows whose highest and lowest score differ by less.
        max_sample_num: train on a random sample of so many rows a dataset, the same for a seed.
        stable_distill: sort negatives by teacher score, descending.
        batch_size: queries per rank and step.
        organize_method: epoch, epoch-static, epoch-random, random; see :class:`EpochPlan`.
        remainder: rows that fill no global batch: rotate (others each epoch) or drop.
        small_datasets: a dataset smaller than one global batch: error, drop, repeat.
        seed: of every random choice.
        query_max_length: tokens, special tokens included.
        key_max_length: tokens, special tokens included.
        cross: (query, key) pairs for a cross-encoder.
        layout: padded.
        pad_to_multiple_of: pad to a multiple of so many tokens; None for no such rule.
        tokenize: on-the-fly.
        key_template: corpus fields to key text; plain field names in braces.
        eval_method: retrieve or rerank.
        eval_batch_size: queries or passages per rank and step.
        num_workers: processes that make batches; auto: none without an accelerator, else up to 8.
        pin_memory: auto: where CUDA is.
        prefetch_factor: batches that each worker keeps ready; auto: 4.
        on_bad_row: raise, or skip and count, rows that break a rule.
        on_no_negatives: rows without a hard negative: drop, or keep (with in-batch negatives only).
        cache_dir: where Arrow files are kept; None: beside Hugging Face datasets' cache.

    Raises:
        ConfigError: an argument that cannot be used; which, why, and what is allowed.
    """

    def __init__(
        self,
        tokenizer: str | PreTrainedTokenizerBase,
        train_data: Any = None,
        eval_data: Any = None,
        corpus: Any = None,
        data_root: str | os.PathLike[str] | None = None,
        recipe: str | os.PathLike[str] | Mapping[str, Any] = "llm_embedder",
        default_task: str = "qa",
        add_instruction: bool = True,
        use_train_config: bool = True,
        train_group_size: int = 8,
        select_positive: PositiveStrategy = "first",
        select_negative: NegativeStrategy = "random",
        teacher_scores_min: float | None = None,
        teacher_scores_margin: float | None = None,
        max_sample_num: int | None = None,
        stable_distill: bool = False,
        batch_size: int = 32,
        organize_method: OrganizeMethod = "epoch",
        remainder: Remainder = "rotate",
        small_datasets: SmallDatasets = "error",
        seed: int = 42,
        query_max_length: int = 256,
        key_max_length: int = 256,
        cross: bool = False,
        layout: Layout = "padded",
        pad_to_multiple_of: int | None = 8,
        tokenize: Literal["on-the-fly"] = "on-the-fly",
        key_template: str = DEFAULT_KEY_TEMPLATE,
        eval_method: EvalMethod = "retrieve",
        eval_batch_size: int = 256,
        num_workers: int | Auto = "auto",
        pin_memory: bool | Auto = "auto",
        prefetch_factor: int | Auto = "auto",
        on_bad_row: OnBadRow = "raise",
        on_no_negatives: OnNoNegatives = "drop",
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        arguments = {name: _plain(value) for name, value in locals().items() if name in _DEFAULTS}
        _check_arguments(arguments)
        self.recipe = load_recipe(arguments["recipe"])
        self.default_task = default_task
        self.add_instruction = add_instruction
        self.use_train_config = use_train_config
        self.batch_size = batch_size
        self.train_group_size = train_group_size
        self.cross = cross
        self.seed = seed
        self.eval_method = eval_method
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self._arguments = arguments
        self._tokenizer = tokenizer
        self._train: dict[str, TrainSet] | None = None
        self._evals: dict[str, EvalSet] | None = None
        self._corpora: dict[str, Corpus] | None = None
        self._resume: dict[str, Any] | None = None

    # -- what Lightning calls -----------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Fetch the tokenizer and write the Arrow caches; touches the disk only."""
        try:
            _ = self.tokenizer
            self._build("fit")
        except (DataError, ConfigError):
            # One rank of many prepares. All ranks meet the same error in setup, and none waits for it.
            if self._ranks.num_replicas == 1:
                raise

    def setup(self, stage: str | None = None) -> None:
        """Open the caches; a second call for the same stage does nothing.

        Raises:
            DataError: data that cannot be used.
            ConfigError: settings that cannot be met, or ranks that do not agree on data and settings.
        """
        with check_ranks_agree(self._ranks) as facts:
            built = self._build(stage or "fit")
            for notes in built:
                rank_zero_warn(notes)
            facts.update(self._facts())
            if self._train is not None:
                plan = self._plan()
                if plan.left_out:
                    rank_zero_warn(
                        "datasets smaller than a global batch are left out (data.small_datasets="
                        f"'drop'): {', '.join(f'{n} ({rows} rows)' for n, rows in plan.left_out.items())}"
                    )
                self._check_instructions_fit()

    def train_dataloader(self) -> Loader:
        """This rank's training batches; ``len`` is the steps of an epoch, the same on every rank."""
        plan = self._plan()
        trainer = self._fitting_trainer()
        start = (0, 0)
        if trainer is not None:
            start = (trainer.fit_loop.epoch_progress.current.processed, 0)
        if self._resume is not None:
            check_same_run(self._resume, self._facts(plan))
            start = position(self._resume, len(plan))
            self._resume = None
        sampler = SameTaskSampler
        if trainer is not None and trainer.overfit_batches:
            sampler = OverfitSampler
        return self._loader(
            TrainGroups(
                self._require(self._train),
                {one.name: self._instruction(one.task) for one in self._train_sets},
                group_size=self.train_group_size,
                seed=self.seed,
            ),
            sampler(plan, rank=self._ranks.rank, start=start),
            persistent=True,
        )

    def val_dataloader(self) -> Loaders:
        """The eval queries, and in retrieve mode the corpora beside them, this rank's share of each.

        One loader alone where there is one; else a dict: the eval sets by name, then ``corpus``, or
        ``corpus/<name>`` where there are several.
        """
        loaders: dict[str, Loader] = {}
        for one in self._require(self._evals).values():
            corpus = self._corpus_of(one.name)
            view = self._view_name(corpus, one.task) if corpus else None
            dataset = EvalQueries(one, self._instruction(one.task), view)
            loaders[one.name] = self._loader(dataset, self._shard(len(dataset)))
        if self.eval_method == "retrieve":
            loaders |= self._corpus_loaders()
        return _one_or_all(loaders)

    def test_dataloader(self) -> Loaders:
        """The same as :meth:`val_dataloader`."""
        return self.val_dataloader()

    def predict_dataloader(self) -> Loaders:
        """This rank's share of the corpus, or of each by name where there are several."""
        loaders = self._corpus_loaders()
        if not loaders:
            raise ConfigError("data.corpus=None: predicting encodes a corpus (give one)")
        return _one_or_all(loaders)

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, in plain Python: the same on every rank, whatever their number."""
        trainer = self._fitting_trainer()
        if trainer is None or self._train is None:
            return {}
        epoch, step = _progress(trainer)
        return make_state(epoch, step, self._facts())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the position of a checkpoint for the next :meth:`train_dataloader`."""
        self._resume = read_state(state_dict)

    # -- what users call ----------------------------------------------------------------------------

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, loaded at its first use."""
        if not isinstance(self._tokenizer, str):
            return self._tokenizer
        try:
            return AutoTokenizer.from_pretrained(self._tokenizer)  # type: ignore[no-any-return]
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"data.tokenizer={self._tokenizer!r} cannot be loaded: {str(error).splitlines()[0]} (give "
                "a name on the Hugging Face hub, a folder that holds a tokenizer, or a tokenizer)"
            ) from error

    def report(self) -> Report:
        """What was read, kept, dropped and why: a dict that prints as a table. Needs :meth:`setup`."""
        return make_report(
            (self._train or {}).values(),
            (self._evals or {}).values(),
            (self._corpora or {}).values(),
            self._plan() if self._train else None,
        )

    def plan(self, epoch: int = 0) -> EpochPlan:
        """The global batches of an epoch. Needs :meth:`setup`."""
        return self._plan().at(epoch)

    def task_settings(self, task: str) -> TaskSettings:
        """The training settings of a task in force: arguments, and the recipe's where they apply."""
        settings = self.recipe.settings(task) if self.use_train_config else TaskSettings()
        ours = asdict(self._settings_of(task))
        return TaskSettings(**asdict(settings) | {k: v for k, v in ours.items() if k != "asked"})

    # -- parts --------------------------------------------------------------------------------------

    def _build(self, stage: str) -> list[str]:
        """Build what the stage needs and is not there yet; sentences that the user should see."""
        if stage == "fit" and self._train is None and self._arguments["train_data"] is not None:
            self._train = _by_name(
                one for source in self._sources("train_data") for one in self._train_of(source)
            )
            fresh: list[Any] = list(self._train.values())
        else:
            fresh = []
        if self._evals is None and stage != "predict":
            self._evals = _by_name(
                one
                for source in self._sources("eval_data")
                for one in build_eval_sets(
                    source,
                    eval_method=self.eval_method,
                    recipe=self.recipe,
                    default_task=self.default_task,
                    on_bad_row=self._arguments["on_bad_row"],
                    cache_dir=self.cache_dir,
                )
            )
            fresh += self._evals.values()
        if self._corpora is None:
            self._corpora = _by_name(
                build_corpus(
                    source,
                    key_template=self._arguments["key_template"],
                    on_bad_row=self._arguments["on_bad_row"],
                    cache_dir=self.cache_dir,
                )
                for source in self._sources("corpus")
            )
            fresh += self._corpora.values()
            for name in self._evals or {}:
                self._corpus_of(name)
        return [f"{one.name}: {note}" for one in fresh for note in one.notes]

    def _sources(self, kind: str) -> list[Source]:
        fields: Sequence[str]
        if kind == "train_data":
            return resolve_sources(
                self._arguments[kind],
                key=f"data.{kind}",
                fields=TRAIN_FIELDS,
                data_root=self._arguments["data_root"],
            )
        fields, settings = eval_fields(self.eval_method), ("task", "format")
        if kind == "corpus":
            settings = ("format", "key_template")
            fields = template_fields(self._arguments["key_template"])
        return resolve_sources(
            self._arguments[kind],
            key=f"data.{kind}",
            fields=[name for name in fields if name not in settings],
            settings=settings,
            data_root=self._arguments["data_root"],
        )

    def _train_of(self, source: Source) -> list[TrainSet]:
        return build_train_sets(
            source,
            settings_of=self._settings_of,
            recipe=self.recipe,
            default_task=self.default_task,
            on_bad_row=self._arguments["on_bad_row"],
            on_no_negatives=self._arguments["on_no_negatives"],
            seed=self.seed,
            cache_dir=self.cache_dir,
        )

    def _settings_of(self, task: str) -> TrainSettings:
        """Arguments that were given, then the recipe's settings, then the defaults."""
        recipe = self.recipe.settings(task) if self.use_train_config else TaskSettings()
        values: dict[str, Any] = {}
        asked = set()
        for name in _SELECTION:
            argument, from_recipe = self._arguments[name], getattr(recipe, name)
            if argument != _DEFAULTS[name]:
                asked.add(name)
            values[name] = argument if name in asked or from_recipe is None else from_recipe
        return TrainSettings(**values, asked=frozenset(asked))

    @property
    def _train_sets(self) -> list[TrainSet]:
        return list(self._require(self._train).values())

    def _instruction(self, task: str) -> Instruction:
        return self.recipe.instruction(task) if self.add_instruction else Instruction()

    def _plan(self) -> EpochPlan:
        sets = self._train_sets
        return EpochPlan(
            {one.name: len(one.kept) for one in sets},
            {one.name: one.batch_size or self.batch_size for one in sets},
            self._ranks.num_replicas,
            self.seed,
            self._arguments["organize_method"],
            remainder=self._arguments["remainder"],
            small_datasets=self._arguments["small_datasets"],
            weights={one.name: one.weight for one in sets},
        )

    def _corpus_of(self, eval_name: str) -> Corpus | None:
        corpora = self._corpora or {}
        if not corpora or self.eval_method != "retrieve":
            return None
        if len(corpora) == 1:
            return next(iter(corpora.values()))
        name = eval_name if eval_name in corpora else eval_name.partition(":")[0]
        if name not in corpora:
            raise ConfigError(
                f"no corpus for eval set {eval_name!r}: data.corpus has {', '.join(corpora)} (name one of "
                "them like the eval set, as mappings {name: path} do)"
            )
        return corpora[name]

    def _view_name(self, corpus: Corpus, task: str) -> str:
        """A corpus' name, with the task where tasks put different instructions before its keys."""
        instructions = {self._instruction(t).key for t in self._tasks_on(corpus)}
        return corpus.name if len(instructions) == 1 else f"{corpus.name}@{task}"

    def _tasks_on(self, corpus: Corpus) -> list[str]:
        tasks = [one.task for one in (self._evals or {}).values() if self._corpus_of(one.name) is corpus]
        return list(dict.fromkeys(tasks or [self.default_task]))

    def _corpus_loaders(self) -> dict[str, Loader]:
        views: dict[str, Loader] = {}
        for corpus in self._require(self._corpora).values():
            for task in self._tasks_on(corpus):
                name = self._view_name(corpus, task)
                if name not in views:
                    dataset = CorpusPassages(corpus, self._instruction(task).key, name)
                    views[name] = self._loader(dataset, self._shard(len(dataset)))
        if len(views) == 1:
            return {"corpus": next(iter(views.values()))}
        return {f"corpus/{name}": loader for name, loader in views.items()}

    def _shard(self, n_rows: int) -> ShardSampler:
        return ShardSampler(
            n_rows,
            self._arguments["eval_batch_size"],
            rank=self._ranks.rank,
            num_replicas=self._ranks.num_replicas,
        )

    def _loader(self, dataset: Any, sampler: Sampler[Any], *, persistent: bool = False) -> Loader:
        workers, prefetch = self._arguments["num_workers"], self._arguments["prefetch_factor"]
        pin = self._arguments["pin_memory"]
        if workers == "auto":
            workers = self._ranks.spare_cores() if torch.accelerator.is_available() else 0
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,  # an index is a whole batch: see SameTaskSampler
            collate_fn=self._collator,
            num_workers=workers,
            pin_memory=torch.cuda.is_available() if pin == "auto" else pin,
            prefetch_factor=None if not workers else 4 if prefetch == "auto" else prefetch,
            persistent_workers=persistent and workers > 0,
            worker_init_fn=_tokenize_in_one_thread,
        )

    @cached_property
    def _collator(self) -> RetrievalDataCollator:
        return RetrievalDataCollator(
            self.tokenizer,
            query_max_length=self._arguments["query_max_length"],
            key_max_length=self._arguments["key_max_length"],
            cross=self.cross,
            pad_to_multiple_of=self._arguments["pad_to_multiple_of"],
            layout=self._arguments["layout"],
        )

    def _check_instructions_fit(self) -> None:
        for task in {one.task for one in self._train_sets}:
            instruction = self._instruction(task)
            self._collator.query_tokenizer.check_room(instruction.query, "data.query_max_length")
            self._collator.key_tokenizer.check_room(instruction.key, "data.key_max_length")

    def _facts(self, plan: EpochPlan | None = None) -> dict[str, Any]:
        """What the batches are a function of, by name, in plain Python; for ranks and checkpoints."""
        facts: dict[str, Any] = {name: self._arguments[name] for name in ("seed", "train_group_size")}
        facts |= {name: self._arguments[name] for name in ("organize_method", "remainder")}
        facts["instructions"] = {
            task: asdict(self._instruction(task))
            for task in sorted({one.task for one in (self._train or {}).values()})
        }
        if self._train:
            plan = plan or self._plan()
        for one in (self._train or {}).values():
            assert plan is not None
            settings = asdict(one.settings)
            settings["asked"] = sorted(settings["asked"])
            facts[f"dataset {one.name}"] = {
                "task": one.task,
                "files": list(one.digests),
                "rows kept": len(one.kept),
                "rows digest": xxhash.xxh3_64_hexdigest(one.kept.tobytes()),
                "global batch": plan.batch_size[one.name] * plan.num_replicas,
                "weight": one.weight,
                "in_batch_negatives": one.in_batch_negatives,
                "settings": settings,
            }
        return facts

    @property
    def _ranks(self) -> Ranks:
        return Ranks.of(self.trainer)

    def _fitting_trainer(self) -> Trainer | None:
        trainer = self.trainer
        return trainer if trainer is not None and hasattr(trainer, "fit_loop") else None

    @staticmethod
    def _require(built: Any) -> Any:
        if built is None:
            raise ConfigError("no data yet: call prepare_data() and setup(), as a Trainer does")
        return built


def _progress(trainer: Trainer) -> tuple[int, int]:
    """(epochs done, steps done of the next) of a trainer."""
    epochs = trainer.fit_loop.epoch_progress.current
    under_way = epochs.ready > epochs.processed
    step = trainer.fit_loop.epoch_loop.batch_progress.current.ready if under_way else 0
    return epochs.processed, step


def _tokenize_in_one_thread(worker: int) -> None:
    # A tokenizer that the parent used before the fork deadlocks in a worker that asks for threads.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _one_or_all(loaders: dict[str, Loader]) -> Loaders:
    return next(iter(loaders.values())) if len(loaders) == 1 else loaders


def _by_name(built: Any) -> dict[str, Any]:
    return {one.name: one for one in built}


_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(RetrievalDataModule).parameters.items()
}

_SELECTION = (
    "select_positive",
    "select_negative",
    "teacher_scores_min",
    "teacher_scores_margin",
    "max_sample_num",
    "stable_distill",
)

_CHOICES: dict[str, Any] = {
    "select_positive": PositiveStrategy,
    "select_negative": NegativeStrategy,
    "organize_method": OrganizeMethod,
    "remainder": Remainder,
    "small_datasets": SmallDatasets,
    "layout": Layout,
    "tokenize": Literal["on-the-fly"],
    "eval_method": EvalMethod,
    "on_bad_row": OnBadRow,
    "on_no_negatives": OnNoNegatives,
}

# The least value of each whole number, and whether null or auto is one.
_WHOLE: dict[str, tuple[int, str | None | type[int]]] = {
    "train_group_size": (1, int),
    "batch_size": (1, int),
    "seed": (0, int),
    "query_max_length": (1, int),
    "key_max_length": (1, int),
    "eval_batch_size": (1, int),
    "max_sample_num": (1, None),
    "pad_to_multiple_of": (1, None),
    "num_workers": (0, "auto"),
    "prefetch_factor": (1, "auto"),
}


def _plain(value: Any) -> Any:
    """Hydra's containers as plain Python, which checkpoints load with torch's default weights_only."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    for name, choices in _CHOICES.items():
        check_choice(arguments[name], choices, f"data.{name}")
    for name, (least, other) in _WHOLE.items():
        value = arguments[name]
        if other is not int and value == other:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            or_else = {None: ", or null", "auto": ", or auto"}.get(other, "")  # type: ignore[arg-type]
            raise ConfigError(
                f"data.{name}={value!r}: expected a whole number of at least {least}{or_else}"
            )
    for name in ("add_instruction", "use_train_config", "stable_distill", "cross"):
        if not isinstance(arguments[name], bool):
            raise ConfigError(f"data.{name}={arguments[name]!r}: expected true or false")
    if arguments["pin_memory"] not in (True, False, "auto"):
        raise ConfigError(f"data.pin_memory={arguments['pin_memory']!r}: expected true, false or auto")
    for name in ("teacher_scores_min", "teacher_scores_margin"):
        value = arguments[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(f"data.{name}={value!r}: expected a number, or null")
    if not isinstance(arguments["tokenizer"], str | PreTrainedTokenizerBase):
        raise ConfigError(
            f"data.tokenizer={arguments['tokenizer']!r}: expected a name, a path, or a tokenizer"
        )
    template_fields(arguments["key_template"])
