"""Which rank this is, and that all ranks agree before the first step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.checkpoint_state import different_facts
from llm_embedder_data.datamodule.state_checks import shown


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the data-parallel ranks.

    Attributes:
        rank: of this process.
        num_replicas: data-parallel ranks.
        per_node: processes that share this machine's cores.
        connected: whether the ranks can talk to each other yet.
    """

    rank: int = 0
    num_replicas: int = 1
    per_node: int = 1
    connected: bool = False

    @classmethod
    def of(cls, trainer: Any) -> Ranks:
        """From a Lightning trainer; without one from torch.distributed; else rank 0 of 1.

        A loop that has not called ``init_process_group()`` yet has the rank that it will get there,
        from RANK and WORLD_SIZE, as torchrun sets them.
        """
        connected = dist.is_available() and dist.is_initialized()
        kwargs = getattr(trainer, "distributed_sampler_kwargs", None)
        if kwargs:
            return cls(kwargs["rank"], kwargs["num_replicas"], trainer.num_devices, connected)
        if trainer is not None:
            return cls()
        if connected:
            rank, world = dist.get_rank(), dist.get_world_size()
        elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        else:
            return cls()
        return cls(rank, world, int(os.environ.get("LOCAL_WORLD_SIZE", world)), connected)

    def spare_cores(self) -> int:
        """Cores for workers when each process of this machine keeps one: at least 1, at most 8."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return max(1, min(8, (cores or 1) // self.per_node - 1))


@contextmanager
def check_ranks_agree(ranks: Ranks) -> Iterator[dict[str, Any]]:
    """Fill the mapping with facts; at the end every rank raises if one failed or has other facts.

    Costs one small collective. Ranks that read other files, or were given other settings, would
    train on different tasks at one step, or wait for each other for ever.

    Raises:
        ConfigError: naming each rank that failed, or that differs from rank 0, the fact, and both
            values.
    """
    facts: dict[str, Any] = {}
    failure: Exception | None = None
    try:
        yield facts
    except Exception as error:
        failure = error
    gathered: list[tuple[str | None, dict[str, Any]]] = []
    if ranks.num_replicas > 1 and ranks.connected:
        gathered = [(None, {})] * dist.get_world_size()
        dist.all_gather_object(gathered, (None if failure is None else str(failure), facts))
    if failure is not None and all(error is not None for error, _ in gathered):
        raise failure
    failures = [
        f"rank {rank}: {error}" for rank, (error, _) in enumerate(gathered) if error is not None
    ]
    if failures:
        raise ConfigError("not every rank can go on:\n" + "\n".join(failures)) from failure
    differences = [
        f"{name}\n  rank 0: {shown(first)}\n  rank {rank}: {shown(own)}"
        for rank, (_, other) in enumerate(gathered)
        for name, first, own in different_facts(gathered[0][1], other)
    ]
    if differences:
        raise ConfigError(
            "ranks do not agree on "
            + "\n".join(differences)
            + "\n(give every rank the same files and settings)"
        )
