"""Scores of the candidates that rows had before mining, in a file beside the mined negatives.

The file beside ``run.tsv`` is ``run.positives.tsv``. Its first line holds the digest of the run, so
that it is never used with another run. The other lines are query id, document id and score. The
score inf marks a document that the miner took for a positive.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import xxhash

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import reason, remedy
from llm_embedder_data.core.printable import one_line

_HEAD = "# scores beside the run "


@dataclass(frozen=True, slots=True)
class ScoresBeside:
    """Files of scores that belong to runs.

    Attributes:
        contents: the text of each file, without its first line.
    """

    contents: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.contents)

    @property
    def digest(self) -> str:
        """A digest of the contents."""
        return xxhash.xxh3_128_hexdigest(repr(self.contents).encode())

    def read(self) -> dict[str, dict[str, float | None]]:
        """Return the score of each document, by query id and document id."""
        found: dict[str, dict[str, float | None]] = {}
        for content in self.contents:
            # splitlines() would also split at characters that an id may contain, such as U+2028.
            for line in filter(None, content.split("\n")):
                query_id, document, score = line.split("\t")
                found.setdefault(query_id, {})[document] = float(score)
        return found


def path_beside(run: str | os.PathLike[str]) -> Path:
    """Return the path of the scores beside a run.

    >>> path_beside("mined/run.tsv").as_posix()
    'mined/run.positives.tsv'
    """
    path = Path(run)
    return path.with_name(f"{path.stem}.positives.tsv")


def head_beside(digest: str) -> str:
    """Return the first line of the scores beside a run that has this digest."""
    return f"{_HEAD}{digest}"


def scores_beside(runs: Mapping[str, str]) -> tuple[ScoresBeside, list[str]]:
    """Return the scores beside runs, and notes on files that belong to another run.

    Args:
        runs: the digest of each run, by path.

    Raises:
        DataError: a file cannot be read.
    """
    contents, notes = [], []
    for run, digest in runs.items():
        path = path_beside(run)
        if not os.path.isfile(path) or str(path) in runs:
            continue
        try:
            head, _, rest = path.read_text(encoding="utf-8").partition("\n")
        except OSError as error:
            raise DataError.at(
                str(path), f"cannot be read: {reason(error)} ({remedy(error)})"
            ) from error
        if head == head_beside(digest):
            contents.append(rest)
        elif head.startswith(_HEAD):
            notes.append(
                f"{one_line(path)} is not read: it belongs to another content of {Path(run).name} "
                "(mine again, or delete it)"
            )
    return ScoresBeside(tuple(contents)), notes
