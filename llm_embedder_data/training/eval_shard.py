"""What one rank has encoded of the eval sets and corpora, kept on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(slots=True)
class EncodedQueries:
    """Encoded queries of one eval set: a batch, a rank's share, or all of them.

    Attributes:
        corpus: name of the corpus to search, or None.
        embedding: ``[Q, D]`` float32; ``[Q, 0]`` if the queries were reranked.
        row: ``[Q]`` int64, row numbers in the eval set.
        positives: ``[Q, P]`` int64, indices of corpus rows, padded with -1.
        ranked: ``[Q, G]`` int64, the keys in their new order, or None if there were no keys.
        grades: ``[Q, P]`` float64, of the positives; None if all count the same.
    """

    corpus: str | None
    embedding: Tensor
    row: Tensor
    positives: Tensor
    ranked: Tensor | None
    grades: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[EncodedQueries]) -> EncodedQueries:
        """Join parts in any order, sorted by row number; narrow tensors are padded with -1."""
        row, order = torch.cat([part.row for part in parts]).sort()
        grades = [part.grades for part in parts if part.grades is not None]
        ranked = [part.ranked for part in parts if part.ranked is not None]
        return cls(
            corpus=parts[0].corpus,
            embedding=torch.cat([part.embedding for part in parts])[order],
            row=row,
            positives=_cat_padded([part.positives for part in parts])[order],
            ranked=_cat_padded(ranked)[order] if ranked else None,
            grades=_cat_padded(grades, 0)[order] if grades else None,
        )


@dataclass(slots=True)
class EvalShard:
    """What one rank has encoded of the eval sets and corpora, on the CPU.

    Attributes:
        queries: encoded query batches, by eval set.
        corpora: encoded corpus batches, by corpus: embedding ``[n, D]`` float32 and index ``[n]``
            int64.
        loader_index: index of the loader that an eval set or corpus came from, by its name.
    """

    queries: dict[str, list[EncodedQueries]] = field(default_factory=dict)
    corpora: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    loader_index: dict[str, int] = field(default_factory=dict)

    def joined_queries(self) -> dict[str, EncodedQueries]:
        """Return this rank's queries of each eval set."""
        return {name: EncodedQueries.joined(parts) for name, parts in self.queries.items()}

    def corpus(self, name: str, width: int) -> tuple[Tensor, Tensor]:
        """Return this rank's rows of a corpus: embedding ``[N, width]`` and index ``[N]``.

        N is 0 if this rank has no rows.
        """
        parts = self.corpora.get(name, [])
        empty = torch.empty(0, width), torch.empty(0, dtype=torch.int64)
        embeddings, indices = zip(*parts, empty, strict=True)
        return torch.cat(embeddings), torch.cat(indices)


def _cat_padded(parts: Sequence[Tensor], value: float = -1) -> Tensor:
    """Concatenate rows of different widths, padded on the right."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, width - part.shape[1]), value=value) for part in parts])
