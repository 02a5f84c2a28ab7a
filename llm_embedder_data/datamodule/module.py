"""RetrievalDataModule: builders, plan, groups and collator, put together for Lightning."""

from __future__ import annotations

import copy
import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from numpy.typing import NDArray
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.eval_rows import CorpusPassages, EvalQueries
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.groups.train_rows import TrainRows
from llm_embedder_data.batches.plan.epoch_plan import (
    EpochPlan,
    OrganizeMethod,
    Remainder,
    SmallDatasets,
)
from llm_embedder_data.batches.plan.sampler import OverfitSampler, SameTaskSampler
from llm_embedder_data.batches.token_cache.cached_rows import (
    CachedEvalTexts,
    CachedPassages,
    CachedTrainRows,
)
from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.batches.tokens.model_inputs import Layout
from llm_embedder_data.config.model_pooling import leaves_prompt_out
from llm_embedder_data.config.model_prompts import with_conventions
from llm_embedder_data.config.recipes import (
    Instruction,
    ModelSettings,
    NegativeStrategy,
    PositiveStrategy,
    Recipe,
    TaskSettings,
    load_recipe,
)
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import cause, one_line, printable
from llm_embedder_data.datamodule.arguments import Tokenize, check_arguments, check_whole, plain
from llm_embedder_data.datamodule.batch_size_search import BatchSizeSearch
from llm_embedder_data.datamodule.building import DatasetBuilder
from llm_embedder_data.datamodule.checkpoint_state import (
    OnOtherGlobalBatch,
    batch_facts,
    check_agrees,
    check_same_run,
    continued,
    make_state,
    read_state,
    tokenizer_facts,
)
from llm_embedder_data.datamodule.corpus_matching import CorpusView, Matching, loader_names
from llm_embedder_data.datamodule.fit_progress import EpochClock
from llm_embedder_data.datamodule.hparams import recorded, refuse_words
from llm_embedder_data.datamodule.loaders import (
    Auto,
    BatchLoader,
    LoaderSettings,
    RefusingSampler,
    SequentialShardSampler,
    explain_lost_worker,
)
from llm_embedder_data.datamodule.quiet_run import QuietRun
from llm_embedder_data.datamodule.ranks import Ranks, check_ranks_agree
from llm_embedder_data.inspection.descriptions import datasets_in_lines, in_a_line, sources_in_lines
from llm_embedder_data.inspection.doctor.diagnosis import Diagnosis, diagnose
from llm_embedder_data.inspection.report import Report, described, make_report
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.key_templates import DEFAULT_KEY_TEMPLATE
from llm_embedder_data.rows.reading_settings import OnBadRow
from llm_embedder_data.rows.row_lengths import row_lengths
from llm_embedder_data.rows.schema.evaluation import EvalMethod
from llm_embedder_data.rows.train_sets import TrainSet
from llm_embedder_data.rows.train_settings import FIRST_ELSE_TEACHER, OnNoNegatives

Built = TypeVar("Built", TrainSet, EvalSet, Corpus)


class NoLoaders(CombinedLoader):
    """Of a run that does not validate; Lightning 2.6 takes an empty dict for an empty loader."""

    flattened: Any = ()

    def __init__(self) -> None:
        super().__init__({}, "sequential")


Loaders = BatchLoader | dict[str, BatchLoader] | NoLoaders


