"""The token ids of a dataset's texts, each distinct text once, in memory-mapped files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.text_index import TextIndex

# Raise it when what is written changes.
TABLE_VERSION = 2


# All arrays of a table.
TABLE_FILE = "table.bin"


class TokenTable:
    """A finished table, opened for reading; a pickle of it is its folder's name.

    Attributes:
        ids: ``[T]`` uint16 or int32, the tokens of all distinct texts, without special ones.
        bounds: ``[n + 1]`` int64, where in ``ids`` each text begins, and the end.
        text_ids: ``[n]`` int64, hashes of the texts.
        prefixes: what stood before each text of a column when it was tokenized.
        empty: the number of the empty text, by column.

    Raises:
        FileNotFoundError: no table, or one whose file was cut off since.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = json.loads((folder / "meta.json").read_bytes())
        if self.file.stat().st_size != meta["n_bytes"]:
            raise FileNotFoundError(self.file)
        # One file, for a mapped file stays open, and there may be hundreds of tables.
        content = np.memmap(self.file, np.uint8, "r").view(np.ndarray)
        self._arrays: dict[str, NDArray[Any]] = {
            name: content[start:end].view(dtype)
            for name, (dtype, start, end) in meta["arrays"].items()
        }
        self.ids = self._arrays["ids"]
        self.bounds = self._arrays["bounds"]
        self.text_ids = self._arrays["text_ids"]
        self.prefixes: dict[str, str] = meta["prefixes"]
        self.empty: dict[str, int] = meta["empty"]

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenTable, (self.folder,)

    def __len__(self) -> int:
        """Distinct texts."""
        return len(self.text_ids)

    @property
    def file(self) -> Path:
        """That holds its arrays."""
        return self.folder / TABLE_FILE

    def index(self) -> TextIndex:
        """By which its texts are found."""
        return TextIndex(self.array("slots"), self.array("hashes").reshape(-1, 2))

    def array(self, name: str) -> NDArray[Any]:
        """An array that went with the rows, or a column's text numbers, int64.

        Where a column has not one text a row, ``<column>_bounds``, ``[n_rows + 1]`` int64, says at
        which of them each row's begin, and the end.
        """
        return self._arrays[name]
