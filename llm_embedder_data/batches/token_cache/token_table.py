"""The token ids of a dataset's texts, each distinct text once, in a memory-mapped file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from llm_embedder_data.batches.token_cache.text_index import TextIndex
from llm_embedder_data.core.sealed_files import is_whole, mapped

# Raise it when what is written changes.
TABLE_VERSION = 5

TABLE_SUFFIX = ".bin"

# Behind the arrays stands what is said of them, as JSON, and behind that its length.
_LENGTH_BYTES = 8


class TokenTable:
    """A finished table, opened for reading; a pickle of it is its file's name.

    Args:
        file: of the table.

    Attributes:
        ids: ``[T]`` uint16 or int32, the tokens of all distinct texts, without special ones.
        bounds: ``[n + 1]`` int64, where in ``ids`` each text begins, and the end.
        text_ids: ``[n]`` int64, hashes of the texts.
        prefixes: what stood before each text of a column when it was tokenized.
        empty: the number of the empty text, by column.

    Raises:
        FileNotFoundError: no table, or one that is not what was written.
        OSError: no more can be mapped, or opened.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        if not is_whole(file):
            raise FileNotFoundError(f"{file}: no table of tokens, or a damaged one")
        content = mapped(file)
        end = len(content) - _LENGTH_BYTES
        start = end - int.from_bytes(content[end:].tobytes(), "little")
        said = json.loads(content[start:end].tobytes())
        self._arrays: dict[str, NDArray[Any]] = {
            name: content[start:end].view(dtype)
            for name, (dtype, start, end) in said["arrays"].items()
        }
        self.ids = self._arrays["ids"]
        self.bounds = self._arrays["bounds"]
        self.text_ids = self._arrays["text_ids"]
        self.prefixes: dict[str, str] = said["prefixes"]
        self.empty: dict[str, int] = said["empty"]

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenTable, (self.file,)

    def __len__(self) -> int:
        """Distinct texts."""
        return len(self.text_ids)

    def index(self) -> TextIndex:
        """By which its texts are found."""
        return TextIndex(self.array("slots"), self.array("hashes").reshape(-1, 2))

    def array(self, name: str) -> NDArray[Any]:
        """An array that went with the rows, or a column's text numbers, int64.

        Where a column has not one text a row, ``<column>_bounds``, ``[n_rows + 1]`` int64, says at
        which of them each row's begin, and the end.
        """
        return self._arrays[name]


def table_end(
    arrays: dict[str, tuple[str, int, int]],
    prefixes: dict[str, str],
    empty: dict[str, int],
) -> bytes:
    """What stands behind the arrays of a table.

    Args:
        arrays: by name, the type of their numbers and the bytes at which they begin and end.
        prefixes: as the table has them, and so on.
        empty: likewise.
    """
    said = {"arrays": arrays, "prefixes": prefixes, "empty": empty}
    text = json.dumps(said).encode()
    return text + len(text).to_bytes(_LENGTH_BYTES, "little")
