"""Which rows of each dataset a run has trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.sampler import SameTaskSampler
from llm_embedder_data.core.printable import one_line

# Beyond so many kept rows, which of them were seen is not remembered: it takes a byte a row.
_MOST_ROWS = 100_000_000


class Coverage:
    """Which rows were trained on, by any rank: the plan says, so nothing is communicated.

    Args:
        packed: what :meth:`packed` returned in an earlier run.
    """

    def __init__(self, packed: Mapping[str, torch.Tensor] | None = None) -> None:
        self._packed = packed or {}
        self._seen: dict[str, NDArray[np.bool_]] = {}
        self._sampler: SameTaskSampler | None = None
        self._epoch = self._counted = self._next = 0

    def begin(self, sampler: SameTaskSampler) -> None:
        """Go to the epoch and step at which a sampler stands."""
        self._count()
        sizes = sampler.plan.sizes
        self._sampler = sampler if sum(sizes.values()) <= _MOST_ROWS else None
        self._epoch, self._counted = sampler.place
        self._next = self._counted
        if not self._seen and self._sampler is not None:
            for name, n_rows in sizes.items():
                self._seen[name] = np.zeros(n_rows, bool)
                if name in self._packed:
                    bits = np.unpackbits(self._packed[name].numpy(), count=n_rows)
                    self._seen[name] |= bits.astype(bool)

    def step(self) -> None:
        """Count the next step of the epoch."""
        self._next += 1

    def _count(self) -> None:
        """Mark the rows of the steps since the last call."""
        if self._sampler is not None:
            plan = self._sampler.plan.at(self._epoch)
            for batch in plan.batches(range(self._counted, min(self._next, len(plan)))):
                self._seen[batch.dataset][batch.rows] = True
        self._counted = self._next

    def packed(self) -> dict[str, torch.Tensor]:
        """Return the rows of each dataset, uint8, a bit a row."""
        self._count()
        return {name: torch.from_numpy(np.packbits(seen)) for name, seen in self._seen.items()}

    def figures(self) -> dict[str, float]:
        """Return the share of the rows of each dataset, and of all; empty beyond the limit."""
        self._count()
        if not self._seen:
            return {}
        each = {f"data/coverage/{one_line(n)}": float(s.mean()) for n, s in self._seen.items()}
        n_seen = sum(int(seen.sum()) for seen in self._seen.values())
        return {"data/coverage": n_seen / sum(map(len, self._seen.values())), **each}
