"""The results of a search: the best documents of each query, and the run that they make."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import torch
from torch import Tensor

from llm_embedder_data.mining.run_files import Ranked, write_run


@dataclass(frozen=True, slots=True)
class Results:
    """The best corpus rows of some queries, on the CPU.

    Attributes:
        scores: ``[Q, k]`` float32, descending, -inf where there is no row.
        index: ``[Q, k]`` int64, the rows, -1 where there is none.
    """

    scores: Tensor
    index: Tensor

    @classmethod
    def of_order(cls, index: Tensor) -> Results:
        """Return results of which only the order is known: the scores are 0, -1, -2, ..."""
        scores = -torch.arange(index.shape[1], dtype=torch.float32).expand(index.shape)
        return cls(scores.masked_fill(index < 0, -torch.inf), index)

    def without(self, rows: Tensor) -> Results:
        """Return the results without a row for each query, ``[Q]`` int64, -1 for none."""
        is_out = (self.index == rows[:, None]) & (self.index >= 0)
        order = is_out.int().argsort(dim=1, stable=True)
        return Results(
            self.scores.masked_fill(is_out, -torch.inf).gather(1, order),
            self.index.masked_fill(is_out, -1).gather(1, order),
        )

    def cut(self, k: int) -> Results:
        """Return the best k."""
        return Results(self.scores[:, :k], self.index[:, :k])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The results of an eval set by the ids of its queries and documents.

    Attributes:
        query_ids: of each query.
        results: of each query.
        document_ids: of each row; None where row numbers are the ids.
    """

    query_ids: Sequence[str]
    results: Results
    document_ids: pa.StringArray | None = None

    def run(self) -> Iterator[Ranked]:
        """Yield each query's id, and its documents' ids with their scores, the best first."""
        indices, scores = self.results.index.tolist(), self.results.scores.tolist()
        for query, row, of_row in zip(self.query_ids, indices, scores, strict=True):
            found = [(index, score) for index, score in zip(row, of_row, strict=True) if index >= 0]
            yield query, [(self._document_id(index), score) for index, score in found]

    def _document_id(self, index: int) -> str:
        return str(index) if self.document_ids is None else self.document_ids[index].as_py()


def write_rankings(run_file: str | os.PathLike[str], rankings: Mapping[str, Ranking]) -> list[Path]:
    """Write the run of each eval set; see :func:`~llm_embedder_data.mining.run_files.write_run`.

    Args:
        run_file: the file; if there are several eval sets, see :func:`run_path`.
        rankings: by eval set.

    Returns:
        The files.

    Raises:
        OSError: a file cannot be written.
    """
    paths = []
    for name, ranking in rankings.items():
        paths.append(run_path(run_file, name, len(rankings)))
        write_run(paths[-1], ranking.run())
    return paths


def run_path(run_file: str | os.PathLike[str], name: str, n_eval_sets: int) -> Path:
    """Return the file of an eval set: the named one, or one with the eval set's name in it.

    >>> run_path("out/run.trec", "qa/en", 2).as_posix()
    'out/run.qa%2Fen.trec'
    """
    path = Path(run_file)
    if n_eval_sets == 1:
        return path
    return path.with_name(f"{path.stem}.{quote(name, safe='')}{path.suffix}")
