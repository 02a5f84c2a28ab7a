"""Run files: the best documents of each query with their scores, written and read.

TREC's runs have six fields a line, separated by blanks: query id, ``Q0``, document id, rank, score,
tag. A TSV run has three, separated by tabs: query id, document id, score. Scores are written so
that reading them as float32 gives the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.rows.formats.parts import Options, Parts
from llm_embedder_data.rows.formats.trec import run_of
from llm_embedder_data.rows.raw_files import RawFile
from llm_embedder_data.rows.shown_values import shown

# The last field of each line of a TREC run: what made it.
_TAG = "llm_embedder_data"

# (query id, its documents with their scores, best first)
Ranked = tuple[str, Iterable[tuple[str, float]]]


def write_run(path: str | os.PathLike[str], run: Iterable[Ranked]) -> int:
    """Write a run: TSV if the file is called ``*.tsv``, else TREC. It appears complete or not.

    Ids must have passed :func:`check_run_ids`.

    Args:
        path: the file; its folder is made.
        run: the queries. Ranks count from 1.

    Returns:
        The number of lines.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    lines_of = _tsv_lines if path.suffix == ".tsv" else _trec_lines
    path.parent.mkdir(parents=True, exist_ok=True)
    n_lines = 0
    with atomic_file(path) as file:
        for ranked in run:
            lines = list(lines_of(ranked))
            n_lines += len(lines)
            file.write("".join(lines).encode())
    return n_lines


def read_run(path: str | os.PathLike[str]) -> dict[str, dict[str, float | None]]:
    """Read a run of TREC or TSV, also compressed, or any other that side-cars may have.

    Returns:
        ``{query id: {document id: score}}``, the best first; the score is None where the file has
        ranks only.

    Raises:
        DataError: the file cannot be read, or a line is not of a run.
    """
    file = os.fspath(path)
    return run_of(Parts(source=file, files=[RawFile(file)], options=Options()))


def check_run_ids(ids: Iterable[str], kind: str, where: str) -> None:
    """Refuse ids that cannot stand in a run file, where blanks separate the fields.

    Args:
        ids: to check.
        kind: of the ids, such as ``query``.
        where: what the error begins with.

    Raises:
        DataError: an id is empty or holds a blank.
    """
    for own_id in ids:
        if own_id.split() != [own_id]:
            raise DataError(
                f"{where}: the {kind} id {shown(own_id)} cannot stand in a run file, whose fields "
                "are separated by blanks (give ids without blanks, or write no run)"
            )


# --------------------------------------------------------------------------------------------------


def _trec_lines(ranked: Ranked) -> Iterator[str]:
    query, documents = ranked
    for rank, (document, score) in enumerate(documents, 1):
        yield f"{query} Q0 {document} {rank} {_number(score)} {_TAG}\n"


def _tsv_lines(ranked: Ranked) -> Iterator[str]:
    query, documents = ranked
    for document, score in documents:
        yield f"{query}\t{document}\t{_number(score)}\n"


def _number(score: float) -> str:
    """Return the shortest decimal text that is this float32."""
    return str(np.float32(score))
