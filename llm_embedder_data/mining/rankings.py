"""The results of a search: the best documents of each query, as tensors and as a run file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import torch
from torch import Tensor

from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.mining.run_files import Ranked, write_run


@dataclass(frozen=True, slots=True)
class Results:
    """The best corpus rows of some queries, on the CPU.

    Attributes:
        scores: ``[Q, k]`` float32, descending; -inf where there is no result.
        index: ``[Q, k]`` int64, corpus rows; -1 where there is no result.
    """

    scores: Tensor
    index: Tensor

    @classmethod
    def of_order(cls, index: Tensor) -> Results:
        """Return results for rows whose order is known and whose scores are not.

        The scores are 0, -1, -2, ...

        Args:
            index: ``[Q, k]`` int64, best first; -1 where there is no result.
        """
        scores = -torch.arange(index.shape[1], dtype=torch.float32).expand(index.shape)
        return cls(scores.masked_fill(index < 0, -torch.inf), index)

    def without(self, rows: Tensor) -> Results:
        """Remove a row from each query's results; the last result becomes -1.

        Args:
            rows: ``[Q]`` int64, the row to remove; -1 to remove nothing.
        """
        is_out = (self.index == rows[:, None]) & (self.index >= 0)
        order = is_out.int().argsort(dim=1, stable=True)
        return Results(
            self.scores.masked_fill(is_out, -torch.inf).gather(1, order),
            self.index.masked_fill(is_out, -1).gather(1, order),
        )

    def cut(self, k: int) -> Results:
        """Return the best k results of each query."""
        return Results(self.scores[:, :k], self.index[:, :k])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The results of an eval set, with the ids of its queries and documents.

    Attributes:
        query_ids: Q ids.
        results: the best corpus rows of these queries.
        document_ids: the id of each corpus row; None if the corpus has no ids, so that row numbers
            stand for them.
    """

    query_ids: Sequence[str]
    results: Results
    document_ids: pa.StringArray | None = None

    def run(self) -> Iterator[Ranked]:
        """Yield each query's id with the ids and scores of its documents, best first."""
        indices, scores = self.results.index.tolist(), self.results.scores.tolist()
        for query, row, of_row in zip(self.query_ids, indices, scores, strict=True):
            found = [(index, score) for index, score in zip(row, of_row, strict=True) if index >= 0]
            yield query, [(self._document_id(index), score) for index, score in found]

    def _document_id(self, index: int) -> str:
        return str(index) if self.document_ids is None else self.document_ids[index].as_py()


def write_rankings(run_file: str | os.PathLike[str], rankings: Mapping[str, Ranking]) -> list[Path]:
    """Write the run of each eval set; see :func:`~llm_embedder_data.mining.run_files.write_run`.

    Args:
        run_file: the file to write; with several eval sets, see :func:`run_path`.
        rankings: the results by eval set.

    Returns:
        The paths of the files.

    Raises:
        OSError: a file cannot be written.
    """
    paths = []
    for name, ranking in rankings.items():
        paths.append(with_home(run_path(run_file, name, len(rankings))))
        write_run(paths[-1], ranking.run())
    return paths


def run_path(run_file: str | os.PathLike[str], name: str, n_eval_sets: int) -> Path:
    """Return the run file of an eval set. If there are several, its name contains the set's name.

    >>> run_path("out/run.trec", "qa/en", 2).as_posix()
    'out/run.qa%2Fen.trec'
    """
    path = Path(run_file)
    if n_eval_sets == 1:
        return path
    return path.with_name(f"{path.stem}.{quote(name, safe='')}{path.suffix}")
