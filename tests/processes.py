"""Runs a function in several real processes that form one group."""

import gc
import os
import pickle
import time
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# What the server that ranks are forked from has imported, once for all of them. Most of what a rank
# of a test would do without is importing these.
PRELOADED = [
    "datasets",
    "hypothesis",
    "lightning",
    "peft",
    "pytest",
    "transformers.models.bert.modeling_bert",
    "transformers.models.qwen3.modeling_qwen3",
    "llm_embedder_data.callbacks",
    "llm_embedder_data.compat",
    "llm_embedder_data.datamodule.module",
    "llm_embedder_data.mining.store_filling",
    "llm_embedder_data.training.bi_encoder",
    "llm_embedder_data.training.cross_encoder",
    "llm_embedder_data.training.evaluate",
]


def from_server():
    """Return the context of processes that are forked from a server with slow imports behind it."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def run_on_ranks(function, n_ranks, folder, *args, timeout=300, connect=True):
    """Return ``[function(rank, *args) for rank in range(n_ranks)]``, one process per rank.

    The processes form one gloo group. A ``Trainer(devices=n_ranks, strategy="ddp")`` that is made
    there finds the group and starts no processes. With ``connect=False`` the function makes the
    group itself. If a rank raises, its result is a :class:`Failure`, so that a test can look at the
    errors of all ranks. After ``timeout`` seconds, processes that still run are killed and the test
    fails.
    """
    folder = Path(folder) / f"ranks-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    context = from_server()
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
    """The exception of a rank as text; ``kind`` is the name of its type."""

    kind = ""


def returned(results):
    """Return the results after checking that no rank failed."""
    for rank, result in enumerate(results):
        assert not isinstance(result, Failure), f"rank {rank}: {result}"
    return results


def _enter(rank, n_ranks, folder, connect, function, args):
    torch.set_num_threads(1)
    gc.freeze()  # what the server has imported is no garbage
    # DataLoader workers are forked, as in a process that Linux users start.
    mp.set_start_method("fork", force=True)
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
