"""The datasets that a data module has open, with their token tables and notes on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from lightning.pytorch.utilities import rank_zero_info
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.groups.texts_of_rows import shared_texts
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.groups.train_rows import TrainRows
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan, SmallDatasets
from llm_embedder_data.batches.plan.mixing import Mixing
from llm_embedder_data.batches.plan.plan_checks import PlanError
from llm_embedder_data.batches.plan.shared_texts import SharedTexts
from llm_embedder_data.batches.token_cache.cached_rows import CachedTrainRows
from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line, printable
from llm_embedder_data.datamodule.open_data.building import DatasetBuilder
from llm_embedder_data.datamodule.open_data.corpus_matching import Matching
from llm_embedder_data.datamodule.open_data.rows_of_fit import with_rows_of
from llm_embedder_data.datamodule.open_data.streamed_sets import traffic_notes
from llm_embedder_data.datamodule.settings.settings import DataSettings
from llm_embedder_data.inspection.doctor.costs.cache_sizes import cache_files
from llm_embedder_data.inspection.report import (
    Report,
    described,
    listed_datasets,
    make_report,
    mixing_in_words,
)
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.row_lengths import row_lengths
from llm_embedder_data.rows.train_set import TrainSet

Built = TypeVar("Built", TrainSet, EvalSet, Corpus)


class OpenData:
    """Holds the open datasets of a data module, by kind.

    Args:
        settings: the settings of the data module.

    Attributes:
        train: the training sets by name; None until they are open.
        evals: the eval sets by name; None until they are open.
        corpora: the corpora by name; None until they are open.
        tables: the token tables, by kind (train, eval, corpus) and dataset.
        token_notes: notes on the token tables, by kind and dataset.
    """

    def __init__(self, settings: DataSettings) -> None:
        self.train: dict[str, TrainSet] | None = None
        self.evals: dict[str, EvalSet] | None = None
        self.corpora: dict[str, Corpus] | None = None
        self.tables: dict[str, dict[str, TokenTable]] = {"train": {}, "eval": {}, "corpus": {}}
        self.token_notes: dict[str, dict[str, list[str]]] = {}
        self._settings = settings
        self._lengths: dict[str, Any] | None = None
        self._shared_texts: dict[str, SharedTexts] | None = None
        self._logged: set[str] = set()

    def open_train(self, builder: DatasetBuilder, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """Open the training sets, and return notes on them."""
        self.train = builder.train_sets()
        notes = _notes(self.train) + self._open_tables("train", self.train, builder, tokenizer)
        on_batches = self._notes_on_batches().items()
        return notes + [f"{name}: {note}" for name, lines in on_batches for note in lines]

    def exchange_negatives(
        self,
        builder: DatasetBuilder,
        tokenizer: PreTrainedTokenizerBase,
        negatives: Mapping[str, str],
    ) -> list[str]:
        """Open the training sets with other files of negatives; return notes on them.

        Args:
            builder: builds the training sets.
            tokenizer: the tokenizer of the token tables.
            negatives: files of negatives, by the name of the source.
        """
        begun = self.train_sets()
        opened = builder.train_sets(negatives)
        self.train = {name: with_rows_of(opened[name], found) for name, found in begun.items()}
        self._lengths = None
        return _notes(self.train) + self._open_tables("train", self.train, builder, tokenizer)

    def open_evaluation(
        self, builder: DatasetBuilder, tokenizer: PreTrainedTokenizerBase
    ) -> list[str]:
        """Open the eval sets and the corpora, and return notes on them."""
        self.evals, self.corpora = builder.evaluation()
        return [
            *_notes(self.evals),
            *_notes(self.corpora),
            *self._open_tables("eval", self.evals, builder, tokenizer),
            *self._open_tables("corpus", self.matching(builder).views, builder, tokenizer),
        ]

    def train_sets(self) -> dict[str, TrainSet]:
        """Return the training sets.

        Raises:
            ConfigError: the training sets are not open, or there are none.
        """
        train_sets = _opened(self.train)
        if not train_sets:
            raise ConfigError("data.train_data=None: nothing to train on (give training data)")
        return train_sets

    def eval_sets(self) -> dict[str, EvalSet]:
        """Return the eval sets.

        Raises:
            ConfigError: the eval sets are not open.
        """
        return _opened(self.evals)

    def matching(self, builder: DatasetBuilder) -> Matching:
        """Match the eval sets with the corpora."""
        return builder.matching(_opened(self.evals), _opened(self.corpora))

    def with_instructions(self) -> Iterator[TrainSet | EvalSet]:
        """Iterate over the open datasets that have instructions."""
        yield from (self.train or {}).values()
        yield from (self.evals or {}).values()

    def groups(self, builder: DatasetBuilder) -> TrainGroups:
        """Return the training groups that a loader reads."""
        settings, tables = self._settings, self.tables["train"]
        sources: dict[str, TrainRows | CachedTrainRows] = {}
        instructions = {}
        for name, train_set in self.train_sets().items():
            size = train_set.group_size(settings.train_group_size)
            if name in tables:
                sources[name] = CachedTrainRows(train_set, tables[name], size, settings.seed)
            else:
                sources[name] = TrainRows(train_set, size, settings.seed)
            instructions[name] = builder.instruction_of(train_set)
        return TrainGroups(sources, instructions)

    def plan(
        self,
        batch_size: Mapping[str, int],
        epoch: int = 0,
        num_replicas: int = 1,
        *,
        small_datasets: SmallDatasets | None = None,
    ) -> EpochPlan:
        """Return the plan of the datasets that ``batch_size`` names.

        Args:
            batch_size: queries per rank and step, by dataset.
            epoch: zero-based.
            num_replicas: number of data-parallel ranks.
            small_datasets: replaces the setting of this name; None takes the setting.

        Raises:
            PlanError: no plan can be made of the data with these settings.
        """
        try:
            return self._plan(batch_size, epoch, num_replicas, small_datasets)
        except PlanError:
            raise
        except ConfigError as error:
            raise PlanError(error) from error

    def _plan(
        self,
        batch_size: Mapping[str, int],
        epoch: int,
        num_replicas: int,
        small_datasets: SmallDatasets | None,
    ) -> EpochPlan:
        settings = self._settings
        train_sets = [self.train_sets()[name] for name in batch_size]
        mixing = Mixing.of(settings.mixing)
        if mixing is not None:
            mixing.check({name: one.weight for name, one in self.train_sets().items()})
            mixing = mixing.among(batch_size)
        lengths = self._row_lengths()
        return EpochPlan(
            {train_set.name: len(train_set.kept) for train_set in train_sets},
            batch_size,
            num_replicas,
            settings.seed,
            settings.organize_method,
            epoch,
            remainder=settings.remainder,
            small_datasets=small_datasets or settings.small_datasets,
            weights={train_set.name: train_set.weight for train_set in train_sets},
            length_window=settings.length_window,
            shuffle_window=settings.shuffle_window,
            mixing=mixing,
            lengths={name: lengths[name] for name in batch_size if name in lengths},
            shared_texts=self._texts_in_common(),
        )

    def require_open(self) -> None:
        """Check that some data are open.

        Raises:
            ConfigError: none are.
        """
        if self.train is None and self.evals is None and self.corpora is None:
            raise ConfigError(_NOT_OPEN)

    def report(self, builder: DatasetBuilder, plan: EpochPlan | None) -> Report:
        """Return the report on the rows that were read, kept and dropped.

        Raises:
            ConfigError: no data are open.
        """
        self.require_open()
        views = self.matching(builder).views if self.evals is not None else {}
        key_instructions: dict[str, list[str]] = {}
        for view in views.values():
            key_instructions.setdefault(view.corpus.name, []).append(view.key_instruction)
        of_tokens, on_batches = self.token_notes.get("train", {}), self._notes_on_batches()
        frequent = self.notes_on_duplicates(plan) if plan is not None else {}
        train_notes = {
            name: [*of_tokens.get(name, []), *on_batches.get(name, []), *frequent.get(name, [])]
            for name in {**of_tokens, **on_batches, **frequent}
        }
        return make_report(
            (self.train or {}).values(),
            (self.evals or {}).values(),
            (self.corpora or {}).values(),
            plan,
            notes=self.token_notes | {"train": train_notes},
            instruction=builder.instruction_of,
            origin=builder.origin_of_instructions,
            key_instructions=key_instructions,
        )

    def cache_files(self, builder: DatasetBuilder) -> dict[str, dict[str, int]]:
        """Return the cache files of each dataset with their sizes in bytes.

        Datasets have the names that the doctor gives them: ``<name>``, ``eval/<name>`` and
        ``corpus/<name>``.
        """
        tables = {
            kind: {name: [table] for name, table in own.items()}
            for kind, own in self.tables.items()
        }
        views = self.matching(builder).views if self.evals is not None else {}
        of_corpus: dict[str, list[TokenTable]] = {}
        for name, view in views.items():
            of_corpus.setdefault(view.corpus.name, []).extend(tables["corpus"].get(name, []))
        found = {}
        for name, train_set in (self.train or {}).items():
            found[name] = cache_files(train_set, tables["train"].get(name, []))
        for name, eval_set in (self.evals or {}).items():
            found[f"eval/{name}"] = cache_files(eval_set, tables["eval"].get(name, []))
        for name, corpus in (self.corpora or {}).items():
            found[f"corpus/{name}"] = cache_files(corpus, of_corpus.get(name, []))
        return found

    def log_instructions(self, builder: DatasetBuilder) -> None:
        """Log the instructions in force, one line for all datasets that share them."""
        names: dict[Instruction, dict[str, None]] = {}
        for dataset in self.with_instructions():
            names.setdefault(builder.instruction_of(dataset), {})[dataset.name] = None
        for instruction, datasets in names.items():
            line = (
                f"{', '.join(map(one_line, datasets))}: instruction: {described(instruction)} "
                f"({builder.origin_of_instructions}; data.recipe changes it)"
            )
            if line not in self._logged:
                rank_zero_info(printable(line))
                self._logged.add(line)

    def log_mixing(self, plan: EpochPlan) -> None:
        """Log the share of the steps that each dataset gets, if ``data.mixing`` is set."""
        if plan.mixing is None:
            return
        line = f"{mixing_in_words(plan)} (data.mixing changes it)"
        if line not in self._logged:
            rank_zero_info(printable(line))
            self._logged.add(line)

    def evaluation_fingerprint(self, builder: DatasetBuilder) -> dict[str, Any]:
        """Return the values that ranks must agree on to evaluate together."""
        settings = self._settings
        entries: dict[str, Any] = {}
        for kind, built in (("eval set", self.evals), ("corpus", self.corpora)):
            for dataset in (built or {}).values():
                entries[f"{kind} {dataset.name}"] = list(dataset.digests)
        for eval_set in (self.evals or {}).values():
            instruction = builder.instruction_of(eval_set)
            entries[f"eval set {eval_set.name}, instruction"] = asdict(instruction)
        return entries | {
            "eval_method": settings.eval_method,
            "eval_corpus_sample": settings.eval_corpus_sample,
            "key_template": settings.key_template,
            "add_instruction": settings.add_instruction,
            "cross": settings.cross,
            "loaders": [*(self.evals or {}), *self.matching(builder).views],
        }

    def _open_tables(
        self,
        kind: str,
        built: Mapping[str, Any],
        builder: DatasetBuilder,
        tokenizer: PreTrainedTokenizerBase,
    ) -> list[str]:
        self.tables[kind], self.token_notes[kind] = builder.token_tables(tokenizer, built)
        notes = self.token_notes[kind].items()
        return [f"{one_line(name)}: {note}" for name, lines in notes for note in lines]

    def _notes_on_batches(self) -> dict[str, list[str]]:
        """Return notes on datasets that cannot fill their groups or are fetched often, by name."""
        wanted = self._settings.train_group_size
        notes: dict[str, list[str]] = {}
        for name, train_set in (self.train or {}).items():
            if train_set.group_size(wanted) < wanted:
                notes.setdefault(name, []).append(_group_note(train_set, wanted))
            if n_short := train_set.n_short_of_negatives(wanted):
                notes.setdefault(name, []).append(
                    f"{n_short:,} of {len(train_set.kept):,} rows have fewer than "
                    f"{train_set.group_size(wanted) - 1} hard negatives, so theirs are used "
                    f"repeatedly, each equally often (data.train_group_size={wanted})"
                )
        for name, note in traffic_notes(self.train or {}, self._settings).items():
            notes.setdefault(name, []).append(note)
        return notes

    def notes_on_plan(self, plan: EpochPlan) -> list[str]:
        """Return notes on datasets that are dropped, or that have too frequent texts."""
        notes = []
        if self._settings.small_datasets == "drop" and plan.dropped:
            sizes = (f"{one_line(name)} ({rows} rows)" for name, rows in plan.dropped.items())
            notes.append(
                "dropped because they are smaller than a global batch (data.small_datasets): "
                + ", ".join(sizes)
            )
        frequent = self.notes_on_duplicates(plan).items()
        return notes + [f"{one_line(name)}: {note}" for name, of in frequent for note in of]

    def notes_on_duplicates(self, plan: EpochPlan) -> dict[str, list[str]]:
        """Return notes on texts that are too frequent for ``no_duplicates``, by dataset."""
        notes = {}
        for name, shared in (self._texts_in_common() or {}).items():
            n_batches = plan.sizes[name] // plan.global_batch(name)
            if n_batches < shared.most_rows:
                notes[name] = [
                    f"a text is in {shared.most_rows:,} rows, more than the {n_batches:,} global "
                    "batches of a pass, so some of them have it more than once, where the loss "
                    "masks it (data.no_duplicates=true)"
                ]
        return notes

    def _texts_in_common(self) -> dict[str, SharedTexts] | None:
        """Return the texts that rows share, by dataset; None without ``no_duplicates``."""
        if self._settings.no_duplicates and self._shared_texts is None:
            self._shared_texts = {
                name: shared_texts(train_set) for name, train_set in self.train_sets().items()
            }
        return self._shared_texts

    def _row_lengths(self) -> dict[str, Any]:
        """Return the lengths of all rows, by dataset; empty without ``length_window``."""
        settings = self._settings
        if settings.length_window is None:
            return {}
        if self._lengths is None:
            self._lengths = {
                name: row_lengths(
                    train_set.rows,
                    train_set.kept,
                    group_size=train_set.group_size(settings.train_group_size),
                    query_max_length=settings.query_max_length,
                    key_max_length=settings.key_max_length,
                    passages=train_set.passages,
                )
                for name, train_set in self.train_sets().items()
            }
        return self._lengths


_NOT_OPEN = "no data yet: call prepare_data() and setup(), as a Trainer does"


def _opened(built: dict[str, Built] | None) -> dict[str, Built]:
    if built is None:
        raise ConfigError(_NOT_OPEN)
    return built


def _notes(built: Mapping[str, Built]) -> list[str]:
    """Return the notes on some datasets; a note that several datasets share is returned once."""
    names: dict[str, list[str]] = {}
    for dataset in built.values():
        for note in dataset.notes:
            names.setdefault(note, []).append(dataset.name)
    return [f"{listed_datasets(of_note)}: {note}" for note, of_note in names.items()]


def _group_note(train_set: TrainSet, wanted: int) -> str:
    size = train_set.group_size(wanted)
    most = train_set.most_negatives
    if size == train_set.largest_group:
        why = "its rows are of type only_1neg"
    elif most:
        why = f"no row has more than {most} hard {'negative' if most == 1 else 'negatives'}"
    else:
        why = "no row has a hard negative"
    keys = "1 key" if size == 1 else f"{size} keys"
    return f"{why}, so each query gets {keys} (data.train_group_size={wanted} asks for more)"
