"""Builds a token table, or opens it if it exists: one process builds, the others wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

from llm_embedder_data.batches.token_cache.build_folder import BuildFolder
from llm_embedder_data.batches.token_cache.growing_table import GrowingTable, RowBlock, Tokenize
from llm_embedder_data.batches.token_cache.other_tables import other_tables
from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.core.file_errors import not_written
from llm_embedder_data.core.files import locked, remove_empty_folder

# Seconds to wait for another process that builds the same table.
_PATIENCE = 86400.0


def build_table(
    path: Path,
    blocks: Callable[[int], Iterator[RowBlock]],
    prefixes: Mapping[str, str],
    tokenize: Tokenize,
    *,
    n_ids: Callable[[], int],
    progress: Callable[[int], None] = lambda n_rows: None,
) -> TokenTable:
    """Tokenize the texts of a dataset, or open the table if it exists.

    The table appears whole or not at all. If the file system supports locks, one process builds the
    table and the others wait. A build that was killed is continued from its last recorded progress,
    if its files are intact. Tokens of texts that another table in the folder holds are copied from
    there. Reading and tokenizing overlap.

    Args:
        path: path of the table's file; other tables of the same tokenizer are in the same folder.
        blocks: yields the rows from a given row on; the same rows each time.
        prefixes: the string put before each text when it is tokenized, by column.
        tokenize: returns the ids of texts, without special tokens.
        n_ids: returns one more than the highest token id; called only if a table has to be built.
        progress: called with the number of rows added since the last call.

    Raises:
        DataError: the folder cannot be written, the disk is full, or another limit is reached.
    """
    try:
        with suppress(FileNotFoundError):
            return TokenTable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, patience=_PATIENCE):
            with suppress(FileNotFoundError):
                return TokenTable(path)
            remove_empty_folder(path)
            with BuildFolder(path) as folder:
                growing = GrowingTable(folder, prefixes, n_ids(), other_tables(path))
                with closing(growing) as build:
                    build.run(blocks, tokenize, progress)
                    build.finish(path)
        return TokenTable(path)
    except OSError as error:
        raise not_written("the token cache", path.parent, error) from error
