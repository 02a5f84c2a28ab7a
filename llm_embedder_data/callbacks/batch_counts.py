"""Counts of training batches before they go to the device, and figures computed from the counts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm_embedder_data.batches.tokens.model_inputs import layout_of, model_calls


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Counts of one rank's batch.

    Attributes:
        tokens: number of tokens without padding.
        cells: number of tokens with padding: the elements of ``input_ids``.
        queries: B, the number of queries.
        known_positives: number of pairs of a query and another row's key in this batch where the
            key is known to answer the query, so that the loss leaves the pair out.
    """

    tokens: int
    cells: int
    queries: int
    known_positives: int

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> BatchCounts:
        """Count the contents of a batch of :class:`RetrievalDataCollator` in host memory."""
        tokens = cells = 0
        for side in ("cross",) if "cross" in batch else ("query", "key"):
            packed = layout_of(batch[side]) == "packed"
            for call in model_calls(batch[side]):
                n_cells = call["input_ids"].numel()
                cells += n_cells
                tokens += n_cells if packed else int(call["attention_mask"].sum())
        pairs = 0 if "cross" in batch else _known_positives(batch)
        return cls(tokens, cells, len(batch["row"]), pairs)


class FiguresWindow:
    """Sums of counts and times over the batches between two values in the log.

    All times are in seconds, from ``time.perf_counter``.
    """

    def __init__(self) -> None:
        self.n_batches = 0
        self._began: float | None = None
        self._paused: float | None = None
        self._tokens = self._cells = self._queries = self._known_positives = 0
        self._waited = self._device_waited = 0.0

    def add(self, counts: BatchCounts, asked: float, came: float, *, was_busy: bool) -> None:
        """Add a batch.

        Args:
            counts: the counts of the batch.
            asked: when training asked for the batch.
            came: when the batch came.
            was_busy: whether the device was still working on earlier batches when it came.
        """
        if self._began is None:
            self._began = asked
        self.n_batches += 1
        self._tokens += counts.tokens
        self._cells += counts.cells
        self._queries += counts.queries
        self._known_positives += counts.known_positives
        self._waited += came - asked
        self._device_waited += 0.0 if was_busy else came - asked

    def pause(self) -> None:
        """Stop measuring time, for example during validation."""
        self._paused = time.perf_counter()

    def resume(self) -> None:
        """Measure time again after :meth:`pause`."""
        if self._paused is not None and self._began is not None:
            self._began += time.perf_counter() - self._paused
        self._paused = None

    def figures(self, now: float) -> dict[str, float]:
        """Return the figures of the batches so far, of which there must be at least one.

        Args:
            now: the end of the window.
        """
        assert self._began is not None
        seconds = max(now - self._began, 1e-9)
        return {
            "data/tokens_per_s": self._tokens / seconds,
            "data/padded_share": 1 - self._tokens / max(self._cells, 1),
            "data/wait_s": self._waited / self.n_batches,
            "data/wait_share": min(self._device_waited / seconds, 1.0),
            "data/known_positives": self._known_positives / max(self._queries, 1),
        }


def _known_positives(batch: Mapping[str, Any]) -> int:
    """Return ``BatchCounts.known_positives`` of a batch.

    Comparing each positive of each query with each key would take O(B * P * B * G) time. Instead,
    each positive is looked up among the batch's distinct keys, and the row's matching keys are
    subtracted.
    """
    positives = batch["positive_id"].numpy()  # [B, P], 0 for none
    n_queries = len(positives)
    keys = batch["key_id"].numpy().reshape(n_queries, -1)  # [B, G]
    masks = batch["key_mask"].numpy().astype(bool)
    ids, counts = np.unique(keys[masks], return_counts=True)
    positions = np.searchsorted(ids, positives).clip(max=max(len(ids) - 1, 0))
    in_batch = np.where(ids[positions] == positives, counts[positions], 0)
    in_row = ((positives[:, :, None] == keys[:, None, :]) & masks[:, None, :]).sum(2)
    return int(np.where(positives != 0, in_batch - in_row, 0).sum())
