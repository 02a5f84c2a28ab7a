"""A token table: the token ids of a dataset's texts, each text once, in a memory-mapped file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from llm_embedder_data.batches.token_cache.text_index import TextIndex
from llm_embedder_data.core.array_files import mapped_arrays
from llm_embedder_data.core.sealed_files import is_whole

# Part of every table's file name. Raise it when the content of a table changes.
TABLE_VERSION = 5

TABLE_SUFFIX = ".bin"


class TokenTable:
    """A finished table, opened for reading. A pickle of it holds only the file name.

    The n distinct texts of a dataset are numbered. For each column of the dataset, such as
    ``query``, the table has the number of each row's text: see :meth:`array`.

    Args:
        file: the table's file.

    Attributes:
        ids: ``[T]`` uint16 or int32, token ids of all distinct texts, one after another,
            without special tokens.
        bounds: ``[n + 1]`` int64; text i has the ids from ``bounds[i]`` to ``bounds[i + 1]``.
        text_ids: ``[n]`` int64, a hash of each text.
        prefixes: the string that was put before each text when it was tokenized, by column.
        empty: the number of the empty text, by column.

    Raises:
        FileNotFoundError: the file does not exist or is damaged.
        OSError: the system's limit of open or mapped files is reached.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        if not is_whole(file):
            raise FileNotFoundError(f"{file}: the token table is missing or damaged")
        self._arrays, header = mapped_arrays(file)
        self.ids = self._arrays["ids"]
        self.bounds = self._arrays["bounds"]
        self.text_ids = self._arrays["text_ids"]
        self.prefixes: dict[str, str] = header["prefixes"]
        self.empty: dict[str, int] = header["empty"]

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenTable, (self.file,)

    def __len__(self) -> int:
        """Return the number of distinct texts."""
        return len(self.text_ids)

    def index(self) -> TextIndex:
        """Return the index that finds a text's number by its hash."""
        return TextIndex(self.array("slots"), self.array("hashes").reshape(-1, 2))

    def array(self, name: str) -> NDArray[Any]:
        """Return a column's text numbers, int64, or an array that was stored with the rows.

        A column with lists of texts has a second array, ``<column>_bounds``, ``[n_rows + 1]``
        int64: row i has the numbers from ``bounds[i]`` to ``bounds[i + 1]``.
        """
        return self._arrays[name]
