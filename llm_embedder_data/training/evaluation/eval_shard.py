"""The encoded queries and corpus rows that a rank keeps, on the CPU, during an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(slots=True)
class EncodedQueries:
    """Encoded queries of one eval set: of a batch, of a rank, or of all ranks.

    Attributes:
        corpus: name of the corpus to search, or None.
        embedding: ``[Q, D]`` float32; ``[Q, 0]`` if the queries were reranked.
        row: ``[Q]`` int64, row numbers in the eval set.
        positives: ``[Q, P]`` int64, indices of corpus rows, padded with -1.
        ranked: ``[Q, G]`` int64, corpus rows of the reranked keys, best first, padded with -1; None
            if a corpus is searched.
        grades: ``[Q, P]`` float64, grades of the positives; None if all positives count the same.
        ranked_scores: ``[Q, G]`` float32, scores of ``ranked``; None if they are not known.
    """

    corpus: str | None
    embedding: Tensor
    row: Tensor
    positives: Tensor
    ranked: Tensor | None
    grades: Tensor | None = None
    ranked_scores: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[EncodedQueries]) -> EncodedQueries:
        """Join parts, sorted by row number. Tensors with fewer columns are padded."""
        row, order = torch.cat([part.row for part in parts]).sort()
        grades = [part.grades for part in parts if part.grades is not None]
        ranked = [part.ranked for part in parts if part.ranked is not None]
        scores = [part.ranked_scores for part in parts if part.ranked_scores is not None]
        return cls(
            corpus=parts[0].corpus,
            embedding=torch.cat([part.embedding for part in parts])[order],
            row=row,
            positives=_cat_padded([part.positives for part in parts])[order],
            ranked=_cat_padded(ranked)[order] if ranked else None,
            grades=_cat_padded(grades, 0)[order] if grades else None,
            ranked_scores=_cat_padded(scores, -torch.inf)[order] if scores else None,
        )


@dataclass(slots=True)
class EvalShard:
    """The batches that this rank has encoded since the evaluation started.

    Attributes:
        queries: encoded query batches, by eval set.
        corpora: encoded corpus batches, by corpus: embedding ``[n, D]`` float32 and index ``[n]``
            int64.
        loader_index: index of the loader that each eval set or corpus came from, by its name.
    """

    queries: dict[str, list[EncodedQueries]] = field(default_factory=dict)
    corpora: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    loader_index: dict[str, int] = field(default_factory=dict)

    def joined_queries(self) -> dict[str, EncodedQueries]:
        """Return this rank's queries of each eval set."""
        return {name: EncodedQueries.joined(parts) for name, parts in self.queries.items()}

    def corpus(self, name: str, width: int) -> tuple[VectorParts, Tensor]:
        """Return this rank's rows of a corpus: embedding ``[N, width]`` and index ``[N]``.

        N is 0 if this rank has no rows.
        """
        parts = self.corpora.get(name, [])
        index = torch.cat([torch.empty(0, dtype=torch.int64), *(index for _, index in parts)])
        return VectorParts([embedding for embedding, _ in parts], width), index


class VectorParts:
    """Vectors in several tensors, read in ranges as if they were a single tensor.

    Concatenating the tensors would need memory for a second copy.

    Args:
        parts: ``[n, D]`` float32 each.
        width: D.
    """

    def __init__(self, parts: Sequence[Tensor], width: int) -> None:
        self._parts, self._width = parts, width
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def shape(self) -> tuple[int, int]:
        """The number of vectors, and D."""
        return len(self), self._width

    def vectors(self, start: int, stop: int) -> Tensor:
        """Return the vectors of a range of positions, ``[stop - start, D]``."""
        number = int(np.searchsorted(self._ends, start, side="right"))
        found = [torch.empty(0, self._width)]
        while start < stop:
            part, begin = self._parts[number], int(self._ends[number]) - len(self._parts[number])
            found.append(part[start - begin : stop - begin])
            start += len(found[-1])
            number += 1
        return torch.cat(found)


def _cat_padded(parts: Sequence[Tensor], value: float = -1) -> Tensor:
    """Concatenate tensors ``[n, w]`` of different widths along dim 0, padded on the right."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, width - part.shape[1]), value=value) for part in parts])
