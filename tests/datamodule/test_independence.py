"""What a batch holds depends on data, arguments, seed, epoch and step, and on nothing else."""

import gc
import itertools
import re
from pathlib import Path

import psutil
import pytest
import torch
from datamodule_cases import (
    Recorder,
    batches,
    digest,
    eval_arguments,
    make_datamodule,
    make_trainer,
    opened,
    write_train,
)
from processes import returned, run_on_ranks
from torch.utils.data import DataLoader


def fit(folder, **arguments):
    recorder = Recorder()
    make_trainer(max_epochs=2).fit(recorder, datamodule=make_datamodule(folder, **arguments))
    return recorder.trained


@pytest.fixture(scope="module")
def expected(folder):
    return fit(folder)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_run_with_workers_is_the_run_without(folder, expected, workers):
    assert fit(folder, num_workers=workers, prefetch_factor=2) == expected


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_give_the_same_batches_however_they_start(folder, workers, persistent, method):
    ours = opened(make_datamodule(folder)).train_dataloader()
    loader = DataLoader(
        ours.dataset,
        sampler=ours.sampler,
        batch_size=None,
        collate_fn=ours.collate_fn,
        num_workers=workers,
        persistent_workers=persistent,
        multiprocessing_context=method,
    )

    for epoch in range(3):
        ours.sampler.set_epoch(epoch)
        assert [digest(batch) for batch in loader] == [digest(batch) for batch in ours]


def test_epochs_differ_in_order_and_in_negatives_and_a_seed_repeats_them(folder, expected):
    datamodule = opened(make_datamodule(folder, select_negative="random"))
    keys = [keys_of_rows(datamodule, epoch) for epoch in (0, 1)]
    both = keys[0].keys() & keys[1].keys()

    assert list(keys[0]) != list(keys[1])
    assert sum(keys[0][row][1:] != keys[1][row][1:] for row in both) > 0.8 * len(both)
    assert fit(folder) == expected
    assert fit(folder, seed=6) != expected


def keys_of_rows(datamodule, epoch=0):
    """{(dataset, row): hashes of its keys}."""
    return {
        (batch["dataset"], row): ids
        for batch in batches(datamodule, epoch)
        for row, ids in zip(
            batch["row"].tolist(), batch["key_id"].view(-1, 3).tolist(), strict=True
        )
    }


def test_another_seed_chooses_anew_from_a_cache_that_is_there(folder, tmp_path):
    settings = {"cache_dir": tmp_path / "cache"}
    first, second, again = (
        keys_of_rows(opened(make_datamodule(folder, seed=seed, **settings))) for seed in (1, 2, 1)
    )
    both = first.keys() & second.keys()

    assert first == again
    assert sum(first[row] != second[row] for row in both) > 0.8 * len(both)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pass_leaves_the_global_random_state_alone(folder, workers):
    datamodule = opened(make_datamodule(folder, num_workers=workers))
    before = torch.get_rng_state()

    assert len(list(datamodule.train_dataloader())) > 1

    assert torch.equal(torch.get_rng_state(), before)


def test_a_rows_choices_do_not_depend_on_the_rows_beside_it(folder):
    narrow, wide = (
        keys_of_rows(opened(make_datamodule(folder, batch_size=size, remainder="drop")))
        for size in (2, 8)
    )

    both = narrow.keys() & wide.keys()
    assert len(both) >= 30
    assert {row: narrow[row] for row in both} == {row: wide[row] for row in both}


def test_ten_eval_sets_do_not_start_ten_times_the_workers(folder):
    evals = eval_arguments(folder)
    many = {f"set{i}": evals["eval_data"]["qa"] for i in range(10)}
    counts = []

    class Counter(Recorder):
        def validation_step(self, *_, **__):
            counts.append(len(psutil.Process().children(recursive=True)))

    before = len(psutil.Process().children(recursive=True))
    datamodule = make_datamodule(
        folder, eval_data=many, corpus=evals["corpus"]["qa"], num_workers=1
    )
    make_trainer().validate(Counter(), datamodule=datamodule, verbose=False)

    assert len(counts) == 10 * 4 + 9
    assert max(counts) - before <= 3


def own_memory():
    """MiB of this process that no file backs: the pages of a mapped file are not its own."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"Anonymous: +(\d+) kB", rollup)[1]) / 1024


def used_memory(_, folder, path):
    """MiB of this process' own after each epoch of 100 steps, beyond what it had before."""
    used = []
    before = own_memory()
    settings = {"train_data": str(path), "cache_dir": str(path.parent), "batch_size": 50}
    loader = opened(make_datamodule(folder, **settings)).train_dataloader()
    for epoch in range(4):
        loader.sampler.set_epoch(epoch)
        for _ in itertools.islice(loader, 100):
            pass
        gc.collect()
        used.append(own_memory() - before)
    return used


@pytest.mark.slow
@pytest.mark.ranks
def test_memory_grows_neither_with_epochs_nor_with_rows(tmp_path):
    growth = {}
    for n_rows in (10_000, 100_000):
        path = write_train(tmp_path / str(n_rows) / "train.jsonl", "qa", n_rows, scored=True)
        for _ in range(2):  # the first time, it writes the cache
            (growth[n_rows],) = returned(run_on_ranks(used_memory, 1, tmp_path, tmp_path, path))

    for used in growth.values():
        assert used[-1] - used[0] < 8, growth  # MiB, over three epochs
    # 90,000 rows of 12 texts each: as Python objects they would be 100 MiB and more.
    assert growth[100_000][-1] - growth[10_000][-1] < 24, growth
