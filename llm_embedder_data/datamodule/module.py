"""RetrievalDataModule: the data path as a LightningDataModule."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.plan.epoch_plan import (
    OrganizeMethod,
    Remainder,
    SmallDatasets,
)
from llm_embedder_data.batches.tokens.model_inputs import Layout
from llm_embedder_data.config.negative_limits import Limit, RankLimit
from llm_embedder_data.config.recipes import (
    NegativeStrategy,
    NormalizeScores,
    PositiveStrategy,
)
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import printable
from llm_embedder_data.datamodule.batch_size_search import (
    BatchSizeSearch,
    SizeRefused,
    plan_of_trial,
    search_to_come,
)
from llm_embedder_data.datamodule.evaluation_loaders import (
    Loaders,
    NoLoaders,
    corpus_loaders,
    eval_loaders,
    must_hide_validation,
    single_or_all,
)
from llm_embedder_data.datamodule.inspectable_module import InspectableDataModule
from llm_embedder_data.datamodule.loading.loaders import (
    BatchLoader,
    LoaderSettings,
    RefusingSampler,
    SequentialShardSampler,
    Watch,
)
from llm_embedder_data.datamodule.loading.training_sampler import training_sampler
from llm_embedder_data.datamodule.loading.worker_failures import explain_lost_worker
from llm_embedder_data.datamodule.open_data.exchanged_negatives import ExchangedNegatives
from llm_embedder_data.datamodule.open_data.stage_data import (
    check_has_eval_data,
    check_instructions_fit,
    open_stage,
    write_caches,
)
from llm_embedder_data.datamodule.quiet_run import QuietRun
from llm_embedder_data.datamodule.ranks import Ranks, check_ranks_agree
from llm_embedder_data.datamodule.resume.fit_position import FitPosition
from llm_embedder_data.datamodule.resume.training_loader import (
    forget_training_loader,
    renew_training_loader,
)
from llm_embedder_data.datamodule.settings.settings import (
    Auto,
    DataSettings,
    OnOtherGlobalBatch,
    Tokenize,
    plain,
)
from llm_embedder_data.datamodule.trainer_state import fitting_trainer, is_running, stage_of
from llm_embedder_data.rows.schema.evaluation import EvalMethod
from llm_embedder_data.rows.selection.train_settings import OnNoNegatives
from llm_embedder_data.rows.settings.key_templates import DEFAULT_KEY_TEMPLATE
from llm_embedder_data.rows.settings.reading_settings import OnBadRow


class RetrievalDataModule(InspectableDataModule):
    """Feeds the training and evaluation of retrieval embedding models.

    At every step, all ranks hold rows of the same dataset, and no two ranks hold the same row. All
    ranks make the same number of steps. The rows of a step are a function of (data, arguments,
    seed, epoch, step), so batches are the same with any number of workers, after a restart from a
    Lightning checkpoint, and on any number of ranks with the same global batch.

    >>> datamodule = RetrievalDataModule(
    ...     tokenizer="BAAI/bge-small-en-v1.5", train_data="data/*/train.jsonl"
    ... )  # doctest: +SKIP
    >>> trainer.fit(model, datamodule=datamodule)  # doctest: +SKIP

    A training batch is a dict. Shapes: B queries on this rank, G keys each, L tokens, P positives.

    - ``query``: the tokenizer's output (input_ids, attention_mask, ...), int64 [B, L]
    - ``key``: the same, [B*G, L]; keys of query i are rows i*G .. i*G+G-1, the positive first
    - ``key_mask``: int64 [B, G], 0 where a key is padding
    - ``teacher_scores``: float32 [B, G], NaN in a row without scores; None if the dataset has no
      scores
    - ``task``, ``dataset``: str; ``query_id``: list of int or str; ``row``: int64 [B], row numbers
      in the dataset; ``query_text_id``: int64 [B], a hash of each query's text
    - ``key_id``: int64 [B*G], a hash of each key's text; ``positive_id``: int64 [B, P], hashes of
      all known positives, padded with 0. With these, gathered over ranks, a loss can tell which
      keys are not negatives.
    - ``in_batch_negatives``: bool, the same on all ranks
    - with ``cross``: ``cross`` [B*G, L] and ``batch_size`` in place of ``query`` and ``key``
    - if chunks or unique keys reorder texts: ``query_inverse`` [B], ``key_inverse`` [B*G], int64,
      the row of each text; see :class:`RetrievalDataCollator`

    An eval batch has query, query_id, task, dataset, corpus, row and pos_index (int64 [n, P], the
    indices of the right passages, padded with -1; a relevant document that the corpus does not
    have has an index beyond its rows). If documents have graded judgments, it has
    grades (float64 [n, P], for the same passages). For reranking it also has key, key_mask and
    key_index (int64 [n, G], padded with -1). A corpus batch has content, index (int64 [n]) and
    dataset.

    Attributes:
        replace_eval_loaders: a function that is called with the loaders of an evaluation, by name,
            and returns the loaders to use instead; None uses them unchanged.
        watch_training: a function that is called with each training batch on the host, and with
            the times (``time.perf_counter``, in seconds) at which it was requested and delivered;
            None calls nothing. It acts on loaders that are made after it was set.

    Args:
        tokenizer: a name or path for AutoTokenizer, or a tokenizer.
        train_data: a path, glob, folder or address, data in memory (Dataset, DatasetDict,
            DataFrame, Arrow table, list of dicts), a list of these, or a mapping {name: source}; a
            source is one of these, or a dict with ``path`` and any of ``task``,
            ``task_description``, ``weight``, ``batch_size``, ``in_batch_negatives``,
            ``max_sample_num``, ``normalize_scores``, the limits on negatives from ``range_min`` to
            ``relative_margin``, the columns that hold fields (``query: question``,
            ``neg: [neg_1, neg_2]``, ``pos: answer.text``) and options of other formats:
            ``format``, ``corpus``, ``queries``, ``qrels``, ``negatives``, ``scores``, ``split``,
            ``prefix``, ``config``, ``miner``, ``threshold``. Formats are recognized by content; see
            :func:`~llm_embedder_data.read_rows`.
        eval_data: sources like those of ``train_data``, without the options that only concern
            training. Ids of documents refer to the corpus; nDCG uses grades as gains.
        corpus: likewise, with the options ``format``, ``key_template``, ``split``, ``prefix`` and
            ``config``. An eval set is searched in the only corpus, or in the corpus of its name.
        data_root: the folder that the prefix ``llm-embedder:`` of a path stands for.
        recipe: instructions and per-task settings: a name in conf/recipe, a path, or a mapping. A
            recipe without instructions takes the encoder's own, and so does ``auto``: they are read
            from the files beside the tokenizer, or taken from a table of published conventions if
            the files have none.
        default_task: task of rows if neither they nor their source name one.
        add_instruction: whether instructions are put before queries and keys. A row's own
            instruction (its field ``instruction``) replaces the recipe's. False turns both off.
        use_train_config: whether the recipe's per-task settings apply. An argument that is not None
            overrides them.
        train_group_size: G, keys per query: 1 positive and G-1 negatives. Batches of a dataset in
            which no row has that many distinct keys have fewer.
        select_positive: which positive to train on: first, random, teacher (the key with the
            highest score) or teacher-pos (the positive with the highest score). None: the recipe's,
            or else first, but teacher in rows that have scores and no labelled positive.
        select_negative: which negatives to train on: random, first, teacher+ (highest scores first)
            or teacher- (lowest scores first). None: the recipe's, or else random.
        teacher_scores_min: drop rows whose highest score is lower than this.
        teacher_scores_margin: drop rows whose highest and lowest score differ by less than this.
        max_sample_num: train on a random sample of this many rows per dataset, which depends only
            on the seed.
        stable_distill: whether to sort negatives by teacher score, descending. None: the recipe's,
            or else False.
        range_min: leave out this many of a row's negatives: those with the highest scores, or the
            first ones in a row without scores. This and the next five are limits on hard negatives.
            Each may be a mapping {epoch: value}; None: the recipe's, or else no limit.
        range_max: leave out the negatives from this rank on, counted from 0.
        min_score: leave out negatives with a lower teacher score.
        max_score: leave out negatives with a higher teacher score, as false negatives.
        absolute_margin: leave out, as false negatives, those that score above p - margin. Here p is
            the lowest score of a labelled positive, or the score of a positive that the teacher
            chose.
        relative_margin: leave out, as false negatives, those that score above p - margin * abs(p).
        normalize_scores: scale the teacher scores of a dataset in batches: minmax (the lowest score
            of the kept rows becomes 0, the highest 1) or zscore (mean 0, standard deviation 1).
            None: the recipe's, or else no scaling. A source's own setting overrides this.
        batch_size: queries per rank and step.
        organize_method: epoch, epoch-static, epoch-random or random; see :class:`EpochPlan`.
        mixing: how often each dataset comes, in place of the weights of sources: ``{"alpha": a}``
            gives a dataset a share of the steps in proportion to rows ** a; ``{"temperature": t}``
            is the same with a = 1 / t; ``{"shares": {name: share}}`` gives the shares. None: as
            many passes as the weight says, by default 1.
        remainder: what to do with rows that do not fill a global batch: rotate (leave out different
            rows in each epoch) or drop.
        small_datasets: what to do with a dataset smaller than one global batch: error, drop or
            repeat.
        no_duplicates: keep rows apart that have a text in common (query or labelled positive), so
            that no global batch has it twice, on whatever ranks. The rows of an epoch and its steps
            stay the same. A text that is in more rows than there are global batches still comes
            more than once in some of them, where a loss masks it by ``key_id``.
        length_window: sort this many consecutive global batches of a dataset by length, so that a
            batch has rows of similar length; None ignores length.
        shuffle_window: number of rows of a dataset that are shuffled together; None shuffles all.
        seed: seed of all random choices.
        query_max_length: maximum number of tokens of a query, special tokens included.
        key_max_length: maximum number of tokens of a key, special tokens included.
        cross: make (query, key) pairs for a cross-encoder.
        layout: padded; chunked (texts of similar length are padded together); or packed (one row
            without padding).
        chunk_size: maximum number of texts in a chunk.
        unique_keys: tokenize and encode a text only once if it is several keys of a batch.
        pad_to_multiple_of: pad to a multiple of this many tokens; None pads to the longest text.
        tokenize: on-the-fly; or cached: :meth:`prepare_data` tokenizes each distinct text once, and
            batches are assembled from token ids on disk. The batches are the same.
        key_template: how the fields of a corpus row make the text of a key, with field names in
            braces; also of a corpus that training rows are joined to. A corpus may have a template
            of its own.
        eval_method: retrieve (search the corpus) or rerank (rank the candidates of each row).
        eval_batch_size: queries or passages per rank and step of an evaluation.
        eval_corpus_sample: in validations during a fit, encode and search only the right passages
            of the eval queries and a sample of this many others, which depends only on the seed.
            The metrics are then too high, and are called ``sampled_ndcg@10`` and so on. None: the
            whole corpus.
        num_workers: number of processes that make batches; auto: none without an accelerator,
            otherwise up to 8.
        pin_memory: whether to pin batches in memory; auto: if CUDA is available.
        prefetch_factor: number of batches that each worker keeps ready; auto: 4.
        on_bad_row: what to do with rows that break a rule: raise an error, or skip and count them.
        on_no_negatives: what to do with rows without a hard negative: drop them, or keep them (and
            train them with in-batch negatives only).
        on_other_global_batch: what to do with a checkpoint of a run with another global batch
            (batch_size times ranks): raise an error; or continue inside its epoch with the rows
            that it has not reached, none of them twice. Of these, rows that do not fill a global
            batch of this run are left out of that epoch. Later epochs are as in a run that always
            had this global batch.
        cache_dir: folder for Arrow files and token tables; None: a folder beside the cache of
            Hugging Face datasets.
        stream_cache_mib: maximum size in MiB of streamed files in that folder, over all processes.

    Raises:
        ConfigError: an argument is invalid; the message says which, why, and what is allowed.
    """

    replace_eval_loaders: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    watch_training: Watch | None = None

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
        range_min: RankLimit | None = None,
        range_max: RankLimit | None = None,
        min_score: Limit | None = None,
        max_score: Limit | None = None,
        absolute_margin: Limit | None = None,
        relative_margin: Limit | None = None,
        normalize_scores: NormalizeScores | None = None,
        batch_size: int = 32,
        organize_method: OrganizeMethod = "epoch",
        mixing: Mapping[str, Any] | None = None,
        remainder: Remainder = "rotate",
        small_datasets: SmallDatasets = "error",
        no_duplicates: bool = False,
        length_window: int | None = None,
        shuffle_window: int | None = None,
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
        eval_corpus_sample: int | None = None,
        num_workers: int | Auto = "auto",
        pin_memory: bool | Auto = "auto",
        prefetch_factor: int | Auto = "auto",
        on_bad_row: OnBadRow = "raise",
        on_no_negatives: OnNoNegatives = "drop",
        on_other_global_batch: OnOtherGlobalBatch = "raise",
        cache_dir: str | os.PathLike[str] | None = None,
        stream_cache_mib: int = 2048,
    ) -> None:
        settings = DataSettings(
            tokenizer=tokenizer,
            train_data=plain(train_data),
            eval_data=plain(eval_data),
            corpus=plain(corpus),
            data_root=data_root,
            recipe=plain(recipe),
            default_task=default_task,
            add_instruction=add_instruction,
            use_train_config=use_train_config,
            train_group_size=train_group_size,
            select_positive=select_positive,
            select_negative=select_negative,
            teacher_scores_min=teacher_scores_min,
            teacher_scores_margin=teacher_scores_margin,
            max_sample_num=max_sample_num,
            stable_distill=stable_distill,
            range_min=plain(range_min),
            range_max=plain(range_max),
            min_score=plain(min_score),
            max_score=plain(max_score),
            absolute_margin=plain(absolute_margin),
            relative_margin=plain(relative_margin),
            normalize_scores=normalize_scores,
            batch_size=batch_size,
            organize_method=organize_method,
            mixing=plain(mixing),
            remainder=remainder,
            small_datasets=small_datasets,
            no_duplicates=no_duplicates,
            length_window=length_window,
            shuffle_window=shuffle_window,
            seed=seed,
            query_max_length=query_max_length,
            key_max_length=key_max_length,
            cross=cross,
            layout=layout,
            chunk_size=chunk_size,
            unique_keys=unique_keys,
            pad_to_multiple_of=pad_to_multiple_of,
            tokenize=tokenize,
            key_template=key_template,
            eval_method=eval_method,
            eval_batch_size=eval_batch_size,
            eval_corpus_sample=eval_corpus_sample,
            num_workers=num_workers,
            pin_memory=pin_memory,
            prefetch_factor=prefetch_factor,
            on_bad_row=on_bad_row,
            on_no_negatives=on_no_negatives,
            on_other_global_batch=on_other_global_batch,
            cache_dir=cache_dir,
            stream_cache_mib=stream_cache_mib,
        )
        super().__init__(settings)
        self._ranks_at_setup = Ranks()
        self._position = FitPosition()
        self._search: BatchSizeSearch | None = None
        self._exchanged = ExchangedNegatives(self._data, self._reopen)
        self._quiet = QuietRun()

    # -- what Lightning calls ------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Fetch the tokenizer and write the caches on disk; no data is opened here.

        With several ranks, an error only leads to a warning here, because ``setup`` will raise it
        on all ranks.
        """
        builder, stage = self._builder, stage_of(self.trainer)
        try:
            write_caches(builder, self.tokenizer, stage)
        except Exception as error:
            # The other ranks are waiting for this one. All ranks will meet the error in setup.
            if self._ranks.num_replicas == 1:
                raise
            warnings.warn(
                printable(f"prepare_data() failed, setup() will try again: {error}"), stacklevel=1
            )

    def setup(self, stage: str | None = None) -> None:
        """Open the caches. A second call for the same stage only compares the ranks.

        Raises:
            DataError: the data cannot be used.
            ConfigError: the data do not suit the settings, or ranks do not agree on data and
                settings.
        """
        if is_running(self.trainer):
            self._quiet.begin(chooses_workers=self._settings.num_workers == "auto")
        if stage == "fit":
            self._position.forget_finished_fit()
        self._ranks_at_setup = self._ranks
        with check_ranks_agree(self._ranks_at_setup) as values:
            self._open(stage)
            values.update(self._values_of_all_ranks(stage, self._ranks_at_setup.num_replicas))
            self._search = search_to_come(self.trainer, stage, self._data, self.batch_size)
            check_has_eval_data(self._data, stage)
            if stage is None and self._data.train:
                self.plan()  # raises last, so that diagnose() can look at all data even then

    def train_dataloader(self) -> BatchLoader:
        """Return a loader of this rank's training batches.

        Its length is the number of steps of an epoch, the same on every rank.
        """
        is_set_up = self._data.train is not None
        if self.trainer is None and is_set_up and self._ranks_at_setup != self._ranks:
            self.setup("fit")  # init_process_group() was called after setup, so compare ranks now
        trainer, groups = fitting_trainer(self.trainer), self._data.groups(self._builder)
        try:
            trial = plan_of_trial(
                self._search, trainer, self.batch_size, resumes=self._position.resumes
            )
        except SizeRefused as error:
            return self._loader(groups, RefusingSampler(error), sized=False)
        begin = self._position.begin(
            self.plan() if trial is None else trial,
            trainer,
            fingerprint=self._fingerprint,
            plan_of=self._data.plan,
            on_other_global_batch=self._settings.on_other_global_batch,
        )
        loader = self._loader(
            groups,
            training_sampler(begin, groups, self._ranks.rank, trainer),
            persistent=True,
            resumed_by_module=trainer is not None,
            sized=trial is None,
        )
        loader.watch = self.watch_training
        return loader

    @property
    def val_dataloader(self) -> Callable[[], Loaders]:
        """A function that returns loaders of this rank's share of the eval queries and corpora.

        There are corpora only with ``eval_method="retrieve"``. The function returns the loader
        itself if there is only one. Otherwise it returns a dict: the eval sets by name, then
        ``corpus``, or ``corpus/<name>`` if there are several.
        """
        # A property, because Lightning asks whether this hook is overridden before it calls it.
        if must_hide_validation(fitting_trainer(self.trainer), self._settings.eval_data):
            return super().val_dataloader
        return self._eval_dataloaders

    def test_dataloader(self) -> Loaders:
        """Return the same loaders as :attr:`val_dataloader`."""
        return self._eval_dataloaders()

    def predict_dataloader(self) -> Loaders:
        """Return a loader of this rank's share of the corpus; a dict if there are several corpora.

        Raises:
            ConfigError: there is no corpus.
        """
        views = self._data.matching(self._builder).views
        loaders = corpus_loaders(self._data, views, self._shard_loader)
        if not loaders:
            raise ConfigError("data.corpus=None: prediction encodes a corpus (give data.corpus)")
        return single_or_all(loaders)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the run, in plain Python; it is the same on all ranks."""
        if not self._data.train:
            return {}
        return self._position.state(self.plan, self._fingerprint, self._exchanged.record())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the position of a checkpoint for the :meth:`train_dataloader` of this fit.

        Raises:
            ConfigError: the state is damaged, or a later version wrote it.
        """
        if stage_of(self.trainer) in ("validate", "test", "predict"):
            return  # an evaluation needs no training position
        trainer = fitting_trainer(self.trainer)
        _warn(self._exchanged.restore(state_dict))
        if self._position.load(state_dict) and trainer is not None:
            forget_training_loader(trainer)

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: Any, *arguments: Any, **settings: Any
    ) -> RetrievalDataModule:
        """Make a data module with the settings of the one that wrote a checkpoint.

        This does not restore the position in the data; ``trainer.fit(..., ckpt_path=...)`` does.

        Args:
            checkpoint_path: a checkpoint of Lightning.
            arguments: see ``LightningDataModule.load_from_checkpoint``.
            settings: settings that replace the recorded ones. A tokenizer or data that the run got
                as objects in memory must be passed again.

        Raises:
            ConfigError: a setting was an object in memory, and is not passed again.
        """
        module: RetrievalDataModule = super().load_from_checkpoint(
            checkpoint_path, *arguments, **settings
        )
        module._position.forget_checkpoint()
        return module

    def teardown(self, stage: str | None = None) -> None:
        """Forget a checkpoint's position: it applies to one fit only."""
        self._quiet.end()
        self._position.end()

    def on_exception(self, exception: BaseException) -> None:
        """Explain a lost worker, and forget a checkpoint's position."""
        explain_lost_worker(exception)
        self.teardown()

    # -- what callbacks call -------------------------------------------------------------------

    def exchange_negatives(self, files: Mapping[str, str | os.PathLike[str]]) -> None:
        """Replace the negatives to train on; call this between epochs.

        The change takes effect with the next batch. Rows are not read again, and known texts are
        not tokenized again. The rows to train on stay the same: a row that has no negative left is
        trained with in-batch negatives only. A checkpoint records the files, and a run that resumes
        it must find them unchanged. With several ranks, all must call this with the same files.

        Args:
            files: the new file of negatives for each source, by the name of the source. A file is
                like one that the option ``negatives`` of a source names.

        Raises:
            ConfigError: a source does not exist.
            DataError: a file cannot be read.
        """
        _warn(self._exchanged.exchange(files))
        trainer = fitting_trainer(self.trainer)
        if trainer is not None and is_running(trainer):
            renew_training_loader(trainer)

    # -- parts ---------------------------------------------------------------------------------

    def _open(self, stage: str | None) -> None:
        """Open the data of a stage, and tell the user what there is to know about them."""
        data, builder = self._data, self._builder
        first_plan = partial(self._first_plan, stage)
        _warn(open_stage(data, builder, self.tokenizer, self._settings, stage, first_plan))
        data.log_instructions(builder)
        if self._settings.mixing is not None and (plan := first_plan()) is not None:
            data.log_mixing(plan)
        check_instructions_fit(data, builder, self._collator)

    def _reopen(self, negatives: Mapping[str, str]) -> list[str]:
        """Open the training sets with other files of negatives, and return notes on them."""
        return self._data.exchange_negatives(self._builder, self.tokenizer, negatives)

    def _eval_dataloaders(self) -> Loaders:
        is_fit = stage_of(self.trainer) == "fit"
        sample = self._settings.eval_corpus_sample if is_fit else None
        loaders: dict[str, Any]
        loaders = eval_loaders(self._data, self._builder, self._shard_loader, sample, self.seed)
        if self.replace_eval_loaders is not None:
            loaders = self.replace_eval_loaders(loaders)
        if not loaders and fitting_trainer(self.trainer) is not None:
            return NoLoaders()
        return single_or_all(loaders)

    def _shard_loader(self, dataset: Any) -> BatchLoader:
        ranks = self._ranks
        sampler = SequentialShardSampler(
            len(dataset), self.eval_batch_size, rank=ranks.rank, num_replicas=ranks.num_replicas
        )
        return self._loader(dataset, sampler)

    def _loader(self, dataset: Any, sampler: Any, **options: bool) -> BatchLoader:
        settings = self._settings
        how = LoaderSettings(settings.num_workers, settings.pin_memory, settings.prefetch_factor)
        return how.loader(dataset, sampler, self._collator, ranks=self._ranks, **options)


def _warn(notes: Iterable[str]) -> None:
    for note in notes:
        rank_zero_warn(printable(note))
