"""Rows that are nearly the same as another text, and when two texts are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.inspection.doctor.shingles import jaccard


@dataclass(frozen=True, slots=True)
class Near:
    """Rows that have a partner which is nearly the same.

    Attributes:
        rows: ``[k]`` int64, row numbers, ascending.
        partners: (dataset, row number) of each row's first one that was found.
        similarities: ``[k]`` float64, Jaccard similarity of each to its partner.
    """

    rows: NDArray[np.int64]
    partners: list[tuple[str, int]]
    similarities: NDArray[np.float64]


def if_near(one: NDArray[np.uint64], other: NDArray[np.uint64], threshold: float) -> float:
    """The Jaccard similarity of two sets if it reaches a threshold, else 0.

    Args:
        one: each member once.
        other: likewise.
        threshold: above 0.
    """
    if not len(one) and not len(other):
        return 1.0
    if min(len(one), len(other)) < threshold * max(len(one), len(other)):
        return 0.0
    similarity = jaccard(one, other)
    return similarity if similarity >= threshold else 0.0
