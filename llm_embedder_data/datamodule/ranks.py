"""Which rank this process is, and a check that all ranks agree before the first step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.resume.run_fingerprint import differences
from llm_embedder_data.datamodule.resume.state_checks import entry_shown


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the data-parallel ranks.

    Attributes:
        rank: the rank of this process.
        num_replicas: the number of data-parallel ranks.
        per_node: the number of processes that share this machine's cores.
        connected: whether the process group is initialized.
    """

    rank: int = 0
    num_replicas: int = 1
    per_node: int = 1
    connected: bool = False

    @classmethod
    def of(cls, trainer: Any) -> Ranks:
        """Return the rank according to a Lightning trainer or, without one, torch.distributed.

        Before ``init_process_group()`` is called, the rank comes from the environment variables
        RANK and WORLD_SIZE, which torchrun sets. Without these, it is rank 0 of 1.
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
        """Return how many workers to use, 1 to 8, leaving each process of this machine one core."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return max(1, min(8, (cores or 1) // self.per_node - 1))


@contextmanager
def check_ranks_agree(ranks: Ranks) -> Iterator[dict[str, Any]]:
    """Yield a dict to fill; on exit, raise on every rank if one failed or filled in other values.

    This costs one small collective operation. Without it, ranks with different files or settings
    would train on different tasks in one step, or wait for each other forever.

    Raises:
        ConfigError: a rank failed, or has an entry that differs from rank 0's; the message lists
            all of these.
    """
    mine: dict[str, Any] = {}
    failure: Exception | None = None
    try:
        yield mine
    except Exception as error:
        failure = error
    gathered: list[tuple[str | None, dict[str, Any]]] = []
    if ranks.num_replicas > 1 and ranks.connected:
        gathered = [(None, {})] * dist.get_world_size()
        dist.all_gather_object(gathered, (None if failure is None else str(failure), mine))
    if failure is not None and all(error is not None for error, _ in gathered):
        raise failure
    failures = [
        f"rank {rank}: {error}" for rank, (error, _) in enumerate(gathered) if error is not None
    ]
    if failures:
        raise ConfigError("not every rank can go on:\n" + "\n".join(failures)) from failure
    found = [
        f"{entry.name}\n  rank 0: {entry_shown(entry.before)}\n"
        f"  rank {rank}: {entry_shown(entry.now)}"
        for rank, (_, theirs) in enumerate(gathered)
        for entry in differences(gathered[0][1], theirs)
    ]
    if found:
        raise ConfigError(
            "ranks do not agree on "
            + "\n".join(found)
            + "\n(give every rank the same files and settings)"
        )
