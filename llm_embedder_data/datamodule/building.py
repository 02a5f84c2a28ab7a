"""The data module's arguments to datasets, their matching, and their token tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.token_cache.dataset_tables import TokenCache
from llm_embedder_data.batches.token_cache.exactness import why_not_cached
from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.side_tokenizer import SideTokenizer
from llm_embedder_data.config.recipes import Instruction, Recipe, TaskSettings
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.arguments import train_settings
from llm_embedder_data.datamodule.corpus_matching import CorpusView, Matching, corpus_of, match
from llm_embedder_data.rows.canonical_rows import Kind
from llm_embedder_data.rows.corpora import Corpus, build_corpus
from llm_embedder_data.rows.corpus_indices import within_corpus
from llm_embedder_data.rows.dataset_names import by_unique_name
from llm_embedder_data.rows.eval_sets import EvalSet, build_eval_sets
from llm_embedder_data.rows.key_templates import template_fields
from llm_embedder_data.rows.reader_settings import READER_OPTIONS
from llm_embedder_data.rows.reading_settings import ReadingSettings
from llm_embedder_data.rows.schema.evaluation import eval_fields
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS
from llm_embedder_data.rows.sources import Source, resolve_sources
from llm_embedder_data.rows.train_sets import TrainSet, build_train_sets
from llm_embedder_data.rows.train_settings import TrainSettings

Built = TypeVar("Built", TrainSet, EvalSet, Corpus)

_EVAL_OPTIONS = ("task", "task_description", "format", *READER_OPTIONS["eval"])
_CORPUS_OPTIONS = ("format", "key_template", *READER_OPTIONS["corpus"])

# Fields beside those of our own rows that a source may rename, for readers of other formats.
_MORE_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    "train": ("candidates", "instruction", "key_instruction", "label", "score"),
    "eval": ("relevant", "candidates", "instruction", "label", "score"),
    "corpus": ("id", "title", "text"),
}


class DatasetBuilder:
    """Builds what the arguments of the data module ask for; keeps none of it.

    Args:
        arguments: of the data module, by name.
        recipe: instructions and settings in force.
        cache_dir: of Arrow files and token tables; None for the default one.
    """

    def __init__(
        self, arguments: Mapping[str, Any], recipe: Recipe, cache_dir: Path | None
    ) -> None:
        self._arguments = arguments
        self._recipe = recipe
        self._reading = ReadingSettings(
            recipe=recipe,
            default_task=arguments["default_task"],
            on_bad_row=arguments["on_bad_row"],
            cache_dir=cache_dir,
            data_root=arguments["data_root"],
        )
        self._token_cache: TokenCache | None = None
        self._on_the_fly: str | None = None  # why tokens are not cached; empty where they are

    def train_sets(self) -> dict[str, TrainSet]:
        """The training sets, by name."""

        def build(source: Source) -> list[TrainSet]:
            return build_train_sets(
                source,
                self._reading,
                settings_of=self.train_settings,
                on_no_negatives=self._arguments["on_no_negatives"],
                seed=self._arguments["seed"],
            )

        fields = (*TRAIN_FIELDS, *_MORE_FIELDS["train"])
        return _by_name(build, self._sources("train_data", fields), "data.train_data")

    def eval_sets(self) -> dict[str, EvalSet]:
        """The eval sets, by name."""
        eval_method = self._arguments["eval_method"]
        fields = [name for name in eval_fields(eval_method) if name != "task"]
        fields += [name for name in _MORE_FIELDS["eval"] if name not in fields]

        def build(source: Source) -> list[EvalSet]:
            return build_eval_sets(source, self._reading, eval_method=eval_method)

        sources = self._sources("eval_data", fields, kind="eval", options=_EVAL_OPTIONS)
        return _by_name(build, sources, "data.eval_data")

    def corpora(self) -> dict[str, Corpus]:
        """The corpora, by name."""
        key_template = self._arguments["key_template"]

        def build(source: Source) -> list[Corpus]:
            return [build_corpus(source, self._reading, key_template=key_template)]

        fields = template_fields(key_template)
        for template in _templates_of(self._arguments["corpus"]):
            fields += template_fields(template)
        fields += _MORE_FIELDS["corpus"]
        sources = self._sources(
            "corpus", dict.fromkeys(fields), kind="corpus", options=_CORPUS_OPTIONS
        )
        return _by_name(build, sources, "data.corpus")

    def evaluation(self) -> tuple[dict[str, EvalSet], dict[str, Corpus]]:
        """The eval sets, without rows that name passages which their corpus has not; the corpora.

        Raises:
            DataError: such a row, where bad rows are not to be skipped.
        """
        evals, corpora = self.eval_sets(), self.corpora()
        for name, one in evals.items():
            corpus = corpus_of(one, corpora)
            if corpus is not None:
                evals[name] = within_corpus(one, corpus, self._reading)
        return evals, corpora

    def require_corpora(
        self, stage: str | None, evals: Mapping[str, EvalSet], corpora: Mapping[str, Corpus]
    ) -> None:
        """Refuse queries that are to be matched against no corpus.

        Args:
            stage: fit, validate or test, which evaluate; of others nothing is asked.
            evals: the eval sets.
            corpora: the corpora.

        Raises:
            ConfigError: eval sets, no corpus, and eval_method=retrieve.
        """
        retrieves = self._arguments["eval_method"] == "retrieve"
        if stage in ("fit", "validate", "test") and retrieves and evals and not corpora:
            raise ConfigError(
                f"data.corpus={self._arguments['corpus']!r}: eval_method='retrieve' searches a "
                f"corpus for the queries of {', '.join(map(one_line, evals))}, and there is none "
                "(give data.corpus; or data.eval_method=rerank, where rows have candidates of "
                "their own; or take data.eval_data out)"
            )

    def matching(self, evals: Mapping[str, EvalSet], corpora: Mapping[str, Corpus]) -> Matching:
        """Which corpus each eval set is matched against; none where it is to rank its own keys."""
        return match(
            evals if self._arguments["eval_method"] == "retrieve" else {},
            corpora,
            key_instruction=lambda task: self.instruction(task).key,
            default_task=self._arguments["default_task"],
        )

    def token_tables(
        self,
        tokenizer: PreTrainedTokenizerBase,
        built: Mapping[str, TrainSet | EvalSet] | Mapping[str, CorpusView],
    ) -> tuple[dict[str, TokenTable], dict[str, list[str]]]:
        """The token tables of datasets, and what to say of these, by name; none on the fly."""
        if self._arguments["tokenize"] != "cached":
            return {}, {}
        if self._on_the_fly is None:
            self._open_token_cache(tokenizer)
        if self._token_cache is None:
            note = (
                "tokenized on the fly, though data.tokenize=cached, for tokens from a table may be "
                f"others than this tokenizer's own: {self._on_the_fly}"
            )
            return {}, {name: [note] for name in built}
        cache, tables = self._token_cache, {}
        notes: dict[str, list[str]] = {}
        for name, one in built.items():
            if isinstance(one, CorpusView):
                tables[name] = cache.of_corpus(one.corpus, one.key_instruction)
                kind, dataset = "corpus", one.corpus.name
            elif isinstance(one, TrainSet):
                tables[name] = cache.of_train_set(one, self.instruction_of(one))
                kind, dataset = "train", one.name
            else:
                tables[name] = cache.of_eval_set(one, self.instruction_of(one))
                kind, dataset = "eval", one.name
            if said := cache.notes.get((kind, dataset)):
                notes[dataset] = list(said.values())
        return tables, notes

    def _open_token_cache(self, tokenizer: PreTrainedTokenizerBase) -> None:
        plain = BareTokenizer(tokenizer)
        for name in ("query_max_length", "key_max_length"):
            side = SideTokenizer(tokenizer, self._arguments[name], plain)
            side.check_room("", f"data.{name}")  # before hours of tokenizing
        self._on_the_fly = why_not_cached(tokenizer, side, pairs=self._arguments["cross"]) or ""
        if not self._on_the_fly:
            folder = self._reading.cache_folder / "tokens"
            self._token_cache = TokenCache(tokenizer, folder, plain)

    def train_settings(self, task: str) -> TrainSettings:
        """How a task's rows are chosen."""
        return train_settings(self._arguments, self.recipe_settings(task))

    def recipe_settings(self, task: str) -> TaskSettings:
        """What the recipe says of a task's training, if it is to be heard."""
        return (
            self._recipe.settings(task) if self._arguments["use_train_config"] else TaskSettings()
        )

    def instruction(self, task: str, description: str | None = None) -> Instruction:
        """What is put before a task's queries and keys; empty where nothing is wanted."""
        if not self._arguments["add_instruction"]:
            return Instruction()
        return self._recipe.instruction(task, description)

    def instruction_of(self, one: TrainSet | EvalSet) -> Instruction:
        """What is put before the queries and keys of a dataset."""
        return self.instruction(one.task, one.task_description)

    @property
    def origin_of_instructions(self) -> str:
        """Where the instructions come from, and how to change them."""
        if not self._arguments["add_instruction"]:
            return "data.add_instruction=false"
        return self._recipe.origin

    def _sources(self, argument: str, fields: Iterable[str], **options: Any) -> list[Source]:
        return resolve_sources(
            self._arguments[argument],
            setting=f"data.{argument}",
            fields=list(fields),
            data_root=self._arguments["data_root"],
            cache_dir=self._reading.cache_folder,
            **options,
        )


def _by_name(
    build: Callable[[Source], list[Built]], sources: Iterable[Source], key: str
) -> dict[str, Built]:
    """What each source is built to, two of them at a time: one is written, another parsed."""
    with ThreadPoolExecutor(2) as threads:
        built = [one for made in threads.map(build, sources) for one in made]
    return by_unique_name(built, key)


def _templates_of(data: Any) -> list[Any]:
    """The key templates that sources have of their own, whose fields they may rename."""
    if isinstance(data, Mapping) and "path" not in data:
        data = list(data.values())
    sources = data if isinstance(data, list | tuple) else [data]
    found = [one.get("key_template") for one in sources if isinstance(one, Mapping)]
    return [template for template in found if isinstance(template, str)]
