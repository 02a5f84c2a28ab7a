"""Real ranks train on one task at a time, on different rows, and stop together if they disagree."""

import warnings

import numpy as np
import pytest
from datamodule_cases import (
    Recorder,
    as_rank,
    batches,
    eval_arguments,
    examples,
    make_datamodule,
    make_trainer,
    opened,
    write_train,
)
from processes import Failure, returned, run_on_ranks

pytestmark = pytest.mark.ranks

EPOCHS = 3
GLOBAL_BATCH = 4


def fit_on_rank(rank, folder, n_ranks, flags):
    """For each ``use_distributed_sampler``: what the rank trained on, and what was warned of."""
    results = []
    for flag in flags:
        recorder = Recorder()
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            make_trainer(
                devices=n_ranks, strategy="ddp", use_distributed_sampler=flag, max_epochs=EPOCHS
            ).fit(
                recorder,
                datamodule=make_datamodule(
                    folder, batch_size=GLOBAL_BATCH // n_ranks, **eval_arguments(folder)
                ),
            )
        said = [str(one.message) for one in found if "/lightning/" in one.filename]
        results.append((recorder.trained, recorder.order, said))
    return results


def assert_one_task_and_no_row_twice(ranks, whole):
    """``ranks``: what each trained on; ``whole``: what one rank would, with the whole batch."""
    assert {tuple(trained) for trained in ranks} == {tuple(whole)}  # the same steps everywhere
    for at, (dataset, rows, _) in whole.items():
        shares = [trained[at] for trained in ranks]
        assert {share[0] for share in shares} == {dataset}
        together = [row for share in shares for row in share[1]]
        assert len(set(together)) == GLOBAL_BATCH
        assert tuple(together) == rows


def assert_rows_are_visited_equally_often(ranks):
    visits = {}
    for trained in ranks:
        for dataset, rows, _ in trained.values():
            for row in rows:
                visits.setdefault(dataset, {}).setdefault(row, 0)
                visits[dataset][row] += 1
    assert {name: len(rows) for name, rows in visits.items()} == {"qa": 23, "tool": 18, "chat": 8}
    for rows in visits.values():
        assert np.ptp(list(rows.values())) <= 1


@pytest.fixture(scope="module")
def whole(folder):
    recorder = Recorder()
    make_trainer(max_epochs=EPOCHS).fit(recorder, datamodule=make_datamodule(folder))
    return recorder.trained


@pytest.mark.parametrize("n_ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_ranks_share_each_task_and_no_row_with_and_without_lightnings_sampler(
    folder, tmp_path, whole, n_ranks
):
    flags = (True, False)
    results = returned(run_on_ranks(fit_on_rank, n_ranks, tmp_path, folder, n_ranks, flags))

    for flag in range(len(flags)):
        ranks = [result[flag][0] for result in results]
        assert_one_task_and_no_row_twice(ranks, whole)
        assert_rows_are_visited_equally_often(ranks)
        for result in results:
            assert [dataset for dataset, _, _ in result[flag][0].values()] == result[flag][1]
            warned = [
                one for one in result[flag][2] if "sampler" in one.lower() or "resum" in one.lower()
            ]
            assert not warned


# -- global batches whatever the number of ranks --------------------------------------------------


@pytest.mark.parametrize("n_ranks", [2, 4])
@pytest.mark.parametrize("method", ["epoch", "epoch-static", "epoch-random", "random"])
def test_the_global_batch_is_the_same_on_any_number_of_ranks_token_for_token(
    folder, n_ranks, method
):
    whole = batches(opened(make_datamodule(folder, organize_method=method)), epoch=2)
    shares = [
        batches(
            opened(
                as_rank(
                    make_datamodule(
                        folder, batch_size=GLOBAL_BATCH // n_ranks, organize_method=method
                    ),
                    rank,
                    n_ranks,
                )
            ),
            epoch=2,
        )
        for rank in range(n_ranks)
    ]

    for step, batch in enumerate(whole):
        together = {}
        for share in shares:
            assert share[step]["dataset"] == batch["dataset"]
            together |= examples(share[step])
        assert together == examples(batch)


