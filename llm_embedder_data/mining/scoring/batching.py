"""Batches of inputs of similar length, and padding of token ids on the right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def length_sorted_batches(
    lengths: Sequence[int],
    most_tokens: int,
    extra: Sequence[int] | None = None,
    most_extra: int = 0,
) -> Iterator[list[int]]:
    """Yield the numbers of the inputs of each batch, longest inputs first.

    An input that exceeds a limit makes a batch by itself.

    Args:
        lengths: number of tokens of each input.
        most_tokens: limit of a batch in tokens, padding included.
        extra: amount of another resource that each input needs, such as logits; None: nothing.
        most_extra: limit of a batch in this resource; 0: no limit.

    >>> list(length_sorted_batches([1, 4, 2, 2], most_tokens=4))
    [[1], [2, 3], [0]]
    """
    batch: list[int] = []
    n_extra = 0
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        needed = extra[number] if extra is not None else 0
        is_full = batch and (len(batch) + 1) * lengths[batch[0]] > most_tokens
        if is_full or (batch and n_extra + needed > most_extra > 0):
            yield batch
            batch, n_extra = [], 0
        batch.append(number)
        n_extra += needed
    if batch:
        yield batch


def padded_on_the_right(ids: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """Return token ids ``[B, L]`` int64, where L is the length of the longest input.

    Args:
        ids: B lists of token ids, at least one.
        pad_id: the id that fills the rest of shorter inputs.
    """
    width = max(map(len, ids))
    return torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in ids])
