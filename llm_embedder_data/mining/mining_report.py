"""What limits such as ``relative_margin`` would do to mined negatives: counts and histograms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.mining.mined_blocks import POSITIVE, ROW_NEGATIVE, MinedBlock
from llm_embedder_data.mining.mining import Mined, lowest_positives
from llm_embedder_data.rows.selection.negative_policy import NegativePolicy

_BINS = 40


def mining_report(mined: Mined, limits: Mapping[str, Any]) -> dict[str, Any]:
    """Return counts, histograms of scores, and the number of negatives that each limit leaves out.

    A negative that breaks several limits counts for the earliest of them in the order of the fields
    of :class:`NegativePolicy`.

    Args:
        mined: what was mined for a dataset, with every block written.
        limits: numbers by the name of the limit; empty for none.

    Returns:
        A dict of plain Python values:
        ``counts``, see :meth:`Mined.counts`;
        ``negatives that rows had before``, the number of negatives that rows have without mining;
        ``left_out``, the number of negatives that each limit leaves out;
        ``edges``, the edges of the histograms' bins;
        ``histograms``, counts per bin by name: ``positives``, ``negatives``, each limit (what it
        leaves out) and ``kept`` (what no limit leaves out).
    """
    low, high = np.inf, -np.inf
    for block in mined.blocks:
        scores = [block.scores[np.isfinite(block.scores)], block.beside_scores]
        for found in scores:
            if len(found):
                low, high = min(low, float(found.min())), max(high, float(found.max()))
    if low > high:
        low, high = 0.0, 0.0
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    histograms = {name: np.zeros(_BINS, np.int64) for name in ("positives", "negatives")}
    if limits:
        histograms |= {name: np.zeros(_BINS, np.int64) for name in [*_in_order(limits), "kept"]}

    def add(name: str, scores: NDArray[Any]) -> None:
        histograms[name] += np.histogram(scores, edges)[0]

    for block in mined.blocks:
        exists = block.index >= 0
        add("positives", block.beside_scores[block.beside[:, 2] == POSITIVE])
        add("negatives", block.scores[exists])
        if limits:
            stays = exists
            for name, policy in _tightened(limits):
                still = _judged(block, exists, policy)
                add(name, block.scores[stays & ~still])
                stays = stays & still
            add("kept", block.scores[stays])
    return {
        "counts": mined.counts(),
        "negatives that rows had before": _n_negatives_of_rows(mined),
        "left_out": {name: int(histograms[name].sum()) for name in _in_order(limits)},
        "edges": edges.tolist(),
        "histograms": {name: counts.tolist() for name, counts in histograms.items()},
    }


def _judged(
    block: MinedBlock, exists: NDArray[np.bool_], policy: NegativePolicy
) -> NDArray[np.bool_]:
    """Return which negatives of a block a policy keeps, ``[q, depth]`` bool."""
    scores = np.where(exists, block.scores, np.nan).astype(np.float64)
    stays, _ = policy.judge(scores, exists, lowest_positives(block))
    return stays


def _n_negatives_of_rows(mined: Mined) -> int:
    return sum(int((block.beside[:, 2] == ROW_NEGATIVE).sum()) for block in mined.blocks)


def _in_order(limits: Mapping[str, Any]) -> list[str]:
    return [limit.name for limit in fields(NegativePolicy) if limits.get(limit.name) is not None]


def _tightened(limits: Mapping[str, Any]) -> Iterator[tuple[str, NegativePolicy]]:
    """Yield each limit with the policy that applies it and the limits before it."""
    so_far: dict[str, Any] = {}
    for name in _in_order(limits):
        so_far[name] = limits[name]
        yield name, NegativePolicy(**so_far)
