"""Loops without a Trainer, Fabric's and one's own, train on the batches of the plan."""

import os
import warnings

import lightning
import pytest
import torch.distributed as dist
from datamodule_cases import batches, eval_arguments, make_datamodule, opened
from processes import Failure, returned, run_on_ranks
from slow_cases import mostly_slow

pytestmark = pytest.mark.ranks

EPOCHS = 3
EVERY_ROW = {"qa": 7, "tool": 4, "corpus/qa": 17, "corpus/tool": 5}


def fabric_loop(rank, folder, n_ranks, use_distributed_sampler):
    """What a rank trained on in each step, and evaluated; and what was warned of."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        strategy = "ddp" if n_ranks > 1 else "auto"
        fabric = lightning.Fabric(accelerator="cpu", devices=n_ranks, strategy=strategy)
        fabric.launch()
        datamodule = make_datamodule(folder, batch_size=4 // n_ranks, **eval_arguments(folder))
        datamodule.prepare_data()
        datamodule.setup()
        evals = datamodule.val_dataloader()
        loader, *shards = fabric.setup_dataloaders(
            datamodule.train_dataloader(),
            *evals.values(),
            use_distributed_sampler=use_distributed_sampler,
        )
        trained = [
            (batch["dataset"], tuple(batch["row"].tolist()))
            for _ in range(EPOCHS)
            for batch in loader
        ]
    evaluated = [
        (name, number)
        for name, shard in zip(evals, shards, strict=True)
        for batch in shard
        for number in batch.get("index", batch.get("row")).tolist()
    ]
    said = [str(one.message) for one in found if "/lightning/" in one.filename]
    return trained, evaluated, said


def assert_shares_of_the_plan(folder, ranks):
    datamodule = opened(make_datamodule(folder))
    plan = [step for epoch in range(EPOCHS) for step in datamodule.plan(epoch)]

    for trained in ranks:
        assert [dataset for dataset, _ in trained] == [dataset for dataset, _ in plan]
    together = [sum((rows for _, rows in shares), ()) for shares in zip(*ranks, strict=True)]
    assert together == [tuple(rows.tolist()) for _, rows in plan]


@pytest.mark.parametrize("use_distributed_sampler", mostly_slow([True, False], True))
@pytest.mark.parametrize("n_ranks", mostly_slow([1, 2], 2))
def test_fabric_trains_on_the_plan_and_evaluates_each_row_once(
    folder, tmp_path, n_ranks, use_distributed_sampler
):
    arguments = (folder, n_ranks, use_distributed_sampler)
    ranks = returned(run_on_ranks(fabric_loop, n_ranks, tmp_path, *arguments))

    assert_shares_of_the_plan(folder, [trained for trained, _, _ in ranks])
    assert sorted(row for _, evaluated, _ in ranks for row in evaluated) == sorted(
        (name, number) for name, n_rows in EVERY_ROW.items() for number in range(n_rows)
    )
    assert not any(said for _, _, said in ranks)


CONNECT = ("before setup", "after setup", "after the loader")


def plain_loop(rank, folder, n_ranks, connect, store):
    """What a rank trains on whose loop calls init_process_group() early or late."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(n_ranks)}

    def reached(place):
        if place == connect:
            dist.init_process_group(
                "gloo", init_method=f"file://{store}", rank=rank, world_size=n_ranks
            )

    if connect != "after the loader":
        del os.environ["RANK"], os.environ["WORLD_SIZE"]  # as where no torchrun set them
    datamodule = make_datamodule(folder, batch_size=4 // n_ranks)
    reached("before setup")
    opened(datamodule)
    reached("after setup")
    loader = datamodule.train_dataloader()
    reached("after the loader")
    trained = []
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)
        trained += [(batch["dataset"], tuple(batch["row"].tolist())) for batch in loader]
    return trained


@pytest.mark.parametrize("connect", mostly_slow(CONNECT, "after setup", "after the loader"))
@pytest.mark.parametrize("n_ranks", mostly_slow([1, 2], 2))
def test_a_plain_loop_trains_on_the_plan_whenever_its_ranks_connect(
    folder, tmp_path, n_ranks, connect
):
    arguments = (folder, n_ranks, connect, tmp_path / "store")
    ranks = returned(run_on_ranks(plain_loop, n_ranks, tmp_path, *arguments, connect=False))

    assert_shares_of_the_plan(folder, ranks)


def connect_late_and_disagree(rank, folder, store):
    datamodule = opened(make_datamodule(folder, batch_size=2, seed=rank))
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    return batches(datamodule)


def test_ranks_that_connect_late_and_disagree_stop_before_the_first_batch(folder, tmp_path):
    arguments = (folder, tmp_path / "store")
    results = run_on_ranks(
        connect_late_and_disagree, 2, tmp_path, *arguments, timeout=60, connect=False
    )

    for result in results:
        assert isinstance(result, Failure)
        assert "ranks do not agree on seed\n  rank 0: 0\n  rank 1: 1" in result
