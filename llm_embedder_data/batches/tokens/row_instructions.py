"""The instructions of a batch in which some texts have an instruction of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RowInstructions:
    """An instruction for each of N texts: its own, or the one common to all other texts.

    Attributes:
        common: instruction for texts that have none of their own; may be empty.
        own: ``[N]``, each text's own instruction, or None for the common one. An empty string means
            that nothing is put before the text.
    """

    common: str
    own: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.own)

    def texts(self) -> list[str]:
        """Return the instruction of each text, ``[N]``."""
        return [self.common if own is None else own for own in self.own]

    def take(self, indices: NDArray[np.int64]) -> RowInstructions:
        """Return the instructions of some of the texts, in any order."""
        return RowInstructions(self.common, [self.own[i] for i in indices.tolist()])

    def of_keys(self, real: NDArray[np.bool_]) -> RowInstructions:
        """Return the instructions of the keys of N queries, ``[N*G]``.

        All keys of a query get the query's row instruction. Padding gets the common instruction, so
        that it is the same text in all rows.

        Args:
            real: ``[N, G]`` bool, False where a key is padding.
        """
        own = [
            own if is_real else None
            for own, row in zip(self.own, real.tolist(), strict=True)
            for is_real in row
        ]
        return RowInstructions(self.common, own)


# One instruction for all texts, or one per text.
Instructions = str | RowInstructions


def in_force(common: str, own: Sequence[str | None] | None) -> Instructions:
    """Return ``common``, unless some text has an instruction of its own."""
    if own is None or all(instruction is None for instruction in own):
        return common
    return RowInstructions(common, own)


def joined(instructions: Iterable[tuple[Instructions, int]]) -> RowInstructions:
    """Concatenate the instructions of several batches of one dataset.

    Args:
        instructions: (instructions, number of texts) for each batch.
    """
    batches = list(instructions)
    first = batches[0][0]
    common = first if isinstance(first, str) else first.common
    own: list[str | None] = []
    for batch, n_texts in batches:
        own += [None] * n_texts if isinstance(batch, str) else batch.own
    return RowInstructions(common, own)
