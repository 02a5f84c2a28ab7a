"""Which rows of each dataset a run has trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.sampler import SameTaskSampler
from llm_embedder_data.core.printable import one_line

# With more kept rows than this, coverage is not recorded, because it takes a byte per row.
_MOST_ROWS = 100_000_000


class Coverage:
    """Records which rows were trained on by any rank.

    The plan of an epoch gives the rows of each step on all ranks, so ranks need not communicate.

    Args:
        packed: the result of :meth:`packed` in an earlier run; None for a new run.
    """

    def __init__(self, packed: Mapping[str, torch.Tensor] | None = None) -> None:
        self._packed = packed or {}
        self._seen: dict[str, NDArray[np.bool_]] = {}
        self._sampler: SameTaskSampler | None = None
        self._begun: tuple[SameTaskSampler, tuple[int, int]] | None = None
        self._epoch = self._counted = self._next = 0

    def begin(self, sampler: SameTaskSampler) -> bool:
        """Go to the epoch and step at which a sampler begins.

        Returns:
            Whether an earlier fit with other datasets was recorded, which is now forgotten.
        """
        self._count()
        sizes = sampler.plan.sizes
        is_of_others = bool(self._seen) and {n: len(s) for n, s in self._seen.items()} != sizes
        if is_of_others:
            self._seen, self._packed = {}, {}
        self._sampler = sampler if sum(sizes.values()) <= _MOST_ROWS else None
        self._begun = sampler, sampler.place
        self._epoch, self._counted = sampler.place
        self._next = self._counted
        if not self._seen and self._sampler is not None:
            for name, n_rows in sizes.items():
                self._seen[name] = np.zeros(n_rows, bool)
                if name in self._packed:
                    bits = np.unpackbits(self._packed[name].numpy(), count=n_rows)
                    self._seen[name] |= bits.astype(bool)
        return is_of_others

    def has_begun(self, sampler: SameTaskSampler) -> bool:
        """Return whether :meth:`begin` was last called for the place where a sampler begins."""
        return self._begun is not None and self._begun == (sampler, sampler.place)

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
        """Return which rows of each dataset were seen, by name: uint8, one bit per row."""
        self._count()
        if not self._seen:  # a resumed fit that has not begun an epoch
            return dict(self._packed)
        return {name: torch.from_numpy(np.packbits(seen)) for name, seen in self._seen.items()}

    def figures(self) -> dict[str, float]:
        """Return the share of rows seen, in total and by dataset; empty with too many rows."""
        self._count()
        if not self._seen:
            return {}
        each = {f"data/coverage/{one_line(n)}": float(s.mean()) for n, s in self._seen.items()}
        n_seen = sum(int(seen.sum()) for seen in self._seen.values())
        return {"data/coverage": n_seen / sum(map(len, self._seen.values())), **each}
