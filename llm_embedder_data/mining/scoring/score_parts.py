"""The parts of a score file, which are written separately, and joined when all exist."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_embedder_data.core.file_errors import writing
from llm_embedder_data.core.files import atomic_file, locked


class ScoreParts:
    """A folder of parts next to the score file.

    The folder's name contains a fingerprint, so parts that were made from other rows or with other
    settings are never read. A part is a file: a line of JSON with counts, then a line for each row.
    A part appears complete or not at all. So a run that was killed continues after its last part,
    and several processes may write parts of the same file.

    Args:
        out: the score file.
        fingerprint: digest of everything that scores depend on.
        n_parts: number of parts.
    """

    def __init__(self, out: Path, fingerprint: str, n_parts: int) -> None:
        self._out, self.n_parts = out, n_parts
        self.folder = out.with_name(f"{out.name}.{fingerprint[:16]}.parts")

    def missing(self) -> list[int]:
        """Return the numbers of the missing parts."""
        return [part for part in range(self.n_parts) if not self._path(part).is_file()]

    def others(self) -> list[Path]:
        """Return the folders with parts of the same file that have another fingerprint."""
        found = self._out.parent.glob(f"{self._out.name}.*.parts")
        return sorted(path for path in found if path != self.folder and path.is_dir())

    def write(
        self, part: int, rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int]
    ) -> None:
        """Write a part.

        Args:
            part: the part's number.
            rows: a mapping for each row, written as JSON.
            counts: counts of rows, inputs and what was cut, which :meth:`join` sums.

        Raises:
            DataError: the folder cannot be written.
        """
        lines = [json.dumps(entry, ensure_ascii=True) + "\n" for entry in (dict(counts), *rows)]
        with writing(self._out, "out"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._path(part)) as file:
                file.write("".join(lines).encode())

    def join(self) -> Counter[str] | None:
        """Join all parts into the score file, and delete them. Do nothing if a part is missing.

        If several processes call this, only one of them writes the file.

        Returns:
            The sums of the parts' counts; None if a part is missing, or another process has
            written the file.

        Raises:
            DataError: the file cannot be written.
        """
        counts: Counter[str] = Counter()
        with writing(self._out, "out"), locked(self._out):
            if self.missing():
                return None
            with atomic_file(self._out) as file:
                for part in range(self.n_parts):
                    with open(self._path(part), "rb") as lines:
                        counts.update(json.loads(lines.readline()))
                        shutil.copyfileobj(lines, file)
            shutil.rmtree(self.folder, ignore_errors=True)
        return counts

    def _path(self, part: int) -> Path:
        return self.folder / f"{part:08d}.jsonl"
