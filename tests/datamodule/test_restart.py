"""Processes that are really killed go on from what Lightning had saved as if they had not been."""

import json
import multiprocessing
import os
import re
import signal
import time

import pytest
import torch
import torch.distributed as dist
from datamodule_cases import Recorder, make_datamodule, make_trainer
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.plugins.environments import SLURMEnvironment
from processes import from_server
from slow_cases import mostly_slow

EPOCHS = 3
STEPS = 11
PATIENCE = 120


class Diary(Recorder):
    """Writes what every step is given before it trains on it, and takes a while for it."""

    def __init__(self, path, pause=0.0, signals=None):
        super().__init__()
        self.path, self.pause, self.signals = path, pause, signals or {}

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        with open(self.path, "a") as file:
            file.write(json.dumps(self.trained[self.current_epoch, batch_idx]) + "\n")
        if (signum := self.signals.pop(len(self.path.read_text().splitlines()), None)) is not None:
            os.kill(os.getpid(), signum)
        time.sleep(self.pause)
        return loss


def diary(folder, rank=0):
    path = folder / f"rank{rank}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def whole(folder):
    """What a run that nobody interrupts is given: dataset, rows, and a digest of all the rest."""
    recorder = Recorder()
    make_trainer(max_epochs=EPOCHS).fit(recorder, datamodule=make_datamodule(folder))
    return [[dataset, list(rows), rest] for dataset, rows, rest in recorder.trained.values()]


def trained(out, n_ranks=1):
    """The global batches of the steps that all ranks of a run began."""
    steps = list(zip(*(diary(out, rank) for rank in range(n_ranks)), strict=False))
    if n_ranks == 1:
        return [step for (step,) in steps]
    assert all({dataset for dataset, _, _ in step} == {step[0][0]} for step in steps)
    return [[step[0][0], [row for _, rows, _ in step for row in rows]] for step in steps]


def of_ranks(steps, n_ranks):
    """As :func:`trained` puts them together."""
    return steps if n_ranks == 1 else [[dataset, rows] for dataset, rows, _ in steps]


def fit(rank, n_ranks, folder, out, ckpt_path, settings, environment):
    """A training process, which may be killed at any moment."""
    torch.set_num_threads(1)
    slurm = {"SLURM_NTASKS": n_ranks, "SLURM_NTASKS_PER_NODE": n_ranks}
    slurm |= {"SLURM_PROCID": rank, "SLURM_LOCALID": rank}
    os.environ |= environment | {"LOCAL_RANK": str(rank)}
    multiprocessing.set_start_method("fork", force=True)
    data = {"batch_size": 4 // n_ranks, **settings.get("data", {})}
    trainer = {"max_epochs": EPOCHS, "default_root_dir": out, **settings.get("trainer", {})}
    if n_ranks > 1:
        store = f"file://{out}/store"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=n_ranks)
        trainer |= {"devices": n_ranks, "strategy": "ddp"}
    if "SLURM_JOB_ID" in environment:
        os.environ |= {name: str(value) for name, value in slurm.items()}
        trainer["plugins"] = [SLURMEnvironment(auto_requeue=True)]
    callbacks = [make(out) for make in settings.get("callbacks", ())]
    module = Diary(out / f"rank{rank}.jsonl", settings.get("pause", 0.0), settings.get("signals"))
    try:
        make_trainer(**trainer, enable_checkpointing=True, callbacks=callbacks).fit(
            module, datamodule=make_datamodule(folder, **data), ckpt_path=ckpt_path
        )
    except SystemExit as error:  # Lightning's SIGTERMException
        (out / f"ended{rank}").write_text(type(error).__name__)


def start(folder, out, *, n_ranks=1, ckpt_path=None, environment=None, **settings):
    out.mkdir(parents=True, exist_ok=True)
    context = from_server()
    args = (n_ranks, folder, out, ckpt_path, settings, environment or {})
    processes = [context.Process(target=fit, args=(rank, *args)) for rank in range(n_ranks)]
    for process in processes:
        process.start()
    return processes


def finish(processes):
    for process in processes:
        process.join(PATIENCE)
        alive = process.is_alive()
        process.kill()
        assert not alive, "it hangs"
    return [process.exitcode for process in processes]


def kill_after(n_steps, processes, out):
    """SIGKILL to all of them at once, when all have begun so many steps."""
    deadline = time.monotonic() + PATIENCE
    while len(trained(out, len(processes))) < n_steps:
        assert time.monotonic() < deadline
        assert any(process.is_alive() for process in processes)
        time.sleep(0.002)
    for process in processes:
        process.kill()
    assert finish(processes) == [-signal.SIGKILL] * len(processes)


def every_third_step(out):
    return ModelCheckpoint(dirpath=out / "saved", every_n_train_steps=3, save_top_k=-1)


def last_checkpoint(out):
    return max(
        (out / "saved").glob("*.ckpt"), key=lambda path: int(re.search(r"step=(\d+)", path.name)[1])
    )


def global_step(ckpt_path):
    return torch.load(ckpt_path, weights_only=True)["global_step"]


RANKS = [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.ranks)]
WORKERS = {"data": {"num_workers": 2, "prefetch_factor": 3}}


