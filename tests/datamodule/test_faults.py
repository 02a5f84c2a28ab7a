"""A fault around a run ends in a clear error or is repaired: no hang, no wrong data."""

import ctypes
import errno
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

import lightning
import pytest
from datamodule_cases import (
    STEPS,
    TRAIN,
    Recorder,
    batches,
    digest,
    eval_arguments,
    make_datamodule,
    make_trainer,
    opened,
    seen_batch,
    write_train,
)
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from slow_cases import mostly_slow

from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.schema.reading import read_file
from llm_embedder_data.rows.schema.train import TRAIN_ROWS, train_batch

FORK = multiprocessing.get_context("fork")
NO_MEMORY = (
    r"DataLoader worker \(pid.*\)[\s\S]*A process that makes batches has died: most likely it ran "
    r"out of memory \(give data.num_workers or data.prefetch_factor a smaller value\)"
)


@pytest.fixture
def own(tmp_path):
    """Training data and a cache folder that a test may spoil."""
    write_train(tmp_path / "qa" / "train.jsonl", "qa", 23, scored=True)
    write_train(tmp_path / "tool" / "train.jsonl", "tool", 18)
    write_train(tmp_path / "chat" / "train.jsonl", "chat", 8, scored="some")
    return tmp_path


def seen(datamodule):
    return [seen_batch(batch) for batch in batches(opened(datamodule))]


def reading(build=train_batch):
    return replace(TRAIN_ROWS, build=build)


def in_a_process(function, *args):
    """What a function returns in a process of its own, or the text of its exception."""
    there, here = FORK.Pipe()

    def run():
        try:
            here.send(function(*args))
        except BaseException as error:
            here.send(f"{type(error).__name__}: {error}")

    process = FORK.Process(target=run)
    process.start()
    result = there.recv() if there.poll(120) else "it hangs"
    process.kill()
    process.join()
    return result


def in_mounts_of_its_own():
    """Let this process mount what no other sees, as root or in a user namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, new_user = 0x00020000, 0x10000000
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(new_mounts | (new_user if uid else 0)):
        raise OSError(ctypes.get_errno(), "unshare")
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    mount(b"none", Path("/"), None, 1 << 18 | 1 << 14)  # private, with all below


def mount(what, folder, kind, flags, options=None):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(what, os.fsencode(folder), kind, ctypes.c_ulong(flags), options):
        raise OSError(ctypes.get_errno(), f"mount on {folder}")


def can_mount():
    return in_a_process(in_mounts_of_its_own) is None


needs_mounts = pytest.mark.skipif(not can_mount(), reason="this machine lets nobody mount")

# -- workers ---------------------------------------------------------------------------------------


def worker_of(loader):
    return loader._iterator._workers[0].pid


class Attack(lightning.Callback):
    """Kills a worker as the step begins; the step takes a while, or none."""

    def __init__(self, pause=0.0):
        self.pause = pause

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 5:
            os.kill(worker_of(trainer.train_dataloader), signal.SIGKILL)
            time.sleep(self.pause)


@pytest.mark.parametrize("pause", [0.0, 5.0])
def test_a_worker_killed_as_for_want_of_memory_is_an_error_that_says_so(folder, pause):
    trainer = make_trainer(max_epochs=50, callbacks=[Attack(pause)])
    datamodule = make_datamodule(folder, num_workers=2, prefetch_factor=1)

    with pytest.raises(RuntimeError, match=NO_MEMORY):
        trainer.fit(Recorder(), datamodule=datamodule)


def kill_in_a_plain_loop(folder):
    loader = opened(make_datamodule(folder, num_workers=1, prefetch_factor=1)).train_dataloader()
    for _ in range(50):
        for _ in loader:
            os.kill(worker_of(loader), signal.SIGKILL)


def test_a_plain_loop_is_told_the_same(folder):
    assert re.match("RuntimeError: " + NO_MEMORY, in_a_process(kill_in_a_plain_loop, folder))


SCRIPT = """
import os, signal, sys
sys.path[:0] = {paths!r}
from pathlib import Path
import lightning
from datamodule_cases import Recorder, make_datamodule, make_trainer


