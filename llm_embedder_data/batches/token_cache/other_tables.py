"""Finished tables of the same tokenizer, from which known texts are copied."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llm_embedder_data.batches.token_cache.text_index import TextIndex
from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.core.file_errors import is_a_limit

# Letters of a table's name that tables of the same files share.
SHARED_NAME = 16

# Tables in which texts are looked up before they are tokenized.
_MOST_TABLES = 32


@dataclass(frozen=True, slots=True)
class OtherTable:
    """A finished table and the index of its texts."""

    table: TokenTable
    index: TextIndex


def other_tables(path: Path) -> list[OtherTable]:
    """Return the tables beside ``path``: first those of the same files, then the largest."""
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
                break  # other tables only save time
        else:
            found.append(OtherTable(table, table.index()))
    return found
