"""Run files: the best documents of each query with their scores.

A line of a TREC run has six fields, separated by spaces: query id, ``Q0``, document id, rank,
score, tag. A line of a TSV run has three, separated by tabs: query id, document id, score. So ids
with spaces need a TSV run. Scores are written so that reading them as float32 gives the same bits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.parts import Options, Parts
from llm_embedder_data.rows.formats.trec import run_of
from llm_embedder_data.rows.records.raw_files import RawFile

# The last field of each line of a TREC run: the program that wrote it.
_TAG = "llm_embedder_data"

# The ids that a TSV run can hold: without control characters, such as tabs and line ends. A byte
# order mark at the beginning of a file would not be read as part of an id.
_TSV_ID = re.compile("(?!\ufeff)[^\\x00-\\x1f]+")

# (query id, its documents with their scores, best first)
Ranked = tuple[str, Iterable[tuple[str, float]]]


def write_run(path: str | os.PathLike[str], run: Iterable[Ranked]) -> int:
    """Write a run: TSV if the file's name ends in ``.tsv``, else TREC.

    The file appears complete or not at all. Its ids must have passed :func:`check_run_ids`.

    Args:
        path: the file; its folder is made if it does not exist.
        run: each query with its documents. Ranks count from 1.

    Returns:
        The number of lines.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    lines_of = _tsv_lines if _is_tsv(path) else _trec_lines
    path.parent.mkdir(parents=True, exist_ok=True)
    n_lines = 0
    with atomic_file(path) as file:
        for ranked in run:
            lines = list(lines_of(ranked))
            n_lines += len(lines)
            file.write("".join(lines).encode())
    return n_lines


def read_run(path: str | os.PathLike[str]) -> dict[str, dict[str, float | None]]:
    """Read a run: TREC or TSV, compressed or not, or any other format of the setting ``negatives``.

    Returns:
        ``{query id: {document id: score}}``, best first; a score is None if the file has only
        ranks.

    Raises:
        DataError: the file cannot be read, or a line does not belong to a run.
    """
    file = os.fspath(path)
    return run_of(Parts(source=file, files=[RawFile(file)], options=Options()))


def check_run_ids(ids: Iterable[str], kind: str, where: str, path: str | os.PathLike[str]) -> None:
    """Refuse ids that a run file cannot hold, because they contain what separates its fields.

    Args:
        ids: the ids to check.
        kind: what the ids belong to, such as ``query``.
        where: the beginning of the error message.
        path: the run file; its name decides its format, see :func:`write_run`.

    Raises:
        DataError: an id is empty; or it contains a tab, a line end or another control character, or
            for a TREC run any white space.
    """
    is_tsv = _is_tsv(path)
    for name in ids:
        if is_tsv and not _TSV_ID.fullmatch(name):
            raise DataError(
                f"{where}: the {kind} id {shown(name)} is empty or contains a control character, "
                "such as a tab or a line end, which separate the fields of a run file (give other "
                "ids)"
            )
        if not is_tsv and name.split() != [name]:
            raise DataError(
                f"{where}: the {kind} id {shown(name)} is empty or contains white space, which "
                "separates the fields of a TREC run (name a file that ends in .tsv, which holds "
                "ids with spaces, or write no run file)"
            )


# --------------------------------------------------------------------------------------------------


def _is_tsv(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix == ".tsv"


def _trec_lines(ranked: Ranked) -> Iterator[str]:
    query, documents = ranked
    for rank, (document, score) in enumerate(documents, 1):
        yield f"{query} Q0 {document} {rank} {_number(score)} {_TAG}\n"


def _tsv_lines(ranked: Ranked) -> Iterator[str]:
    query, documents = ranked
    for document, score in documents:
        yield f"{query}\t{document}\t{_number(score)}\n"


def _number(score: float) -> str:
    """Return the shortest decimal number that reads as this float32."""
    return str(np.float32(score))