class Attack(lightning.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_rank == {victim} and batch_idx == 5:
            os.kill(trainer.train_dataloader._iterator._workers[0].pid, signal.SIGKILL)


if __name__ == "__main__":
    trainer = make_trainer(devices=2, strategy="ddp", max_epochs=1000, callbacks=[Attack()])
    datamodule = make_datamodule(
        Path({folder!r}), batch_size=2, num_workers=1, prefetch_factor=1
    )
    trainer.fit(Recorder(), datamodule=datamodule)
"""


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.parametrize("victim", [0, 1])
def test_no_rank_waits_for_one_that_lost_its_worker(folder, tmp_path, victim):
    script = tmp_path / "fit.py"
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    script.write_text(SCRIPT.format(paths=paths, victim=victim, folder=str(folder)))

    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=180)

    assert ended.returncode != 0
    assert re.search(NO_MEMORY, ended.stderr)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("error", [DataError("a.jsonl, row 3: no text"), KeyError("text")])
def test_an_error_in_making_a_batch_keeps_its_type_and_says_which_batch(
    folder, monkeypatch, num_workers, error
):
    original = TrainGroups.several

    def fail(self, indices):
        if any((index.epoch, index.step) == (1, 3) for index in indices):
            raise error
        yield from original(self, indices)

    monkeypatch.setattr(TrainGroups, "several", fail)
    datamodule = make_datamodule(folder, num_workers=num_workers)
    dataset, _ = opened(make_datamodule(folder)).plan(1)[3]
    recorder = Recorder()

    with pytest.raises(
        type(error),
        match=rf"{error.args[0]}[\s\S]*in making the batch of dataset '{dataset}', epoch 1, step 3",
    ):
        make_trainer().fit(recorder, datamodule=datamodule)

    assert len(recorder.trained) == STEPS + 3  # all that come before it


# -- files -----------------------------------------------------------------------------------------


class Loss(lightning.Callback):
    """Does something to files in mid-run."""

    def __init__(self, spoil, files):
        self.spoil, self.files = spoil, files

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (0, 5):
            for file in self.files:
                self.spoil(file)


def truncate(path):
    os.truncate(path, 10)


LOSSES = [
    (spoil, kind, num_workers)
    for spoil, kind in (
        (os.unlink, "*/train.jsonl"),
        (truncate, "*/train.jsonl"),
        (os.unlink, "cache/*"),
    )
    for num_workers in (0, 2)
]


@pytest.mark.parametrize("case", mostly_slow(LOSSES, LOSSES[0], LOSSES[3], LOSSES[5]))
def test_a_run_goes_on_unharmed_without_its_files(own, case):
    spoil, kind, num_workers = case
    undisturbed, disturbed = Recorder(), Recorder()
    make_trainer().fit(undisturbed, datamodule=make_datamodule(own))
    files = list(own.glob(kind))
    assert len(files) >= len(TRAIN)

    trainer = make_trainer(callbacks=[Loss(spoil, files)])
    trainer.fit(disturbed, datamodule=make_datamodule(own, num_workers=num_workers))

    assert disturbed.trained == undisturbed.trained


def test_a_source_that_is_cut_off_is_read_anew_and_named_if_it_cannot_be(own):
    opened(make_datamodule(own))
    source = own / "tool" / "train.jsonl"
    os.truncate(source, source.stat().st_size - 10)

    with pytest.raises(DataError, match=r"tool/train\.jsonl, row 17 \(line 18\): not JSON"):
        opened(make_datamodule(own))
    source.unlink()
    with pytest.raises(DataError, match=r"tool/train\.jsonl"):
        opened(make_datamodule(own))


def test_a_source_that_changes_while_it_is_read_makes_no_cache(own):
    source = own / "qa" / "train.jsonl"
    whole = source.read_bytes()

    def cut_off(records, faults):
        os.truncate(source, 10)
        return train_batch(records, faults)

    with pytest.raises(DataError, match=r"changed while it was read \(start again when it is"):
        read_file(str(source), reading(cut_off), cache_dir=own / "cache")
    assert not list((own / "cache").glob("*.arrow"))
    source.write_bytes(whole)
    assert len(read_file(str(source), reading(), cache_dir=own / "cache")) == 23


@tried(60)
@given(data=st.data())
def test_a_cache_that_was_cut_off_between_runs_is_written_again(folder, data):
    cache = folder / "cut"
    source = str(folder / "qa" / "train.jsonl")
    rows = read_file(source, reading(), cache_dir=cache)[:]
    [cached] = cache.glob("*.arrow")
    whole = cached.read_bytes()

    os.truncate(cached, data.draw(st.integers(0, len(whole) - 1)))

    assert read_file(source, reading(), cache_dir=cache)[:] == rows
    assert cached.read_bytes() == whole


def test_a_cache_that_was_cut_off_before_its_last_rows_is_written_again(own, monkeypatch):
    monkeypatch.setattr("llm_embedder_data.rows.files.json_files.BLOCK_BYTES", 1000)
    source = str(own / "qa" / "train.jsonl")
    rows = read_file(source, reading(), cache_dir=own / "cache")[:]
    [cached] = (own / "cache").glob("*.arrow")
    whole = cached.read_bytes()
    # Where a batch begins: what comes before is a stream that reads as if it were whole.
    begins = [at.start() for at in re.finditer(rb"\xff\xff\xff\xff[^\x00]", whole)]
    assert len(begins) > 3

    for at in begins:
        os.truncate(cached, at)
        assert read_file(source, reading(), cache_dir=own / "cache")[:] == rows


CACHES = {"on-the-fly": "cache/*.arrow", "cached": "cache/tokens/*/*.bin"}


@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("train", 0),
        pytest.param("train", 1, marks=pytest.mark.slow),
        ("qa", 0),
        ("corpus/qa", 0),
    ],
)
@pytest.mark.parametrize("tokenize", CACHES)
def test_no_batch_is_made_of_a_cache_that_was_cut_off_meanwhile(
    folder, tmp_path, tokenize, name, workers
):
    """Though what is missing of its last page reads as zeros, without an error."""
    own = shutil.copytree(folder, tmp_path / "own", ignore=shutil.ignore_patterns("cache"))
    arguments = eval_arguments(own) | {"tokenize": tokenize, "num_workers": workers}
    datamodule = opened(make_datamodule(own, **arguments))
    loaders = {"train": datamodule.train_dataloader(), **datamodule.val_dataloader()}
    files = list(own.glob(CACHES[tokenize]))
    assert len(files) > 5
    for file in files:
        os.truncate(file, file.stat().st_size - 1)

    with pytest.raises(
        DataError, match=r"was truncated while it was in use.*start again, which wr"
    ):
        next(iter(loaders[name]))


@pytest.mark.parametrize("tokenize", CACHES)
def test_no_batch_that_was_read_after_a_cache_was_cut_off_is_given(folder, tmp_path, tokenize):
    own = shutil.copytree(folder, tmp_path / "own", ignore=shutil.ignore_patterns("cache"))
    datamodule = opened(make_datamodule(own, tokenize=tokenize))
    wanted = [digest(batch) for batch in datamodule.train_dataloader()]
    loader = datamodule.train_dataloader()
    batches = iter(loader)
    given = [digest(next(batches)) for _ in range(4)]

    for file in own.glob(CACHES[tokenize]):
        os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(DataError, match=r"was truncated while it was in use.* step \d"):
        # The batches of one epoch may have been read before.
        given.extend(map(digest, chain(batches, loader)))

    assert given == wanted[: len(given)]


@pytest.mark.parametrize("tokenize", CACHES)
def test_loaders_are_made_anew_without_the_caches_that_are_open(folder, tmp_path, tokenize):
    """As with ``reload_dataloaders_every_n_epochs``."""
    own = shutil.copytree(folder, tmp_path / "own", ignore=shutil.ignore_patterns("cache"))
    datamodule = opened(make_datamodule(own, **eval_arguments(own), tokenize=tokenize))
    before = seen_batches(datamodule)
    shutil.rmtree(own / "cache")

    assert seen_batches(datamodule) == before


def seen_batches(datamodule):
    """The row numbers of every batch of every loader, by loader."""
    loaders = {"train": datamodule.train_dataloader(), **datamodule.val_dataloader()}
    where = {name: "index" if name.startswith("corpus/") else "row" for name in loaders}
    return {
        name: [batch[where[name]].tolist() for batch in loader] for name, loader in loaders.items()
    }


def test_a_cache_that_is_cut_off_in_mid_run_ends_the_run_and_the_next_repairs_it(own):
    undisturbed = seen(make_datamodule(own))
    files = list(own.glob("cache/*.arrow"))
    # To nothing, so that what is read next ends the worker. One that has just read its rows refuses
    # to make them a batch.
    trainer = make_trainer(
        max_epochs=50, callbacks=[Loss(lambda file: os.truncate(file, 0), files)]
    )

    said = (
        r"it read a cache file that was truncated meanwhile, or |was truncated while it was in use"
    )
    with pytest.raises((RuntimeError, DataError), match=said):
        trainer.fit(Recorder(), datamodule=make_datamodule(own, num_workers=1, prefetch_factor=1))

    assert seen(make_datamodule(own)) == undisturbed


# -- the cache folder ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A source of 4 MB."""
    path = tmp_path_factory.mktemp("big") / "train.jsonl"
    with open(path, "w") as file:
        for i in range(2000):
            row = {"query": f"q {i} " * 100, "pos": [f"p {i} " * 100], "neg": [f"n {i} " * 100]}
            file.write(json.dumps(row) + "\n")
    return str(path)


def prepared(source, cache, **arguments):
    datamodule = make_datamodule(
        Path(source).parent, train_data=source, default_task="qa", cache_dir=cache, **arguments
    )
    datamodule.prepare_data()
    datamodule.setup("fit")
    return len(datamodule.train_dataloader())


def on_a_small_disk(source, cache):
    in_mounts_of_its_own()
    mount(b"tmpfs", cache, b"tmpfs", 0, b"size=1m")
    try:
        prepared(source, cache)
    except DataError as error:
        return str(error), sorted(file.suffix for file in cache.iterdir())


def with_small_files_only(source, cache):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        prepared(source, cache)
    except DataError as error:
        return str(error), sorted(file.suffix for file in cache.iterdir())


@pytest.mark.parametrize(
    ("limit", "code", "remedy"),
    [
        pytest.param(on_a_small_disk, errno.ENOSPC, "make room", marks=needs_mounts),
        (
            with_small_files_only,
            errno.EFBIG,
            "larger than the limit of this process (ulimit -f) or of the file system: raise it",
        ),
    ],
)
def test_a_full_disk_is_an_error_that_names_the_folder_and_leaves_no_half_file(
    big, tmp_path, limit, code, remedy
):
    sentence, left = in_a_process(limit, big, tmp_path)

    assert sentence == (
        f"{tmp_path}: the cache of {big} could not be written: {os.strerror(code)} "
        f"({remedy}, or give another data.cache_dir)"
    )
    assert set(left) == {".digest"}  # of the file, and of the shape that it has
    assert prepared(big, tmp_path) == 2000 // 4


def killed(path, n_before, n_batches):
    def build(records, faults):
        if n_before == len(n_batches):
            os.kill(os.getpid(), signal.SIGKILL)
        n_batches.append(1)
        return train_batch(records, faults)

    read_file(path, reading(build), cache_dir=Path(path).parent / "cache")


@pytest.mark.parametrize("n_before", [0, 1, 3])
def test_a_cache_half_written_by_a_killed_process_is_never_read_and_goes(
    own, monkeypatch, n_before
):
    monkeypatch.setattr("llm_embedder_data.rows.files.json_files.BLOCK_BYTES", 1000)
    source, cache = own / "qa" / "train.jsonl", own / "qa" / "cache"
    process = FORK.Process(target=killed, args=(str(source), n_before, []))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    [part] = cache.glob("*.part")
    os.utime(part, (time.time() - 600,) * 2)

    rows = read_file(str(source), reading(), cache_dir=cache)

    assert len(rows) == 23
    assert sorted(file.suffix for file in cache.iterdir()) == [".arrow", ".digest"]


def prepare_beside_others(source, cache, barrier, n_built):
    def build(records, faults):
        with n_built.get_lock():
            n_built.value += 1
        return train_batch(records, faults)

    barrier.wait()
    rows = read_file(source, reading(build), cache_dir=cache)
    assert len(rows) == 2000


@pytest.mark.parametrize("n_processes", [2, 4])
def test_of_processes_that_prepare_a_cache_at_once_one_does_the_work(big, tmp_path, n_processes):
    read_file(big, reading(), cache_dir=tmp_path / "alone")
    barrier, n_built = FORK.Barrier(n_processes), FORK.Value("i", 0)
    args = (big, tmp_path / "shared", barrier, n_built)
    processes = [FORK.Process(target=prepare_beside_others, args=args) for _ in range(n_processes)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)

    assert [process.exitcode for process in processes] == [0] * n_processes
    assert n_built.value == 1
    [alone], [cached] = ((tmp_path / name).glob("*.arrow") for name in ("alone", "shared"))
    assert cached.read_bytes() == alone.read_bytes()
    assert sorted(file.suffix for file in cached.parent.iterdir()) == [".arrow", ".digest"]


READ_ONLY = 1 << 5 | 1 << 0  # MS_REMOUNT, MS_RDONLY
BIND = 1 << 12


def read_only_folder(source, cache):
    in_mounts_of_its_own()
    mount(os.fsencode(cache), cache, None, BIND)
    mount(b"none", cache, None, BIND | READ_ONLY)
    return prepared(source, cache)


def as_nobody(source, cache):
    os.chmod(cache, 0o555)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    return prepared(source, cache)


@pytest.fixture
def visible(tmp_path):
    """A folder that every user can look into."""
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):  # one more under xdist
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path


@pytest.mark.parametrize(
    "read_only", [pytest.param(read_only_folder, marks=needs_mounts), as_nobody]
)
def test_a_read_only_cache_folder_serves_when_it_is_complete_and_is_named_when_not(
    own, visible, read_only
):
    source, cache = str(own / "tool" / "train.jsonl"), visible / "cache"
    cache.mkdir()

    assert in_a_process(read_only, source, cache) == (
        f"DataError: {cache}: the cache cannot be written: it is read-only, or another user's "
        "(give another data.cache_dir)"
    )
    cache.chmod(0o755)
    assert prepared(source, cache) == 18 // 4
    before = sorted(cache.iterdir())
    assert in_a_process(read_only, source, cache) == 18 // 4
    assert sorted(cache.iterdir()) == before
