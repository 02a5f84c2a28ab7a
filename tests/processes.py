"""Functions run by several real processes in one group."""

import os
import pickle
import time
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_on_ranks(function, n_ranks, folder, *args, timeout=300, connect=True):
    """``[function(rank, *args) for rank in range(n_ranks)]``, each in a process of its own.

    The processes are one gloo group; a ``Trainer(devices=n_ranks, strategy="ddp")`` made there
    finds it and starts none. With ``connect=False`` the group is the function's to make. An
    exception is a rank's result like another (:class:`Failure`), so that a test can look at those
    of all ranks. After ``timeout`` seconds what still runs is killed and the test fails.
    """
    folder = Path(folder) / f"ranks-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    # Forked from a server that has imported the heavy libraries once. Not daemons, or they could
    # have no DataLoader workers.
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["lightning", "transformers", "llm_embedder_data"])
    processes = [
        context.Process(target=_enter, args=(rank, n_ranks, folder, connect, function, args))
        for rank in range(n_ranks)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + timeout
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    hung = [rank for rank, process in enumerate(processes) if process.is_alive()]
    for rank in hung:
        processes[rank].kill()
        processes[rank].join()
    assert not hung, f"ranks {hung} of {n_ranks} were still waiting after {timeout} s"
    return [pickle.loads((folder / f"rank{rank}").read_bytes()) for rank in range(n_ranks)]


class Failure(str):
    """A rank's exception, as text; ``kind`` is its type's name."""

    kind = ""


def returned(results):
    """The results, where no rank failed."""
    for rank, result in enumerate(results):
        assert not isinstance(result, Failure), f"rank {rank}: {result}"
    return results


def _enter(rank, n_ranks, folder, connect, function, args):
    torch.set_num_threads(1)
    mp.set_start_method(
        "fork", force=True
    )  # of DataLoader workers: the default of a process on Linux
    os.environ["LOCAL_RANK"] = str(rank)
    if connect:
        # A file store needs no port, so tests may run side by side.
        store = f"file://{folder}/store"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=n_ranks)
    try:
        result = function(rank, *args)
    except Exception as error:
        result = Failure(f"{error}\n{traceback.format_exc()}")
        result.kind = type(error).__name__
    (folder / f"rank{rank}").write_bytes(pickle.dumps(result))
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
