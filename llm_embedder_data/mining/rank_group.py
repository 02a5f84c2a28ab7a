"""The ranks of a torch.distributed group; without a group there is one rank."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch.distributed as dist

from llm_embedder_data.core.errors import DataError

T = TypeVar("T")


def rank_and_size() -> tuple[int, int]:
    """Return this process' rank and the number of ranks; ``(0, 1)`` without a group."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def gather_objects(value: T, n_ranks: int | None = None) -> list[T]:
    """Gather the value of every rank, in rank order. All ranks must call this.

    Values are pickled. Lightning's ``all_gather`` takes only tensors of the same shape on all
    ranks.

    Args:
        value: this rank's value.
        n_ranks: number of ranks; None for the size of the group.

    Returns:
        The values, one for each rank.
    """
    if n_ranks is None:
        _, n_ranks = rank_and_size()
    if n_ranks == 1:
        return [value]
    values = [value] * n_ranks
    dist.all_gather_object(values, value)
    return values


@contextmanager
def ranks_fail_together() -> Iterator[tuple[int, int]]:
    """Run a block on all ranks; if it fails on one, fail on all. Yield the rank and the world size.

    Otherwise the other ranks would wait forever in their next collective for the rank that failed.

    Raises:
        DataError: another rank failed. A rank that failed itself raises its own error.
    """
    failure: Exception | None = None
    try:
        yield rank_and_size()
    except Exception as error:
        failure = error
    failures = gather_objects(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    for rank, message in enumerate(failures):
        if message is not None:
            raise DataError(f"rank {rank}: {message}")
