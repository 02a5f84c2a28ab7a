"""The parts of a file of scores, written one by one, and joined when all are there."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import reason, remedy
from llm_embedder_data.core.files import atomic_file, locked


class ScoreParts:
    """A folder beside the file, named by all that scores depend on.

    A part holds a line of JSON with its counts, then the lines of its rows. It appears complete or
    not at all, so that a run that was killed goes on behind its last part, and several processes
    may write the parts of one file.

    Args:
        out: the file to make.
        fingerprint: of all that scores depend on; parts of another one are never read.
        n_parts: of the file.
    """

    def __init__(self, out: Path, fingerprint: str, n_parts: int) -> None:
        self._out, self.n_parts = out, n_parts
        self.folder = out.with_name(f"{out.name}.{fingerprint[:16]}.parts")

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are not there."""
        return [part for part in range(self.n_parts) if not self._path(part).is_file()]

    def others(self) -> list[Path]:
        """Return folders of parts of the same file that were made with other settings or rows."""
        found = self._out.parent.glob(f"{self._out.name}.*.parts")
        return sorted(path for path in found if path != self.folder and path.is_dir())

    def write(
        self, part: int, rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int]
    ) -> None:
        """Write a part.

        Raises:
            DataError: the folder cannot be written.
        """
        lines = [json.dumps(one, ensure_ascii=True) + "\n" for one in (dict(counts), *rows)]
        try:
            self.folder.mkdir(exist_ok=True)
            with atomic_file(self._path(part)) as file:
                file.write("".join(lines).encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def join(self) -> Counter[str] | None:
        """Write the file if all parts are there, and delete them; return the sum of their counts.

        Of several processes that call this, one writes the file.

        Returns:
            None if a part is missing, or another process has written the file.

        Raises:
            DataError: the file cannot be written.
        """
        counts: Counter[str] = Counter()
        try:
            with locked(self._out):
                if self.missing():
                    return None
                with atomic_file(self._out) as file:
                    for part in range(self.n_parts):
                        with open(self._path(part), "rb") as lines:
                            counts.update(json.loads(lines.readline()))
                            shutil.copyfileobj(lines, file)
                shutil.rmtree(self.folder, ignore_errors=True)
        except OSError as error:
            raise self._unwritable(error) from error
        return counts

    def _path(self, part: int) -> Path:
        return self.folder / f"{part:08d}.jsonl"

    def _unwritable(self, error: OSError) -> DataError:
        return DataError.at(str(self._out), f"cannot be written: {reason(error)} ({remedy(error)})")