@pytest.mark.parametrize(
    ("n_ranks", "settings"),
    [
        pytest.param(1, {}, marks=pytest.mark.slow),
        pytest.param(1, WORKERS, marks=pytest.mark.slow),
        pytest.param(2, {}, marks=[pytest.mark.ranks, pytest.mark.slow]),
        pytest.param(2, WORKERS, marks=pytest.mark.ranks),
    ],
)
def test_a_killed_run_goes_on_from_the_last_checkpoint_as_if_it_had_not_been(
    folder, tmp_path, n_ranks, settings
):
    """Killed three times, each in the middle of an epoch; every run goes on with the last one's."""
    expected, ckpt_path, first = of_ranks(whole(folder), n_ranks), None, 0

    for number, n_steps in enumerate([8, 9, 7]):
        out = tmp_path / str(number)
        processes = start(
            folder,
            out,
            n_ranks=n_ranks,
            ckpt_path=ckpt_path,
            pause=0.05,
            callbacks=[every_third_step],
            **settings,
        )
        kill_after(n_steps, processes, out)
        given = trained(out, n_ranks)
        assert given == expected[first : first + len(given)]
        ckpt_path = last_checkpoint(out)
        first = global_step(ckpt_path)
        assert first % STEPS
    out = tmp_path / "last"
    processes = start(folder, out, n_ranks=n_ranks, ckpt_path=ckpt_path, **settings)

    assert finish(processes) == [0] * n_ranks
    assert trained(out, n_ranks) == expected[first:]


SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "train",
    "SLURM_NODEID": "0",
}


@pytest.fixture
def scheduler(tmp_path):
    """A SLURM job's environment, and a ``scontrol`` that writes down what it is asked."""
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    program.chmod(0o755)
    return SLURM | {"PATH": f"{program.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("num_workers", mostly_slow([0, 2], 2))
@pytest.mark.parametrize("n_ranks", RANKS)
def test_a_requeued_job_finds_its_checkpoint_and_goes_on(
    folder, tmp_path, scheduler, n_ranks, num_workers
):
    """SIGUSR1 saves and requeues; the scheduler then ends the job, by SIGTERM or worse."""
    expected, job = of_ranks(whole(folder), n_ranks), tmp_path / "job"
    settings = {
        "n_ranks": n_ranks,
        "data": {"num_workers": num_workers},
        "trainer": {"default_root_dir": job},
        "environment": scheduler,
    }
    job.mkdir()

    saved = 0
    for number, (n_steps, last) in enumerate([(4, signal.SIGTERM), (9, signal.SIGKILL)], start=1):
        out = tmp_path / str(number)
        finish(start(folder, out, signals={n_steps: signal.SIGUSR1, n_steps + 2: last}, **settings))
        given = trained(out, n_ranks)
        assert given == expected[saved : saved + len(given)]
        # The step in which the signal came is not in the checkpoint, neither weights nor data.
        before, saved = saved, global_step(job / f"hpc_ckpt_{number}.ckpt")
        assert saved == before + n_steps - 1
    out = tmp_path / "last"
    assert finish(start(folder, out, **settings)) == [0] * n_ranks

    assert (tmp_path / "asked").read_text() == "requeue 4711\n" * 2
    assert trained(out, n_ranks) == expected[saved:]


def on_exception(out):
    return OnExceptionCheckpoint(out)


def saving_on_exception(out):
    return ModelCheckpoint(
        dirpath=out / "saved", filename="{step}", every_n_train_steps=100, save_on_exception=True
    )


@pytest.mark.parametrize("save", mostly_slow([on_exception, saving_on_exception], on_exception))
@pytest.mark.parametrize("n_ranks", RANKS)
def test_a_run_that_is_asked_to_end_saves_itself_and_goes_on(folder, tmp_path, n_ranks, save):
    """SIGTERM in the middle of a step: Lightning ends the step and leaves by an exception."""
    expected, out = of_ranks(whole(folder), n_ranks), tmp_path / "first"
    signals = {14: signal.SIGTERM}

    finish(start(folder, out, n_ranks=n_ranks, signals=signals, callbacks=[save], pause=0.02))
    first = len(trained(out, n_ranks))
    [ckpt_path] = [*out.glob("*.ckpt"), *out.glob("saved/*.ckpt")]
    processes = start(folder, tmp_path / "second", n_ranks=n_ranks, ckpt_path=ckpt_path)

    assert (out / "ended0").read_text() == "SIGTERMException"
    assert first == global_step(ckpt_path)
    assert trained(out, n_ranks) == expected[:first]
    assert finish(processes) == [0] * n_ranks
    assert trained(tmp_path / "second", n_ranks) == expected[first:]


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_workers(folder, tmp_path):
    expected, ckpt_path, first = whole(folder), None, 0

    for number, num_workers in enumerate([0, 2, 1]):
        out = tmp_path / str(number)
        data = {"num_workers": num_workers}
        processes = start(
            folder, out, ckpt_path=ckpt_path, data=data, pause=0.02, callbacks=[every_third_step]
        )
        kill_after(8, processes, out)
        given = trained(out)
        assert given == expected[first : first + len(given)]
        ckpt_path = last_checkpoint(out)
        first = global_step(ckpt_path)
    finish(start(folder, tmp_path / "last", ckpt_path=ckpt_path))

    assert trained(tmp_path / "last") == expected[first:]
