"""A batch on its way from the worker that made it: few pieces, however many tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

# A smaller tensor travels by value, so that who keeps it does not keep the large ones beside it.
_LARGE_BYTES = 1 << 16

# Of the places at which tensors begin in a block, a divisor.
_ALIGNMENT = 64


def parcelled(batch: Any) -> Any:
    """What a DataLoader's collate function gives for a batch: in a worker a parcel of it."""
    return batch if get_worker_info() is None else _Parcel(batch)


class _Parcel:
    """A batch that arrives in another process as it was, its large tensors views of one block.

    torch 2.13 passes each tensor in a file of its own, and the process that trains spends some 0.4
    ms on each, a dozen times a batch.

    Args:
        batch: tensors, and what can be pickled, in dicts and lists.
    """

    def __init__(self, batch: Any) -> None:
        # Not when it is pickled: that is in a thread of torch's, whose errors nobody gets.
        places: list[tuple[_Place, Tensor]] = []
        packed, block = _packed(batch, places), None
        if places:
            last, _ = places[-1]
            block = torch.empty(last.end, dtype=torch.uint8)
            block.share_memory_()  # type: ignore[no-untyped-call]
            for place, tensor in places:
                place.of(block).copy_(tensor)
        self._content = packed, block

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _unpacked, self._content


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies in the block: bytes ``start`` to ``end``."""

    start: int
    end: int
    shape: torch.Size
    dtype: torch.dtype

    def of(self, block: Tensor) -> Tensor:
        return block[self.start : self.end].view(self.dtype).view(self.shape)


@dataclass(frozen=True, slots=True)
class _Value:
    """A tensor that travels by value."""

    array: NDArray[Any]


def _packed(value: Any, places: list[tuple[_Place, Tensor]]) -> Any:
    """The batch with a place or a value for each tensor; the places are added to the list."""
    if isinstance(value, dict):
        return {name: _packed(one, places) for name, one in value.items()}
    if isinstance(value, list):
        return [_packed(one, places) for one in value]
    if not isinstance(value, Tensor):
        return value
    if value.nbytes < _LARGE_BYTES:
        return _Value(value.numpy())
    start = places[-1][0].end if places else 0
    start += -start % _ALIGNMENT
    place = _Place(start, start + value.nbytes, value.shape, value.dtype)
    places.append((place, value))
    return place


def _unpacked(value: Any, block: Tensor | None) -> Any:
    if isinstance(value, dict):
        return {name: _unpacked(one, block) for name, one in value.items()}
    if isinstance(value, list):
        return [_unpacked(one, block) for one in value]
    if isinstance(value, _Place):
        assert block is not None
        return value.of(block)
    return torch.from_numpy(value.array) if isinstance(value, _Value) else value