# -- ranks that disagree --------------------------------------------------------------------------


def disagreements(folder, other):
    """{name: (arguments of rank 0, of rank 1, what both errors say)}."""
    qa = {"qa": str(folder / "qa" / "train.jsonl")}
    tool = {"tool": str(folder / "tool" / "train.jsonl")}
    evals = eval_arguments(folder)
    return {
        "seed": ({"seed": 1}, {"seed": 2}, ["do not agree on seed", "rank 0: 1", "rank 1: 2"]),
        "group size": ({}, {"train_group_size": 4}, ["train_group_size", "rank 1: 4"]),
        "a file's content": (
            {},
            {"train_data": qa | {"qa": str(other)}},
            ["dataset qa, files", "rank 1:"],
        ),
        "order": ({"train_data": qa | tool}, {"train_data": tool | qa}, ["datasets", "rank 1:"]),
        "eval file": (
            evals,
            evals | {"eval_data": {"qa": str(other.with_name("eval.jsonl"))}},
            ["eval set qa", "rank 1:"],
        ),
        "no file on rank 1": (
            {},
            {"train_data": "/nowhere/train.jsonl"},
            ["rank 1: /nowhere/train.jsonl", "no such file"],
        ),
        "no file on rank 0": (
            {"train_data": "/nowhere/train.jsonl"},
            {},
            ["rank 0: /nowhere/train.jsonl", "no such file"],
        ),
        "no tokenizer on rank 0": (
            {"tokenizer": "/nowhere/tokenizer"},
            {},
            ["rank 0: data.tokenizer='/nowhere/tokenizer'"],
        ),
        "no file at all": (
            {"train_data": "/nowhere/train.jsonl"},
            {"train_data": "/nowhere/train.jsonl"},
            ["/nowhere/train.jsonl", "no such file"],
        ),
        "too few rows": ({"batch_size": 9}, {"batch_size": 9}, ["'chat' has 8 rows, fewer than"]),
    }


def fit_disagreeing(rank, folder, other):
    said = {}
    for name, (*arguments, _) in disagreements(folder, other).items():
        settings = {"batch_size": 2} | arguments[rank]
        trainer = make_trainer(devices=2, strategy="ddp", max_epochs=1)
        try:
            trainer.fit(Recorder(), datamodule=make_datamodule(folder, **settings))
            said[name] = "trained"
        except Exception as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def test_ranks_that_disagree_stop_together_and_name_the_rank_and_the_item(folder, tmp_path):
    other = write_train(tmp_path / "train.jsonl", "qa", 23, scored=True, n_neg=8)
    (tmp_path / "eval.jsonl").write_text((folder / "qa" / "eval.jsonl").read_text() * 2)

    results = run_on_ranks(fit_disagreeing, 2, tmp_path, folder, other, timeout=120)

    assert not any(isinstance(result, Failure) for result in results)
    for name, (*_, sentences) in disagreements(folder, other).items():
        for rank, said in enumerate(results):
            for sentence in sentences:
                assert sentence in said[name], f"{name}, rank {rank}: {said[name]}"


def test_ranks_without_a_trainer_are_found_in_the_process_group(folder, tmp_path, whole):
    results = returned(run_on_ranks(plain_loop, 2, tmp_path, folder))

    together = [(one[0], one[1] + two[1]) for one, two in zip(*results, strict=True)]
    assert together == [seen[:2] for at, seen in whole.items() if at[0] == 1]


def plain_loop(rank, folder):
    datamodule = opened(make_datamodule(folder, batch_size=2))
    return [(b["dataset"], tuple(b["row"].tolist())) for b in batches(datamodule, epoch=1)]
