"""The token cache: find or build the token table of each dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import xxhash
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.token_cache.dataset_texts import (
    corpus_blocks,
    eval_blocks,
    holds_passages,
    n_rows_of,
    rows_with_tokens,
    train_blocks,
)
from llm_embedder_data.batches.token_cache.growing_table import RowBlock
from llm_embedder_data.batches.token_cache.other_tables import SHARED_NAME
from llm_embedder_data.batches.token_cache.table_building import build_table
from llm_embedder_data.batches.token_cache.token_table import (
    TABLE_SUFFIX,
    TABLE_VERSION,
    TokenTable,
)
from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.instruction_tokens import InstructionTokens
from llm_embedder_data.batches.tokens.tokenizer_digest import tokenizer_digest
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.schema.reading import cache_names
from llm_embedder_data.rows.train_set import TrainSet


class TokenCache:
    """The token tables of one tokenizer, in a folder named after its digest.

    A table depends on the tokenizer, the data files and the rows that are kept. It does not depend
    on maximum lengths, group size, selection or seed, so runs that differ only in these share it.
    It depends on the instruction only if the tokenizer may merge the end of the instruction with
    the start of the text into one token.

    Args:
        tokenizer: a transformers tokenizer, fast or slow.
        folder: parent folder of the tables of all tokenizers.
        plain: a BareTokenizer of the same tokenizer; None makes a new one.

    Attributes:
        notes: sentences for the report and the log, by (kind, dataset), then by column. The kind is
            ``train``, ``eval`` or ``corpus``.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, folder: Path, plain: BareTokenizer | None = None
    ) -> None:
        self._instructions = InstructionTokens(tokenizer, plain)
        self._digest = tokenizer_digest(tokenizer)
        self._folder = folder / self._digest
        self._tokenizer = tokenizer
        self._prefixes: dict[str, str] = {}  # by instruction
        self.notes: dict[tuple[str, str], dict[str, str]] = {}

    def of_train_set(self, train_set: TrainSet, instruction: Instruction) -> TokenTable:
        """Return the table of a training set's kept rows; build it if there is none."""
        instructions = {"query": instruction.query, "key": instruction.key}
        scored = "scored" if train_set.are_tokens_scored else "unscored"
        by_passage = ["passages"] * holds_passages(train_set)
        kind = ("train", scored, *_with_own(train_set), *by_passage)
        return self._table(train_set, kind, instructions, train_blocks(train_set))

    def of_eval_set(self, eval_set: EvalSet, instruction: Instruction) -> TokenTable:
        """Return the table of an eval set's kept rows; build it if there is none."""
        instructions = {"query": instruction.query}
        if "key" in eval_set.rows.column_names:
            instructions["key"] = instruction.key
        kind = ("eval", *_with_own(eval_set))
        return self._table(eval_set, kind, instructions, eval_blocks(eval_set))

    def of_corpus(self, corpus: Corpus, key_instruction: str) -> TokenTable:
        """Return the table of a corpus's kept passages; build it if there is none."""
        kind = ("corpus", corpus.template)
        return self._table(corpus, kind, {"text": key_instruction}, corpus_blocks(corpus))

    def _table(
        self,
        built: TrainSet | EvalSet | Corpus,
        kind: tuple[str, ...],
        instructions: Mapping[str, str],
        blocks: Callable[[int], Iterator[RowBlock]],
    ) -> TokenTable:
        """Return a dataset's table, and write a note if the table depends on the instruction.

        Args:
            built: the dataset.
            kind: distinguishes the tables that the same rows can have; part of the table's name.
            instructions: the instruction put before the texts of each column.
            blocks: yields the rows from a given row on, in blocks.
        """
        for instruction in instructions.values():
            if instruction not in self._prefixes:
                self._prefixes[instruction] = self._instructions.text_prefix(instruction)
        prefixes = {
            column: self._prefixes[instruction] for column, instruction in instructions.items()
        }
        table = self._build(built, kind, prefixes, blocks)
        for column, prefix in prefixes.items():
            if prefix and prefix == instructions[column]:
                self.notes.setdefault((kind[0], built.name), {})[column] = (
                    f"the tokenizer may merge the instruction {prefix!r} with the text after it, "
                    f"so each {column} is cached together with the instruction (if the "
                    "instruction changes, all texts are tokenized again)"
                )
        return table

    def _build(
        self,
        built: TrainSet | EvalSet | Corpus,
        kind: tuple[str, ...],
        prefixes: Mapping[str, str],
        blocks: Callable[[int], Iterator[RowBlock]],
    ) -> TokenTable:
        files = cache_names(built.rows)
        rows = rows_with_tokens(built)
        kept = xxhash.xxh3_128_hexdigest(rows.data)
        content = TABLE_VERSION, self._digest, kind, files, kept, sorted(prefixes.items())
        # The names of tables of the same files begin alike, so that a new table finds the others
        # and copies their tokens. So do tables of the same rows with other side-car files.
        base = [*built.base_files] if isinstance(built, TrainSet) and built.base_files else files
        name = _hash(repr(base))[:SHARED_NAME] + _hash(repr(content))[SHARED_NAME:]
        console = Console(stderr=True)
        bar = Progress(
            TextColumn("tokenizing {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        with bar:
            task = bar.add_task(one_line(built.name), total=n_rows_of(built))
            return build_table(
                self._folder / f"{name}{TABLE_SUFFIX}",
                blocks,
                prefixes,
                self._instructions.plain,
                n_ids=lambda: 1 + max(self._tokenizer.get_vocab().values()),
                progress=lambda n_rows: bar.advance(task, n_rows),
            )


def _with_own(built: TrainSet | EvalSet) -> list[str]:
    """Return the part of a table's kind that says whether rows bring instructions of their own.

    The instructions themselves are not needed: they come from the data files, which are hashed.
    """
    return ["own instructions"] if built.n_instructed else []


def _hash(text: str) -> str:
    return str(xxhash.xxh3_128_hexdigest(text.encode()))
