"""Builds datasets and token tables from the data module's settings, and matches sets to corpora."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.token_cache.dataset_tables import TokenCache
from llm_embedder_data.batches.token_cache.exactness import why_not_cached
from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.side_tokenizer import SideTokenizer
from llm_embedder_data.config.recipes import Instruction, Recipe
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.open_data.corpus_matching import (
    CorpusView,
    Matching,
    corpus_of,
    match,
)
from llm_embedder_data.datamodule.open_data.streamed_sets import check_streamed
from llm_embedder_data.datamodule.settings.settings import DataSettings
from llm_embedder_data.datamodule.settings.task_settings import row_settings
from llm_embedder_data.rows.corpora import Corpus, build_corpus
from llm_embedder_data.rows.corpus_indices import within_corpus
from llm_embedder_data.rows.eval_sets import EvalSet, build_eval_sets
from llm_embedder_data.rows.joins.joined_rows import with_negatives
from llm_embedder_data.rows.row_answers import answers_by_record, answers_of
from llm_embedder_data.rows.schema.canonical_rows import Kind
from llm_embedder_data.rows.schema.evaluation import eval_fields
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS
from llm_embedder_data.rows.selection.train_settings import TrainSettings
from llm_embedder_data.rows.settings.key_templates import template_fields
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.source_rows.row_instructions import longest_instructions
from llm_embedder_data.rows.sources.dataset_names import by_unique_name
from llm_embedder_data.rows.sources.reader_settings import READER_OPTIONS
from llm_embedder_data.rows.sources.sources import Source, resolve_sources
from llm_embedder_data.rows.train_set import TrainSet
from llm_embedder_data.rows.train_sets import build_train_sets

Built = TypeVar("Built", TrainSet, EvalSet, Corpus)

_EVAL_OPTIONS = ("task", "task_description", "format", *READER_OPTIONS["eval"])
_CORPUS_OPTIONS = ("format", "key_template", *READER_OPTIONS["corpus"])

# Fields that a source may rename in addition to those of canonical rows. Readers of other formats
# use them.
_MORE_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    "train": (
        *("candidates", "instruction", "key_instruction", "label", "score"),
        *("answers", "context"),  # read from the same source by the verb `score`
    ),
    "eval": ("relevant", "candidates", "instruction", "label", "score"),
    "corpus": ("id", "title", "text"),
}


class DatasetBuilder:
    """Builds the datasets that the settings ask for. It does not keep a reference to them.

    Args:
        settings: the settings of the data module.
        recipe: the instructions and per-task settings in force.
    """

    def __init__(self, settings: DataSettings, recipe: Recipe) -> None:
        self._settings = settings
        self._recipe = recipe
        self._reading = ReadingSettings(
            recipe=recipe,
            default_task=settings.default_task,
            on_bad_row=settings.on_bad_row,
            cache_dir=settings.cache_dir,
            add_instruction=settings.add_instruction,
            data_root=settings.data_root,
            corpus=settings.corpus,
            key_template=settings.key_template,
            stream_cache_mib=settings.stream_cache_mib,
        )
        self._token_cache: TokenCache | None = None
        # Why tokens are not cached: empty if they are, None until a table is first requested.
        self._why_on_the_fly: str | None = None

    @property
    def reading(self) -> ReadingSettings:
        """The settings with which all sources are read."""
        return self._reading

    def train_sets(self, negatives: Mapping[str, str] | None = None) -> dict[str, TrainSet]:
        """Build the training sets, by name.

        Args:
            negatives: files of negatives that replace those of the settings, by the name of the
                source. Rows of such a source are kept even if they have no negative.

        Raises:
            ConfigError: a training set is streamed, but a setting needs all its texts.
        """
        given = negatives or {}

        def build(source: Source) -> list[TrainSet]:
            on_no_negatives = self._settings.on_no_negatives
            if source.name in given:
                on_no_negatives = "keep"
                source = with_negatives(source, given[source.name])
            return build_train_sets(
                source,
                self._reading,
                settings_of=self.row_settings,
                on_no_negatives=on_no_negatives,
                seed=self._settings.seed,
            )

        fields = dict.fromkeys((*TRAIN_FIELDS, *_MORE_FIELDS["train"]))
        built = _by_name(build, self._sources("train_data", fields), "data.train_data")
        check_streamed(built.values(), self._settings)
        return built

    def eval_sets(self) -> dict[str, EvalSet]:
        """Build the eval sets, by name."""
        eval_method = self._settings.eval_method
        fields = dict.fromkeys((*eval_fields(eval_method), *_MORE_FIELDS["eval"]))
        fields.pop("task", None)

        def build(source: Source) -> list[EvalSet]:
            return build_eval_sets(source, self._reading, eval_method=eval_method)

        sources = self._sources("eval_data", fields, kind="eval", options=_EVAL_OPTIONS)
        return _by_name(build, sources, "data.eval_data")

    def corpora(self) -> dict[str, Corpus]:
        """Build the corpora, by name."""
        key_template = self._settings.key_template

        def build(source: Source) -> list[Corpus]:
            return [build_corpus(source, self._reading, key_template=key_template)]

        fields = template_fields(key_template)
        for template in _templates_of(self._settings.corpus):
            fields += template_fields(template)
        sources = self._sources(
            "corpus",
            dict.fromkeys((*fields, *_MORE_FIELDS["corpus"])),
            kind="corpus",
            options=_CORPUS_OPTIONS,
        )
        return _by_name(build, sources, "data.corpus")

    def evaluation(self) -> tuple[dict[str, EvalSet], dict[str, Corpus]]:
        """Build the eval sets and the corpora, and check them against each other.

        A row that refers to a passage missing from its corpus is a bad row.

        Raises:
            DataError: there is a bad row, and ``on_bad_row`` is ``raise``.
        """
        evals, corpora = self.eval_sets(), self.corpora()
        for name, eval_set in evals.items():
            corpus = corpus_of(eval_set, corpora)
            if corpus is not None:
                evals[name] = within_corpus(eval_set, corpus, self._reading)
        return evals, corpora

    def require_corpora(
        self, stage: str | None, evals: Mapping[str, EvalSet], corpora: Mapping[str, Corpus]
    ) -> None:
        """Check that there is a corpus to search, if the stage evaluates by retrieval.

        Args:
            stage: the stage; only fit, validate and test evaluate.
            evals: the eval sets.
            corpora: the corpora.

        Raises:
            ConfigError: there are eval sets but no corpus, and eval_method=retrieve.
        """
        retrieves = self._settings.eval_method == "retrieve"
        if stage in ("fit", "validate", "test") and retrieves and evals and not corpora:
            raise ConfigError(
                f"data.corpus={self._settings.corpus!r}: eval_method='retrieve' searches a "
                f"corpus for the queries of {', '.join(map(one_line, evals))}, but there is none "
                "(give data.corpus; or data.eval_method=rerank, if rows have candidates of their "
                "own; or take data.eval_data out)"
            )

    def matching(self, evals: Mapping[str, EvalSet], corpora: Mapping[str, Corpus]) -> Matching:
        """Match eval sets with corpora; none match in reranking, where rows have their own keys."""
        return match(
            evals if self._settings.eval_method == "retrieve" else {},
            corpora,
            key_instruction=lambda task: self.instruction(task).key,
            default_task=self._settings.default_task,
        )

    def token_tables(
        self,
        tokenizer: PreTrainedTokenizerBase,
        built: Mapping[str, TrainSet | EvalSet] | Mapping[str, CorpusView],
    ) -> tuple[dict[str, TokenTable], dict[str, list[str]]]:
        """Return the token tables of datasets, and notes on them, by name.

        There are no tables if tokens are not cached.
        """
        if self._settings.tokenize != "cached":
            return {}, {}
        if self._why_on_the_fly is None:
            self._open_token_cache(tokenizer)
        if self._token_cache is None:
            note = (
                "tokenized on the fly in spite of data.tokenize=cached, because tokens from a "
                f"table may differ from this tokenizer's own: {self._why_on_the_fly}"
            )
            return {}, {name: [note] for name in built}
        cache, tables = self._token_cache, {}
        notes: dict[str, list[str]] = {}
        for name, dataset in built.items():
            if isinstance(dataset, CorpusView):
                tables[name] = cache.of_corpus(dataset.corpus, dataset.key_instruction)
                key = "corpus", dataset.corpus.name
            elif isinstance(dataset, TrainSet):
                tables[name] = cache.of_train_set(dataset, self.instruction_of(dataset))
                key = "train", dataset.name
            else:
                tables[name] = cache.of_eval_set(dataset, self.instruction_of(dataset))
                key = "eval", dataset.name
            if said := cache.notes.get(key):
                notes[key[1]] = list(said.values())
        return tables, notes

    def _open_token_cache(self, tokenizer: PreTrainedTokenizerBase) -> None:
        plain = BareTokenizer(tokenizer)
        for name in ("query_max_length", "key_max_length"):
            side = SideTokenizer(tokenizer, getattr(self._settings, name), plain)
            side.check_room("", f"data.{name}")  # fail now rather than after hours of tokenizing
        reason = why_not_cached(tokenizer, side, pairs=self._settings.cross)
        self._why_on_the_fly = reason or ""
        if reason is None:
            folder = self._reading.cache_folder / "tokens"
            self._token_cache = TokenCache(tokenizer, folder, plain)

    def row_settings(self, task: str) -> TrainSettings:
        """Return the settings by which the rows and keys of a task are chosen."""
        return row_settings(self._settings, self._recipe, task)

    def instruction(self, task: str, description: str | None = None) -> Instruction:
        """Return the texts put before a task's queries and keys, empty if instructions are off."""
        if not self._settings.add_instruction:
            return Instruction()
        return self._recipe.instruction(task, description)

    def instruction_of(self, dataset: TrainSet | EvalSet) -> Instruction:
        """Return the texts put before the queries and keys of a dataset."""
        return self.instruction(dataset.task, dataset.task_description)

    def answers_of(self, train_set: TrainSet) -> dict[str, list[str]]:
        """Return the answers in a training set's records, by the query's normal form."""
        assert train_set.source is not None
        return answers_of(train_set.source, self._reading)

    def answers_by_record(self, train_set: TrainSet) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the answers in a training set's records, by (file, number in the file)."""
        assert train_set.source is not None
        return answers_by_record(train_set.source, self._reading)

    def instructions_of(self, dataset: TrainSet | EvalSet) -> Iterator[Instruction]:
        """Yield the instruction of a dataset's task, and the longest ones that its rows bring."""
        yield self.instruction_of(dataset)
        if dataset.n_instructed:
            queries, keys = longest_instructions(dataset.rows, dataset.kept)
            yield from (Instruction(query=text) for text in queries)
            yield from (Instruction(key=text) for text in keys)

    @property
    def origin_of_instructions(self) -> str:
        """Where the instructions come from."""
        if not self._settings.add_instruction:
            return "data.add_instruction=false"
        return self._recipe.origin

    def _sources(self, argument: str, fields: Iterable[str], **options: Any) -> list[Source]:
        return resolve_sources(
            getattr(self._settings, argument),
            setting=f"data.{argument}",
            fields=list(fields),
            data_root=self._settings.data_root,
            cache_dir=self._reading.cache_folder,
            **options,
        )


def _by_name(
    build: Callable[[Source], list[Built]], sources: Iterable[Source], key: str
) -> dict[str, Built]:
    """Build all sources in two threads: while one is parsed, the other is written to disk."""
    with ThreadPoolExecutor(2) as threads:
        found = threads.map(lambda source: _with_notes_of(source, build(source)), sources)
        built = [dataset for datasets in found for dataset in datasets]
    return by_unique_name(built, key)


def _with_notes_of(source: Source, datasets: list[Built]) -> list[Built]:
    """Return the datasets of a source; the first also has the notes on the source."""
    first: Any = datasets[0]
    return [replace(first, notes=(*source.notes, *first.notes)), *datasets[1:]]


def _templates_of(data: Any) -> list[Any]:
    """Return the key templates that sources set themselves."""
    if isinstance(data, Mapping) and "path" not in data:
        data = list(data.values())
    sources = data if isinstance(data, list | tuple) else [data]
    found = [source.get("key_template") for source in sources if isinstance(source, Mapping)]
    return [template for template in found if isinstance(template, str)]
