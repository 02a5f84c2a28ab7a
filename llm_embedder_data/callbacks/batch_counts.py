"""What is counted in training batches before they go to the device, and the figures made of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm_embedder_data.batches.tokens.model_inputs import layout_of, model_calls


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Counts of a rank's batch.

    Attributes:
        tokens: without padding.
        cells: with padding: what the encoder computes.
        queries: B.
        known_positives: pairs of a query and another row's key in this batch where the key is known
            to answer the query, so that the loss leaves it out.
    """

    tokens: int
    cells: int
    queries: int
    known_positives: int

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> BatchCounts:
        """Count what is in a batch of :class:`RetrievalDataCollator`, which is in host memory."""
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
    """Counts of the batches between two values in the log."""

    def __init__(self) -> None:
        self.n_batches = 0
        self._began: float | None = None
        self._paused: float | None = None
        self._tokens = self._cells = self._queries = self._known_positives = 0
        self._waited = self._device_waited = 0.0

    def add(self, counts: BatchCounts, asked: float, came: float, *, was_busy: bool) -> None:
        """Add a batch.

        Args:
            counts: of it.
            asked: when it was asked for, in seconds.
            came: when it came.
            was_busy: whether the device still worked on earlier batches then.
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
        """Stop the clock."""
        self._paused = time.perf_counter()

    def go_on(self) -> None:
        """Let a stopped clock go on."""
        if self._paused is not None and self._began is not None:
            self._began += time.perf_counter() - self._paused
        self._paused = None

    def figures(self, now: float) -> dict[str, float]:
        """Return the figures of the batches up to now, at least one."""
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
    """Count as :class:`BatchCounts` says, without a comparison of each query with each key."""
    positives = batch["positive_id"].numpy()  # [B, P], 0 for none
    n_queries = len(positives)
    keys = batch["key_id"].numpy().reshape(n_queries, -1)  # [B, G]
    masks = batch["key_mask"].numpy().astype(bool)
    ids, counts = np.unique(keys[masks], return_counts=True)
    positions = np.searchsorted(ids, positives).clip(max=max(len(ids) - 1, 0))
    in_batch = np.where(ids[positions] == positives, counts[positions], 0)
    own = ((positives[:, :, None] == keys[:, None, :]) & masks[:, None, :]).sum(2)
    return int(np.where(positives != 0, in_batch - own, 0).sum())
