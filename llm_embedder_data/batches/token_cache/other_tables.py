"""Finished tables of the same tokenizer, from which known texts are copied."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llm_embedder_data.batches.token_cache.text_index import TextIndex
from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.core.file_errors import is_a_limit

# The names of tables of the same data files begin with the same characters, this many.
SHARED_NAME = 16

# The most tables to look texts up in before tokenizing them.
_MOST_TABLES = 32


@dataclass(frozen=True, slots=True)
class OtherTable:
    """A finished table, with the index that finds its texts."""

    table: TokenTable
    index: TextIndex


def other_tables(path: Path) -> list[OtherTable]:
    """Return the tables in the folder of ``path``, the most promising ones first.

    Tables of the same data files come before all others, and larger tables before smaller ones.
    """
    tables = []
    with os.scandir(path.parent) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file() and not entry.name.endswith(".lock"):
                    same_files = entry.name[:SHARED_NAME] == path.name[:SHARED_NAME]
                    tables.append((same_files, entry.stat().st_size, entry.name))
    found: list[OtherTable] = []
    for _, _, name in sorted(tables, reverse=True):
        if len(found) == _MOST_TABLES:
            break
        try:
            table = TokenTable(path.with_name(name))
        except OSError as error:
            if is_a_limit(error):
                break  # no more files can be opened; go on without, since tables only save time
        else:
            found.append(OtherTable(table, table.index()))
    return found