class RetrievalDataModule(LightningDataModule):
    """Feeds the training and evaluation of retrieval embedding models.

    At every step all ranks hold rows of one dataset, and different ones; every rank makes the same
    number of steps; and what a step holds is a function of (data, arguments, seed, epoch, step), so
    batches are the same with any number of workers, after a restart from a Lightning checkpoint,
    and on any number of ranks with the same global batch.

    >>> datamodule = RetrievalDataModule(
    ...     tokenizer="BAAI/bge-small-en-v1.5", train_data="data/*/train.jsonl"
    ... )  # doctest: +SKIP
    >>> trainer.fit(model, datamodule=datamodule)  # doctest: +SKIP

    A training batch is a dict. Shapes: B queries on this rank, G keys each, L tokens, P positives.

    - ``query``: what the tokenizer gives (input_ids, attention_mask, ...), int64 [B, L]
    - ``key``: the same, [B*G, L]; keys of query i are rows i*G .. i*G+G-1, the positive first
    - ``key_mask``: int64 [B, G], 0 where a key is padding
    - ``teacher_scores``: float32 [B, G], or None where the dataset has none; NaN in a row that has
      none
    - ``task``, ``dataset``: str; ``query_id``: list of int or str; ``row``: int64 [B], rows of the
      dataset
    - ``key_id``: int64 [B*G], a hash of each key's text; ``positive_id``: int64 [B, P], of all
      known positives, 0 for none. Gathered over ranks they tell a loss which keys are no negatives.
    - ``in_batch_negatives``: bool, the same on all ranks
    - with ``cross``: ``cross`` [B*G, L] and ``batch_size`` in place of ``query`` and ``key``
    - where chunks or unique keys put a text in another row than its own: ``query_inverse`` [B],
      ``key_inverse`` [B*G], int64, the row of each; see :class:`RetrievalDataCollator`

    An eval batch has query, query_id, task, dataset, corpus, row and pos_index (int64 [n, P], the
    right passages' indices, -1 padded), for reranking also key, key_mask and key_index (int64 [n,
    G], -1 padded). A corpus batch has content, index (int64 [n]) and dataset.

    Args:
        tokenizer: a name or path for AutoTokenizer, or a tokenizer.
        train_data: a path, glob or folder, a list of them, or a mapping {name: source}; a source is
            a path, or a dict with ``path`` and any of ``task``, ``task_description``, ``format``,
            ``weight``, ``batch_size``, ``in_batch_negatives``, ``max_sample_num`` and names of
            fields (``query: question``).
        eval_data: likewise; the settings of a source are ``task``, ``task_description`` and
            ``format``.
        corpus: likewise; ``format`` and ``key_template``. An eval set is matched against the corpus
            of its name, or against the only one there is.
        data_root: what the prefix ``llm-embedder:`` of a path stands for.
        recipe: instructions and per-task settings. ``auto``: those that the encoder was trained
            with, read from the files beside the tokenizer, else from a table of published
            conventions. Or a name in conf/recipe, a path, or a mapping; one without instructions
            takes the encoder's own.
        default_task: task of rows that name none, where their source names none either.
        add_instruction: whether the recipe's instructions are put before queries and keys.
        use_train_config: whether the recipe's per-task settings apply. An argument that is not None
            wins over them.
        train_group_size: G, keys per query: 1 positive and G-1 negatives. A dataset of which no row
            has so many different keys gives fewer.
        select_positive: first, random, teacher (best score of all keys), teacher-pos (of the
            positives); None: the recipe's, else first, and teacher in rows that have scores and no
            labelled positive.
        select_negative: random, first, teacher+ (highest scores first), teacher- (lowest first);
            None: the recipe's, else random.
        teacher_scores_min: drop rows whose highest score is lower.
        teacher_scores_margin: drop rows whose highest and lowest score differ by less.
        max_sample_num: train on a random sample of so many rows a dataset, the same for a seed.
        stable_distill: sort negatives by teacher score, descending; None: the recipe's, else not.
        batch_size: queries per rank and step.
        organize_method: epoch, epoch-static, epoch-random, random; see :class:`EpochPlan`.
        remainder: rows that fill no global batch: rotate (others each epoch) or drop.
        small_datasets: a dataset smaller than one global batch: error, drop, repeat.
        length_window: deal so many global batches of a dataset by length; None: by chance alone.
        seed: of every random choice.
        query_max_length: tokens, special tokens included.
        key_max_length: tokens, special tokens included.
        cross: (query, key) pairs for a cross-encoder.
        layout: padded; chunked, texts of like length padded together; or packed, one row without
            padding.
        chunk_size: texts in a chunk, at most.
        unique_keys: tokenize and encode a text that is several keys of a batch once.
        pad_to_multiple_of: pad to a multiple of so many tokens; None for no such rule.
        tokenize: on-the-fly; or cached: each distinct text is tokenized once, by
            :meth:`prepare_data`, and batches are put together from ids on disk. The batches are the
            same.
        key_template: corpus fields to key text; plain field names in braces.
        eval_method: retrieve or rerank.
        eval_batch_size: queries or passages per rank and step.
        num_workers: processes that make batches; auto: none without an accelerator, else up to 8.
        pin_memory: auto: where CUDA is.
        prefetch_factor: batches that each worker keeps ready; auto: 4.
        on_bad_row: raise, or skip and count, rows that break a rule.
        on_no_negatives: rows without a hard negative: drop, or keep (with in-batch negatives only).
        on_other_global_batch: a checkpoint of a run with another batch_size times ranks: raise, or
            continue inside its epoch with the rows that were left of it, none of them twice; those
            that fill no global batch of this run are left out of that epoch. Later epochs are as in
            a run that always had these global batches.
        cache_dir: where Arrow files and token tables are kept; None: beside Hugging Face datasets'
            cache.

    Raises:
        ConfigError: an argument that cannot be used; which, why, and what is allowed.
    """

    def __init__(
        self,
        tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase,
        train_data: Any = None,
        eval_data: Any = None,
        corpus: Any = None,
        data_root: str | os.PathLike[str] | None = None,
        recipe: Mapping[str, Any] | str | os.PathLike[str] = "auto",
        default_task: str = "qa",
        add_instruction: bool = True,
        use_train_config: bool = True,
        train_group_size: int = 8,
        select_positive: PositiveStrategy | None = None,
        select_negative: NegativeStrategy | None = None,
        teacher_scores_min: float | None = None,
        teacher_scores_margin: float | None = None,
        max_sample_num: int | None = None,
        stable_distill: bool | None = None,
        batch_size: int = 32,
        organize_method: OrganizeMethod = "epoch",
        remainder: Remainder = "rotate",
        small_datasets: SmallDatasets = "error",
        length_window: int | None = None,
        seed: int = 42,
        query_max_length: int = 256,
        key_max_length: int = 256,
        cross: bool = False,
        layout: Layout = "padded",
        chunk_size: int = 32,
        unique_keys: bool = False,
        pad_to_multiple_of: int | None = 8,
        tokenize: Tokenize = "on-the-fly",
        key_template: str = DEFAULT_KEY_TEMPLATE,
        eval_method: EvalMethod = "retrieve",
        eval_batch_size: int = 256,
        num_workers: int | Auto = "auto",
        pin_memory: bool | Auto = "auto",
        prefetch_factor: int | Auto = "auto",
        on_bad_row: OnBadRow = "raise",
        on_no_negatives: OnNoNegatives = "drop",
        on_other_global_batch: OnOtherGlobalBatch = "raise",
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        arguments = {name: plain(value) for name, value in locals().items() if name in _DEFAULTS}
        for name, value in arguments.items():
            refuse_words(name, value)
        check_arguments(arguments)
        self._given_recipe = load_recipe(arguments["recipe"])
        self.default_task = default_task
        self.add_instruction = add_instruction
        self.use_train_config = use_train_config
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
        self._token_notes: dict[str, dict[str, list[str]]] = {}
        self._said: set[str] = set()
        self._tables: dict[str, dict[str, TokenTable]] = {"train": {}, "eval": {}, "corpus": {}}
        self._set_up_as = Ranks()
        self._resume: dict[str, Any] | None = None
        self._began: dict[str, Any] | None = None
        self._clock: EpochClock | None = None
        self._plan_in_force: EpochPlan | None = None
        self._written: dict[str, Any] | None = None
        self._search: BatchSizeSearch | None = None
        self._quiet = QuietRun()
        # What save_hyperparameters() does, which compares its argument with data in memory.
        self._set_hparams(recorded(arguments))
        self._hparams_initial = copy.deepcopy(self._hparams)
        self._log_hyperparams = True
        self._is_made = True

    # -- what Lightning calls ------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Fetch the tokenizer and write the caches; touches the disk only.

        Where it prepares for other ranks, what is wrong is a warning, and setup's error on all.
        """
        try:
            _ = self.tokenizer
            train = self._builder.train_sets()
            evals, corpora = self._builder.evaluation()
            self._builder.require_corpora(self._trainer_fn, evals, corpora)
            if self._trainer_fn in ("fit", None):
                self._builder.token_tables(self.tokenizer, train)
            self._builder.token_tables(self.tokenizer, evals)
            views = self._builder.matching(evals, corpora).views
            self._builder.token_tables(self.tokenizer, views)
        except Exception as error:
            # One rank of many prepares, and the others wait for it. All meet the error in setup.
            if self._ranks.num_replicas == 1:
                raise
            warnings.warn(
                printable(f"prepare_data() failed, setup() tries again: {error}"), stacklevel=1
            )

    def setup(self, stage: str | None = None) -> None:
        """Open the caches; a second call for the same stage does nothing but compare the ranks.

        Raises:
            DataError: data that cannot be used.
            ConfigError: settings that cannot be met, or ranks that do not agree on data and
                settings.
        """
        if self._is_in_a_run():
            self._quiet.begin(chooses_workers=self._arguments["num_workers"] == "auto")
        self._set_up_as = self._ranks
        if self._clock is not None and self._clock.is_over and stage == "fit":
            self._clock = None  # another fit's
        with check_ranks_agree(self._set_up_as) as facts:
            notes = []
            if self._train is None and stage in ("fit", None):
                self._train = self._builder.train_sets()
                notes += _notes(self._train) + self._open_tables("train", self._train)
                notes += [
                    f"{name}: {note}" for name, own in self._group_notes().items() for note in own
                ]
                if self._train and (small := self.plan().dropped):
                    notes.append(
                        "dropped as smaller than a global batch (data.small_datasets): "
                        + ", ".join(
                            f"{one_line(name)} ({rows} rows)" for name, rows in small.items()
                        )
                    )
            if self._evals is None or self._corpora is None:
                notes += self._longer_than_the_model()
                self._evals, self._corpora = self._builder.evaluation()
                notes += _notes(self._evals) + _notes(self._corpora)
                notes += self._open_tables("eval", self._evals)
                notes += self._open_tables("corpus", self._matching().views)
            self._builder.require_corpora(stage, self._evals, self._corpora)
            for note in notes:
                rank_zero_warn(printable(note))
            self._say_instructions()
            self._check_instructions_fit()
            facts.update(self._facts_of_ranks())
            self._prepare_for_finder(stage)
            if stage in ("validate", "test") and not self._evals:
                raise ConfigError(f"data.eval_data=None: nothing to {stage} (give eval data)")

    def train_dataloader(self) -> BatchLoader:
        """This rank's training batches; ``len`` is an epoch's steps, the same on every rank."""
        if self.trainer is None and self._train is not None and self._set_up_as != self._ranks:
            self.setup("fit")  # a loop that called init_process_group() late: compare the ranks now
        trainer = self._fitting_trainer()
        if self._is_searched_for():
            try:
                plan = self._trial_plan()
            except RuntimeError as error:
                return self._loader(self._groups(), RefusingSampler(error), sized=False)
        else:
            plan = self.plan()
        start: tuple[int, int] | None = None
        renumber, state, self._began = False, self._resume, None
        if state is not None:
            policy = self._arguments["on_other_global_batch"]
            note = check_same_run(state, self._facts(plan), policy)
            limit = trainer.limit_train_batches if trainer else 1.0
            going_on = continued(state, plan, self._plan_of, limit)
            plan, start, self._began = going_on.plan, going_on.start, going_on.began
            renumber = going_on.note is not None and start[1] > 0
            for one in (note, going_on.note):
                if one is not None:
                    rank_zero_warn(printable(one))
        place_of: Callable[[int], tuple[int, int]] | None = None
        if trainer is not None:
            if self._clock is None or self._clock.trainer is not trainer or self._clock.is_over:
                check = partial(check_agrees, state)
                self._clock = EpochClock(trainer, start, check=check, renumber=renumber)
                self._written = None
            start, place_of = self._clock.position(), self._clock.begin
        self._plan_in_force = plan
        overfit = trainer is not None and trainer.overfit_batches > 0  # type: ignore[attr-defined]
        sampler = OverfitSampler if overfit else SameTaskSampler
        return self._loader(
            self._groups(),
            sampler(plan, rank=self._ranks.rank, start=start or (0, 0), place_of=place_of),
            persistent=True,
            resumed_by_module=trainer is not None,
            sized=not self._is_searched_for(),
        )

    @property
    def val_dataloader(self) -> Callable[[], Loaders]:
        """Gives the eval queries, in retrieve mode their corpora beside them: this rank's share.

        One loader alone where there is one; else a dict: the eval sets by name, then ``corpus``, or
        ``corpus/<name>`` where there are several.
        """
        # A property, for Lightning 2.6 warns of a model without validation_step where this is
        # overridden, and of one with it where it is not. Without eval data neither is a mistake.
        trainer = self._fitting_trainer()
        eval_data = self._arguments["eval_data"]
        is_empty = eval_data is None or (isinstance(eval_data, list | dict) and not eval_data)
        if trainer is None or not is_empty:
            return self._eval_dataloaders
        if is_overridden("validation_step", trainer.lightning_module):
            return self._eval_dataloaders
        return super().val_dataloader

    def test_dataloader(self) -> Loaders:
        """The same as :attr:`val_dataloader` gives."""
        return self._eval_dataloaders()

    def predict_dataloader(self) -> Loaders:
        """This rank's share of the corpus, or of each by name where there are several."""
        loaders = self._corpus_loaders(self._matching().views)
        if not loaders:
            raise ConfigError("data.corpus=None: predicting encodes a corpus (give one)")
        return _one_or_all(loaders)

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, in plain Python: the same on every rank, whatever their number."""
        if self._clock is None or not self._train:
            return {}
        facts = self._facts(self._plan_in_force or self.plan())
        self._written = make_state(self._clock.position(), self._clock.trained, facts, self._began)
        return self._written

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the position of a checkpoint for the :meth:`train_dataloader` of this fit.

        Raises:
            ConfigError: a state that no version wrote, or a later one.
        """
        if self._trainer_fn in ("validate", "test", "predict"):
            return  # where training stood is nothing to them
        if self._is_set_back_to(state_dict):
            return  # by a tool inside this fit: the clock follows the trainer's counts
        self._resume, self._clock = read_state(state_dict), None
        trainer = self._fitting_trainer()
        if trainer is not None:
            # Strategies that restore after their setup (FSDP, DeepSpeed) come here when a
            # learning-rate schedule has already asked for the loader; Lightning 2.6 then makes no
            # other by itself.
            trainer.fit_loop._combined_loader = None

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: Any, *arguments: Any, **settings: Any
    ) -> RetrievalDataModule:
        """A data module with the settings of the one that wrote a checkpoint.

        Its position is not taken over: that comes with ``trainer.fit(..., ckpt_path=...)``.

        Args:
            checkpoint_path: of Lightning's checkpoint.
            arguments: see ``LightningDataModule.load_from_checkpoint``.
            settings: in place of the recorded ones; a tokenizer or data that lay in memory have to
                be given.

        Raises:
            ConfigError: a setting lay in memory, and is not given.
        """
        module: RetrievalDataModule = super().load_from_checkpoint(
            checkpoint_path, *arguments, **settings
        )
        module._resume = None
        return module

    def teardown(self, stage: str | None = None) -> None:
        """Forget a checkpoint's position: it is for one fit."""
        self._quiet.end()
        self._resume = None
        if self._clock is not None:
            self._clock.is_over = True

    def on_exception(self, exception: BaseException) -> None:
        """Say what a lost worker means, and forget a checkpoint's position: it is for one fit."""
        explain_lost_worker(exception)
        self.teardown()

    # -- what users call -----------------------------------------------------------------------

    @property
    def batch_size(self) -> int:
        """Queries per rank and step, of datasets that have no size of their own.

        It can be set, as Lightning's batch-size finder does; the loaders that are made from then on
        follow it.
        """
        size: int = self._arguments["batch_size"]
        return size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._set("batch_size", size)

    @property
    def eval_batch_size(self) -> int:
        """Queries or passages per rank and step; it can be set as :attr:`batch_size` can."""
        size: int = self._arguments["eval_batch_size"]
        return size

    @eval_batch_size.setter
    def eval_batch_size(self, size: int) -> None:
        self._set("eval_batch_size", size)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _DEFAULTS and name not in _SETTABLE and self.__dict__.get("_is_made", False):
            raise ReadOnlySetting(
                f"data.{name} of a data module cannot be set: what is built from it would not "
                f"follow (make a new one: RetrievalDataModule(..., {name}={name}))"
            )
        super().__setattr__(name, value)

    @property
    def hparams_initial(self) -> Any:
        """The settings as loggers record them.

        A setting that the model has by the same name, with another value, is named ``data.<name>``:
        Lightning refuses to log two values under one name.
        """
        settings = super().hparams_initial
        model: Any = getattr(self.trainer, "lightning_module", None)
        theirs = model.hparams_initial if getattr(model, "_log_hyperparams", False) else {}
        return type(settings)(
            {
                f"data.{name}" if name in theirs and not _same(theirs[name], value) else name: value
                for name, value in settings.items()
            }
        )

    def __repr__(self) -> str:
        return in_a_line(type(self).__name__, recorded(self._arguments), _DEFAULTS)

    def __str__(self) -> str:
        """The settings, and the datasets with their sizes once they are set up."""
        lines = sources_in_lines(recorded(self._arguments))
        if self._train is not None or self._evals is not None:
            plan: EpochPlan | str | None = None
            if self._train:
                try:
                    plan = self.plan()
                except ConfigError as error:
                    plan = str(error).splitlines()[0]
            lines = datasets_in_lines(
                (self._train or {}).values(),
                (self._evals or {}).values(),
                (self._corpora or {}).values(),
                plan,
                self.eval_batch_size,
            )
        return "\n".join([repr(self), *(f"  {line}" for line in lines)])

    @cached_property
    def recipe(self) -> Recipe:
        """Instructions and per-task settings in force: with ``auto``, the encoder's own."""
        given = self._given_recipe
        return with_conventions(given, self._model_name) if given.is_auto else given

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, loaded at its first use."""
        if isinstance(self._tokenizer, PreTrainedTokenizerBase):
            return self._tokenizer
        try:
            return AutoTokenizer.from_pretrained(self._tokenizer)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"data.tokenizer={self._tokenizer!r} cannot be loaded: "
                f"{str(error).splitlines()[0]} (give a name on the Hugging Face hub, a folder that "
                "holds a tokenizer, or a tokenizer)"
            ) from cause(error)

    def report(self) -> Report:
        """What was read, kept and dropped: a dict that prints as a table. Needs :meth:`setup`."""
        return make_report(
            (self._train or {}).values(),
            (self._evals or {}).values(),
            (self._corpora or {}).values(),
            self.plan() if self._train else None,
            notes=self._token_notes | {"train": self._notes_of_training()},
            instruction=self._builder.instruction_of,
            origin=self._builder.origin_of_instructions,
            key_instructions=self._key_instructions(),
        )

    def diagnose(
        self,
        world_size: int | None = None,
        *,
        fix: str | Path | None = None,
        show_progress: bool = False,
    ) -> Diagnosis:
        """Check all data: a dict that prints as a table. Needs :meth:`setup`.

        Args:
            world_size: data-parallel ranks of the plan; None for this run's.
            fix: a folder for cleaned files.
            show_progress: whether a progress bar is shown.
        """
        return diagnose(
            self._train or {},
            self._evals or {},
            self._corpora or {},
            self.plan(num_replicas=world_size) if self._train else None,
            instruction_of=self._builder.instruction_of,
            tokenizer=self.tokenizer,
            query_max_length=self._arguments["query_max_length"],
            key_max_length=self._arguments["key_max_length"],
            fix=fix,
            show_progress=show_progress,
        )

    def train_sets(self) -> dict[str, TrainSet]:
        """The training rows and what is known of them, by dataset. Needs :meth:`setup`."""
        sets = _opened(self._train)
        if not sets:
            raise ConfigError("data.train_data=None: nothing to train on (give training data)")
        return sets

    def plan(self, epoch: int = 0, num_replicas: int | None = None) -> EpochPlan:
        """The global batches of an epoch, on any number of ranks. Needs :meth:`setup`.

        Its rows are places among a dataset's kept rows: ``train_sets()[name].kept[rows]`` are their
        numbers in the dataset.

        Args:
            epoch: zero-based.
            num_replicas: data-parallel ranks; None for this run's.
        """
        sets = self.train_sets().values()
        batch_size = {one.name: one.batch_size or self.batch_size for one in sets}
        return self._plan_of(batch_size, epoch, num_replicas or self._ranks.num_replicas)

    def _plan_of(
        self, batch_size: Mapping[str, int], epoch: int = 0, num_replicas: int = 1
    ) -> EpochPlan:
        sets = [self.train_sets()[name] for name in batch_size]
        return EpochPlan(
            {one.name: len(one.kept) for one in sets},
            batch_size,
            num_replicas,
            self.seed,
            self._arguments["organize_method"],
            epoch,
            remainder=self._arguments["remainder"],
            small_datasets=self._arguments["small_datasets"],
            weights={one.name: one.weight for one in sets},
            length_window=self._arguments["length_window"],
            lengths={name: one for name, one in self._lengths.items() if name in batch_size},
        )

    def task_settings(self, task: str) -> TaskSettings:
        """A task's training settings in force: arguments, and the recipe's where they apply."""
        data = asdict(self._builder.train_settings(task))
        data.pop("asked")
        if data["select_positive"] == FIRST_ELSE_TEACHER:  # the default, before the data are seen
            data["select_positive"] = "first"
        return TaskSettings(**asdict(self._builder.recipe_settings(task)) | data)

    def model_settings(self) -> ModelSettings:
        """What the recipe says of the training of the whole model, where it is to be heard."""
        return self.recipe.model if self.use_train_config else ModelSettings()

    def instruction(self, task: str) -> Instruction:
        """The texts put before the queries and keys of a task; empty where none are wanted."""
        return self._builder.instruction(task)

    def longest_inputs(self) -> dict[str, tuple[int, int]]:
        """By setting: tokens that a text may have, and columns of a padded batch of such."""
        names = ("query_max_length", "key_max_length")
        lengths = {f"data.{name}": self._arguments[name] for name in names}
        if self.cross:
            lengths = {" + ".join(lengths): sum(lengths.values())}
        multiple = self._arguments["pad_to_multiple_of"]
        if multiple is None or self._arguments["layout"] == "packed":
            multiple = 1
        return {name: (length, length + -length % multiple) for name, length in lengths.items()}

    # -- parts ---------------------------------------------------------------------------------

    @cached_property
    def _builder(self) -> DatasetBuilder:
        return DatasetBuilder(self._arguments, self.recipe, self.cache_dir)

    @property
    def _model_name(self) -> str | None:
        """The folder or hub name that the tokenizer comes from; None where that is not known."""
        tokenizer = self._tokenizer
        if isinstance(tokenizer, PreTrainedTokenizerBase):
            return tokenizer.name_or_path or None
        return os.fspath(tokenizer)

    def _notes_of_training(self) -> dict[str, list[str]]:
        """Of token tables and of groups, by training set."""
        of_tokens, of_groups = self._token_notes.get("train", {}), self._group_notes()
        return {
            name: [*of_tokens.get(name, []), *of_groups.get(name, [])]
            for name in {**of_tokens, **of_groups}
        }

    def _group_notes(self) -> dict[str, list[str]]:
        """What to say of datasets that fill no group of train_group_size keys, by name."""
        wanted = self.train_group_size
        return {
            one.name: [
                f"no row has more than {one.most_negatives} hard negatives, so each query gets "
                f"{one.group_size(wanted)} keys (data.train_group_size={wanted} asks for more)"
            ]
            for one in (self._train or {}).values()
            if one.group_size(wanted) < wanted
        }

    def _key_instructions(self) -> dict[str, list[str]]:
        """What is put before the passages of each corpus, once for each view of it."""
        found: dict[str, list[str]] = {}
        for view in self._matching().views.values() if self._evals is not None else ():
            found.setdefault(view.corpus.name, []).append(view.key_instruction)
        return found

    def _say_instructions(self) -> None:
        """Log the instructions in force, once for those who have the same."""
        sets: list[TrainSet | EvalSet] = [
            *(self._train or {}).values(),
            *(self._evals or {}).values(),
        ]
        names: dict[Instruction, dict[str, None]] = {}
        for one in sets:
            names.setdefault(self._builder.instruction_of(one), {})[one.name] = None
        for instruction, having in names.items():
            line = (
                f"{', '.join(map(one_line, having))}: instruction: {described(instruction)} "
                f"({self._builder.origin_of_instructions}; data.recipe changes it)"
            )
            if line not in self._said:
                rank_zero_info(printable(line))
                self._said.add(line)

    def _open_tables(self, kind: str, built: Mapping[str, Any]) -> list[str]:
        """Open the token tables of a kind of dataset; what to say of them."""
        self._tables[kind], notes = self._builder.token_tables(self.tokenizer, built)
        self._token_notes[kind] = notes
        return [f"{one_line(name)}: {note}" for name, own in notes.items() for note in own]

    def _groups(self) -> TrainGroups:
        train_sets, tables = self.train_sets(), self._tables["train"]
        sources: dict[str, TrainRows | CachedTrainRows] = {}
        for name, train_set in train_sets.items():
            size = train_set.group_size(self.train_group_size)
            if name in tables:
                sources[name] = CachedTrainRows(train_set, tables[name], size, self.seed)
            else:
                sources[name] = TrainRows(train_set, size, self.seed)
        instructions = {
            name: self._builder.instruction_of(train_set) for name, train_set in train_sets.items()
        }
        return TrainGroups(sources, instructions)

    def _set(self, name: str, size: int) -> None:
        check_whole(name, size)
        self._arguments[name] = self.hparams[name] = size

    def _is_set_back_to(self, state: Any) -> bool:
        """Whether a state is the last one that this module gave inside the fit that goes on."""
        if self._clock is None or self._clock.is_over or self._written is None:
            return False
        digest = state.get("digest") if isinstance(state, Mapping) else None
        return isinstance(digest, str) and digest == self._written["digest"]

    # Lightning's batch-size finder is among the trainer's callbacks when this module is set up, and
    # takes all of them away for as long as it searches.

    def _prepare_for_finder(self, stage: str | None) -> None:
        self._search = None
        finders = _finders(self.trainer)
        if not finders:
            return
        if stage == "fit" and self._train:
            self._search = BatchSizeSearch(
                self._train, self._plan_of, self.batch_size, rank_zero_warn
            )
        elif stage != "fit" and getattr(finders[0], "_batch_arg_name", None) == "batch_size":
            raise ConfigError(
                f"data.batch_size is of training batches, and is searched for to {stage} (give the "
                "finder batch_arg_name='eval_batch_size')"
            )

    def _is_searched_for(self) -> bool:
        return self._search is not None and not _finders(self.trainer)

    def _trial_plan(self) -> EpochPlan:
        assert self._search is not None
        if self._resume is not None:
            raise ConfigError(
                "a search for a batch size begins at a fit's beginning, and this fit resumes a "
                "checkpoint (search first, then resume without the finder)"
            )
        trainer = self._fitting_trainer()
        assert trainer is not None
        n_steps, n_tried = trainer.global_step, trainer.fit_loop.epoch_loop.max_steps
        if not self._search.has_begun and 0 < n_tried < n_steps:
            # Lightning 2.6 counts the fit's steps into each trial, which then ends without one.
            raise ConfigError(
                f"Lightning's batch-size finder tries no size after step {n_steps} of a fit: its "
                f"trials end at step {n_tried} (search before the first step: BatchSizeFinder as a "
                "callback as it is, or Tuner.scale_batch_size)"
            )
        return self._search.plan(self.batch_size)

    def _matching(self) -> Matching:
        return self._builder.matching(_opened(self._evals), _opened(self._corpora))

    def _corpus_loaders(self, views: Mapping[str, CorpusView]) -> dict[str, BatchLoader]:
        names, tables = loader_names(views), self._tables["corpus"]
        loaders = {}
        for name, view in views.items():
            texts = CachedPassages(tables[name]) if name in tables else None
            passages = CorpusPassages(view.corpus, view.key_instruction, name, texts)
            loaders[names[name]] = self._shard_loader(passages)
        return loaders

    def _eval_dataloaders(self) -> Loaders:
        matching = self._matching()
        loaders: dict[str, BatchLoader] = {}
        for one in _opened(self._evals).values():
            view = matching.of_eval.get(one.name)
            table = self._tables["eval"].get(one.name)
            queries = EvalQueries(
                one,
                self._builder.instruction(one.task),
                view.name if view else None,
                None if table is None else CachedEvalTexts(table),
            )
            loaders[one.name] = self._shard_loader(queries)
        loaders |= self._corpus_loaders(matching.used())
        if not loaders and self._fitting_trainer() is not None:
            return NoLoaders()
        return _one_or_all(loaders)

    def _shard_loader(self, dataset: EvalQueries | CorpusPassages) -> BatchLoader:
        ranks, batch_size = self._ranks, self._arguments["eval_batch_size"]
        sampler = SequentialShardSampler(
            len(dataset), batch_size, rank=ranks.rank, num_replicas=ranks.num_replicas
        )
        return self._loader(dataset, sampler)

    def _loader(self, dataset: Any, sampler: Any, **how: bool) -> BatchLoader:
        settings = LoaderSettings(
            self._arguments["num_workers"],
            self._arguments["pin_memory"],
            self._arguments["prefetch_factor"],
        )
        return settings.loader(dataset, sampler, self._collator, ranks=self._ranks, **how)

    @cached_property
    def _collator(self) -> RetrievalDataCollator:
        return RetrievalDataCollator(
            self.tokenizer,
            query_max_length=self._arguments["query_max_length"],
            key_max_length=self._arguments["key_max_length"],
            cross=self.cross,
            pad_to_multiple_of=self._arguments["pad_to_multiple_of"],
            layout=self._arguments["layout"],
            chunk_size=self._arguments["chunk_size"],
            unique_keys=self._arguments["unique_keys"],
            prompt_lengths=leaves_prompt_out(self._model_name),
        )

    @cached_property
    def _lengths(self) -> dict[str, NDArray[np.float32]]:
        """Of the rows of each training set, where they are dealt by length."""
        if self._arguments["length_window"] is None:
            return {}
        limits = {name: self._arguments[name] for name in ("query_max_length", "key_max_length")}
        sets = self.train_sets().values()
        return {
            one.name: row_lengths(
                one.rows, one.kept, group_size=one.group_size(self.train_group_size), **limits
            )
            for one in sets
        }

    def _longer_than_the_model(self) -> list[str]:
        """What to say of lengths above what the tokenizer knows of its model."""
        limit = self.tokenizer.model_max_length
        if not isinstance(limit, int | float):
            return []
        return [
            f"{name}={length}: the model takes {limit} tokens, says its tokenizer "
            f"(model_max_length); set {name} to that or less, or, where the model takes more, the "
            "tokenizer's model_max_length"
            for name, (length, _) in self.longest_inputs().items()
            if length > limit
        ]

    def _check_instructions_fit(self) -> None:
        sets: list[TrainSet | EvalSet] = [
            *(self._train or {}).values(),
            *_opened(self._evals).values(),
        ]
        for instruction in {self._builder.instruction_of(one): None for one in sets}:
            self._collator.check_room(instruction.query, instruction.key)

    def _facts(self, plan: EpochPlan) -> dict[str, Any]:
        sets = self.train_sets().values()
        instructions = {
            one.task if one.task_description is None else f"{one.task} ({one.name})": (
                self._builder.instruction_of(one)
            )
            for one in sets
        }
        return batch_facts(sets, plan, self._arguments, instructions, self._tokenizer_facts)

    @cached_property
    def _tokenizer_facts(self) -> dict[str, Any]:
        return tokenizer_facts(self.tokenizer)

    def _facts_of_ranks(self) -> dict[str, Any]:
        """What ranks must agree on; on the way, whatever the parts refuse together is met."""
        facts: dict[str, Any] = {name: self._arguments[name] for name in _OF_RANKS}
        facts |= self._tokenizer_facts if self._set_up_as.num_replicas > 1 else {}
        if self._train:
            plan = self.plan()
            if self._set_up_as.num_replicas > 1:
                facts |= self._facts(plan)
                del facts["num_workers"]  # each machine has cores of its own
        for kind, built in (("eval set", self._evals), ("corpus", self._corpora)):
            for one in (built or {}).values():
                facts[f"{kind} {one.name}"] = list(one.digests)
        for one in (self._evals or {}).values():
            facts[f"eval set {one.name}, instruction"] = asdict(self._builder.instruction_of(one))
        facts["loaders"] = [*(self._evals or {}), *self._matching().views]
        return facts

    @property
    def _ranks(self) -> Ranks:
        return Ranks.of(self.trainer)

    @property
    def _trainer_fn(self) -> str | None:
        """fit, validate, test or predict; None without a trainer that says so."""
        state = getattr(self.trainer, "state", None)
        return None if state is None or state.fn is None else str(state.fn.value)

    def _is_in_a_run(self) -> bool:
        """Whether a trainer is at work, which calls teardown() or on_exception() in the end."""
        state = getattr(self.trainer, "state", None)
        return getattr(state, "status", None) == "running"

    def _fitting_trainer(self) -> Trainer | None:
        trainer = self.trainer
        return trainer if trainer is not None and hasattr(trainer, "fit_loop") else None


def _opened(built: dict[str, Built] | None) -> dict[str, Built]:
    if built is None:
        raise ConfigError("no data yet: call prepare_data() and setup(), as a Trainer does")
    return built


def _notes(built: Mapping[str, Built]) -> list[str]:
    return [f"{one_line(one.name)}: {note}" for one in built.values() for note in one.notes]


def _one_or_all(loaders: dict[str, BatchLoader]) -> Loaders:
    return next(iter(loaders.values())) if len(loaders) == 1 else loaders


def _finders(trainer: Any) -> list[BatchSizeFinder]:
    callbacks = getattr(trainer, "callbacks", ())
    return [one for one in callbacks if isinstance(one, BatchSizeFinder)]


def _same(one: Any, other: Any) -> bool:
    """As Lightning compares the values of a name that model and data have in common."""
    return type(one) is type(other) and bool(one == other)


class ReadOnlySetting(ConfigError, AttributeError):
    """A setting that holds for the whole life of a data module."""


# What Lightning's batch-size finder may set.
_SETTABLE = ("batch_size", "eval_batch_size")

# Of evaluation, where ranks that differ would wait for each other.
_OF_RANKS = ("eval_method", "eval_batch_size", "key_template", "add_instruction", "cross")

_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(RetrievalDataModule).parameters.items()
}
