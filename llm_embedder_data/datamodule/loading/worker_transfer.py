"""Sends a batch from a worker to the training process in a single block of shared memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

# Tensors smaller than this are pickled, so that code that keeps a small tensor does not keep the
# whole shared block in memory.
_LARGE_BYTES = 1 << 16

# Tensors in the block begin at multiples of this many bytes.
_ALIGNMENT = 64


def for_transfer(batch: Any) -> Any:
    """Wrap a batch for the transfer if this process is a worker; to be used as ``collate_fn``."""
    return batch if get_worker_info() is None else _BatchInTransfer(batch)


class _BatchInTransfer:
    """A batch that unpickles to itself, with its large tensors as views of one shared block.

    torch 2.13 passes each tensor in a file of its own, which costs the training process about 0.4
    ms per tensor, and a batch has a dozen tensors.

    Args:
        batch: dicts and lists of tensors and picklable values.
    """

    def __init__(self, batch: Any) -> None:
        # Copy here rather than in __reduce__: torch pickles in a thread, where errors are lost.
        copies: list[tuple[_BlockView, Tensor]] = []
        skeleton, block = _without_tensors(batch, copies), None
        if copies:
            last, _ = copies[-1]
            block = torch.empty(last.end, dtype=torch.uint8)
            block.share_memory_()  # type: ignore[no-untyped-call]
            for view, tensor in copies:
                view.of(block).copy_(tensor)
        self._content = skeleton, block

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _with_tensors, self._content


@dataclass(frozen=True, slots=True)
class _BlockView:
    """Where a tensor is in the shared block: bytes ``start`` to ``end``."""

    start: int
    end: int
    shape: torch.Size
    dtype: torch.dtype

    def of(self, block: Tensor) -> Tensor:
        return block[self.start : self.end].view(self.dtype).view(self.shape)


@dataclass(frozen=True, slots=True)
class _Pickled:
    """A small tensor, pickled as an array."""

    array: NDArray[Any]


def _without_tensors(value: Any, copies: list[tuple[_BlockView, Tensor]]) -> Any:
    """Replace each tensor; add those that go into the shared block to ``copies``."""
    if isinstance(value, dict):
        return {name: _without_tensors(item, copies) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_tensors(item, copies) for item in value]
    if not isinstance(value, Tensor):
        return value
    if value.nbytes < _LARGE_BYTES:
        return _Pickled(value.numpy())
    start = copies[-1][0].end if copies else 0
    start += -start % _ALIGNMENT
    view = _BlockView(start, start + value.nbytes, value.shape, value.dtype)
    copies.append((view, value))
    return view


def _with_tensors(value: Any, block: Tensor | None) -> Any:
    """Undo :func:`_without_tensors`."""
    if isinstance(value, dict):
        return {name: _with_tensors(item, block) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_tensors(item, block) for item in value]
    if isinstance(value, _BlockView):
        assert block is not None
        return value.of(block)
    return torch.from_numpy(value.array) if isinstance(value, _Pickled) else value
