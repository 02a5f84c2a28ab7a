"""Lightning's own switches do with the data module what they say."""

import warnings

import lightning
import pytest
from datamodule_cases import (
    EVAL_BATCH_SIZE,
    STEPS,
    Recorder,
    as_rank,
    batches,
    eval_arguments,
    make_datamodule,
    make_trainer,
    opened,
    seen_batch,
)
from lightning.pytorch.strategies import DDPStrategy
from processes import returned, run_on_ranks
from slow_cases import mostly_slow

EVALUATIONS = ("validate", "test", "predict")
ADVICE = ("many workers", "treespec", "logging interval", "`srun` command")


class TrainOnly(Recorder):
    """A model that cannot validate."""

    validation_step = lightning.LightningModule.validation_step


def fit(folder, data=None, model=Recorder, **trainer):
    """(recorder, what Lightning warned of)."""
    recorder = model()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        datamodule = make_datamodule(folder, **(data or {}))
        make_trainer(**trainer).fit(recorder, datamodule=datamodule)
    said = [str(one.message) for one in found if "/lightning/" in one.filename]
    return recorder, [one for one in said if not any(advice in one for advice in ADVICE)]


@pytest.fixture(scope="module")
def plain(folder):
    return fit(folder)[0].trained


@pytest.mark.parametrize("sanity", [0, 1])
@pytest.mark.parametrize("model", [Recorder, TrainOnly])
@pytest.mark.parametrize("evals", [False, True])
def test_a_run_is_warned_of_nothing_but_of_eval_data_that_the_model_cannot_use(
    folder, evals, model, sanity
):
    data = eval_arguments(folder) if evals else {}

    recorder, said = fit(folder, data, model, num_sanity_val_steps=sanity)

    assert len(recorder.trained) == 3 * STEPS
    assert bool(recorder.evaluated) == (evals and model is Recorder)
    in_vain = "You passed in a `val_dataloader` but have no `validation_step`. Skipping val loop."
    assert said == ([in_vain] if evals and model is TrainOnly else [])


# flags: steps trained in each epoch, optimizer steps, steps trained before each validation
EVERY, AT_EPOCHS_ENDS = (STEPS,) * 3, [11, 22, 33]
FLAGS = [
    ({}, EVERY, 33, AT_EPOCHS_ENDS),
    ({"max_epochs": 2}, (11, 11), 22, [11, 22]),
    ({"max_epochs": 0}, (), 0, []),
    ({"max_steps": 15}, (11, 4), 15, [11]),
    ({"max_steps": 15, "max_epochs": -1}, (11, 4), 15, [11]),
    ({"max_steps": 5, "accumulate_grad_batches": 3}, (11, 3), 5, [11]),
    ({"max_time": "00:01:00:00"}, EVERY, 33, AT_EPOCHS_ENDS),
    ({"accumulate_grad_batches": 3}, EVERY, 12, AT_EPOCHS_ENDS),
    ({"limit_train_batches": 4}, (4, 4, 4), 12, [4, 8, 12]),
    ({"limit_train_batches": 0.5}, (5, 5, 5), 15, [5, 10, 15]),
    ({"limit_train_batches": 1.0}, EVERY, 33, AT_EPOCHS_ENDS),
    ({"limit_train_batches": 99}, EVERY, 33, AT_EPOCHS_ENDS),
    ({"limit_train_batches": 0}, (), 0, []),
    ({"overfit_batches": 3}, (3, 3, 3), 9, [3, 6, 9]),
    ({"overfit_batches": 0.5}, (5, 5, 5), 15, [5, 10, 15]),
    ({"overfit_batches": 1.0}, EVERY, 33, AT_EPOCHS_ENDS),
    ({"fast_dev_run": True}, (1,), 1, [1]),
    ({"fast_dev_run": 4}, (4,), 4, [4]),
    ({"val_check_interval": 4}, EVERY, 33, [4, 8, 15, 19, 26, 30]),
    ({"val_check_interval": 0.5}, EVERY, 33, [5, 10, 16, 21, 27, 32]),
    (
        {"val_check_interval": 8, "check_val_every_n_epoch": None},
        EVERY,
        33,
        [8, 16, 24, 32],
    ),
    ({"check_val_every_n_epoch": 2}, EVERY, 33, [22]),
    ({"limit_val_batches": 1}, EVERY, 33, AT_EPOCHS_ENDS),
    ({"limit_val_batches": 0}, EVERY, 33, []),
    ({"num_sanity_val_steps": 2}, EVERY, 33, [0, *AT_EPOCHS_ENDS]),
    ({"num_sanity_val_steps": -1}, EVERY, 33, [0, *AT_EPOCHS_ENDS]),
    ({"reload_dataloaders_every_n_epochs": 1}, EVERY, 33, AT_EPOCHS_ENDS),
    ({"reload_dataloaders_every_n_epochs": 2}, EVERY, 33, AT_EPOCHS_ENDS),
    ({"use_distributed_sampler": False}, EVERY, 33, AT_EPOCHS_ENDS),
    ({"barebones": True}, EVERY, 33, AT_EPOCHS_ENDS),
    (
        {
            "limit_train_batches": 7,
            "accumulate_grad_batches": 2,
            "reload_dataloaders_every_n_epochs": 1,
        },
        (7, 7, 7),
        12,
        [7, 14, 21],
    ),
    ({"limit_train_batches": 0.5, "val_check_interval": 0.5}, (5, 5, 5), 15, [2, 4, 7, 9, 12, 14]),
    (
        {
            "overfit_batches": 3,
            "accumulate_grad_batches": 2,
            "reload_dataloaders_every_n_epochs": 1,
        },
        (3, 3, 3),
        6,
        [3, 6, 9],
    ),
    (
        {"max_steps": 27, "max_epochs": -1, "val_check_interval": 5}
        | {"check_val_every_n_epoch": None},
        (11, 11, 5),
        27,
        [5, 10, 15, 20, 25],
    ),
]


class Validating(Recorder):
    """Also keeps how many steps were trained before each validation."""

    def __init__(self):
        super().__init__()
        self.validated_after = []

    def on_validation_start(self):
        self.validated_after.append(len(self.order))


def fit_with_flags(folder, flags, n_ranks):
    """What this rank trained on, optimizer steps, validations, and warnings."""
    sizes = {"batch_size": 4 // n_ranks, "eval_batch_size": 2 // n_ranks}
    data = eval_arguments(folder) | sizes
    ranks = {"devices": n_ranks, "strategy": "ddp"} if n_ranks > 1 else {}
    recorder, said = fit(folder, data, Validating, **ranks, **flags)
    rows = [rows for _, rows, _ in recorder.trained.values()]
    return recorder.order, rows, recorder.trainer.global_step, recorder.validated_after, said


def fit_with_each_flag(rank, folder, n_ranks):
    return [fit_with_flags(folder, flags, n_ranks) for flags, *_ in FLAGS]


@pytest.fixture(
    scope="module", params=[1, pytest.param(2, marks=[pytest.mark.ranks, pytest.mark.slow])]
)
def fitted(request, folder, tmp_path_factory):
    """A function: what each rank did, of one and of two, with the flags of a number."""
    if request.param == 1:
        return lambda number: [fit_with_flags(folder, FLAGS[number][0], 1)]
    path = tmp_path_factory.mktemp("ranks")
    ranks = returned(run_on_ranks(fit_with_each_flag, request.param, path, folder, request.param))
    return lambda number: [rank[number] for rank in ranks]


@pytest.fixture(scope="module")
def plans(folder):
    """The plans of three epochs, on one rank."""
    datamodule = opened(make_datamodule(folder))
    return [datamodule.plan(epoch) for epoch in range(3)]


# Flags whose effect another flag has too.
ALIKE = (
    {"max_steps": 15},
    {"max_time": "00:01:00:00"},
    {"limit_train_batches": 1.0},
    {"limit_train_batches": 99},
    {"overfit_batches": 1.0},
    {"fast_dev_run": True},
    {"limit_val_batches": 1},
    {"num_sanity_val_steps": -1},
    {"reload_dataloaders_every_n_epochs": 2},
)
NUMBERS = mostly_slow(range(len(FLAGS)), *(n for n, row in enumerate(FLAGS) if row[0] not in ALIKE))


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: str(FLAGS[number][0]))
def test_a_flag_trains_on_the_batches_of_the_plan_that_it_stands_for(fitted, plans, number):
    flags, n_steps, n_updates, validated_after = FLAGS[number]
    epochs = [0] * 3 if "overfit_batches" in flags else range(3)
    expected = [
        plans[epoch][step] for epoch, n in zip(epochs, n_steps, strict=False) for step in range(n)
    ]

    ranks = fitted(number)

    for tasks, *_ in ranks:
        assert tasks == [dataset for dataset, _ in expected]
    together = [sum(shares, ()) for shares in zip(*(rows for _, rows, *_ in ranks), strict=True)]
    assert together == [tuple(rows.tolist()) for _, rows in expected]
    for *_, updates, validated, said in ranks:
        assert (updates, validated, said) == (n_updates, validated_after, [])


@pytest.mark.parametrize("workers", mostly_slow([0, 2], 0))
@pytest.mark.parametrize("overfit", [3, 0.5])
def test_overfit_batches_repeats_the_first_batches_and_says_nothing(
    folder, plain, overfit, workers
):
    data = eval_arguments(folder) | {"num_workers": workers}
    recorder, said = fit(folder, data, overfit_batches=overfit)
    n_batches = overfit if overfit == 3 else 5

    first = [plain[0, step] for step in range(n_batches)]
    assert list(recorder.trained.values()) == first * 3
    assert recorder.evaluated
    assert said == []


@pytest.mark.parametrize("workers", [0, 1])
def test_reloading_the_loader_each_epoch_changes_nothing(folder, plain, workers):
    data = {"num_workers": workers}
    assert fit(folder, data, reload_dataloaders_every_n_epochs=1)[0].trained == plain


def run_one_module_again_and_again(rank, folder, n_ranks):
    """{run: what this rank trained on in it}, all of one data module."""
    sizes = {"batch_size": 4 // n_ranks, "eval_batch_size": 2}
    ranks = {"devices": n_ranks, "strategy": "ddp"} if n_ranks > 1 else {}
    datamodule = make_datamodule(folder, **eval_arguments(folder), **sizes)

    def trained(recorder):
        return [seen[:2] for seen in recorder.trained.values()]

    runs = {}
    for name in ("a trainer", "another trainer"):
        recorder = Recorder()
        make_trainer(**ranks).fit(recorder, datamodule=datamodule)
        runs[name] = trained(recorder)
    recorder, trainer = Recorder(), make_trainer(max_epochs=2, **ranks)
    trainer.fit(recorder, datamodule=datamodule)
    runs["two epochs"] = trained(recorder)
    for name in EVALUATIONS:
        getattr(trainer, name)(Recorder(), datamodule=datamodule)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(recorder, datamodule=datamodule)
    runs["on to the third epoch, after evaluating"] = trained(recorder)
    recorder = Recorder()
    make_trainer(max_steps=15, **ranks).fit(recorder, datamodule=datamodule)
    runs["fifteen steps"] = trained(recorder)
    recorder = Recorder()
    make_trainer(max_epochs=1, **ranks).fit(recorder, datamodule=datamodule)
    runs["a trainer after a run that stopped inside an epoch"] = trained(recorder)
    return runs


@pytest.mark.parametrize(
    "n_ranks", [1, pytest.param(2, marks=[pytest.mark.ranks, pytest.mark.slow])]
)
def test_each_run_of_one_module_begins_where_its_trainer_does(folder, plain, tmp_path, n_ranks):
    if n_ranks == 1:
        results = [run_one_module_again_and_again(0, folder, 1)]
    else:
        results = returned(
            run_on_ranks(run_one_module_again_and_again, n_ranks, tmp_path, folder, n_ranks)
        )

    whole = [seen[:2] for seen in plain.values()]
    for name, n_steps in {
        "a trainer": 33,
        "another trainer": 33,
        "two epochs": 22,
        "on to the third epoch, after evaluating": 33,
        "fifteen steps": 15,
        "a trainer after a run that stopped inside an epoch": 11,
    }.items():
        shares = zip(*(result[name] for result in results), strict=True)
        together = [(share[0][0], sum((rows for _, rows in share), ())) for share in shares]
        assert together == whole[:n_steps], name


def test_a_trainer_that_fits_again_after_an_exception_begins_its_epoch_anew(folder, plain):
    class Once(Recorder):
        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 4 and not self.loader_lengths[1:]:
                raise KeyError("once")

    datamodule, recorder, trainer = make_datamodule(folder), Once(), make_trainer()
    with pytest.raises(KeyError, match="once"):
        trainer.fit(recorder, datamodule=datamodule)
    assert len(recorder.trained) == 4

    trainer.fit(recorder, datamodule=datamodule)

    assert recorder.trained == plain
    assert len(recorder.order) == 4 + 3 * STEPS


def test_a_loop_without_a_trainer_gets_the_same_batches(folder, plain):
    datamodule = opened(make_datamodule(folder))

    for epoch in range(3):
        seen = [seen_batch(batch) for batch in batches(datamodule, epoch)]
        assert seen == [plain[epoch, step] for step in range(STEPS)]


def test_a_batch_size_that_is_set_later_holds(folder):
    datamodule = opened(make_datamodule(folder))
    datamodule.batch_size = 8  # as Lightning's batch-size finder does

    assert {len(batch["row"]) for batch in batches(datamodule)} == {8}


class LateDDP(DDPStrategy):
    """Restores after its setup, as FSDP and DeepSpeed do, which want a GPU (Lightning 2.6.6)."""

    restore_checkpoint_after_setup = True


class Saver(lightning.Callback):
    """Saves after some steps."""

    def __init__(self, paths):
        self.paths = paths

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step in self.paths:
            trainer.save_checkpoint(self.paths[trainer.global_step])


def resume_late(rank, folder, checkpoints):
    """What a rank trains on from the beginning, and from checkpoints at several steps."""

    def trained(ckpt_path=None, callbacks=()):
        recorder = Recorder(scheduled=True)  # so that the loader is there before the checkpoint is
        strategy = LateDDP(process_group_backend="gloo")
        trainer = make_trainer(devices=2, strategy=strategy, callbacks=list(callbacks))
        datamodule = make_datamodule(folder, batch_size=2)
        trainer.fit(recorder, datamodule=datamodule, ckpt_path=ckpt_path)
        return recorder.trained

    paths = {n_steps: checkpoints / f"{n_steps}.ckpt" for n_steps in (3, 11, 14, 22)}
    whole = trained(callbacks=[Saver(paths)])
    resumed = {n_steps: trained(ckpt_path=path) for n_steps, path in paths.items()}
    return list(whole.values()), {n: list(after.values()) for n, after in resumed.items()}


@pytest.mark.ranks
def test_a_strategy_that_restores_late_goes_on_where_it_stopped_on_two_ranks(folder, tmp_path):
    ranks = returned(run_on_ranks(resume_late, 2, tmp_path, folder, tmp_path))

    for whole, resumed in ranks:
        assert len(whole) == 3 * STEPS
        for n_steps, after in resumed.items():
            assert after == whole[n_steps:]


def evaluate(folder, **trainer):
    seen = {}
    for name in EVALUATIONS:
        datamodule, recorder = make_datamodule(folder, **eval_arguments(folder)), Recorder()
        one = make_trainer(**trainer)
        if name == "predict":
            one.predict(recorder, datamodule=datamodule, return_predictions=False)
        else:
            getattr(one, name)(recorder, datamodule=datamodule, verbose=False)
        seen[name] = sorted(
            (batch["dataset"], number)
            for batch in recorder.evaluated
            for number in batch.get("index", batch.get("row")).tolist()
        )
    return seen


def evaluate_on_rank(rank, folder, flag):
    return evaluate(folder, devices=2, strategy="ddp", use_distributed_sampler=flag)


def everything():
    """(dataset or corpus, row): a corpus is named like its eval set, and seen beside it."""
    rows = [("qa", row) for row in range(7)] + [("tool", row) for row in range(4)]
    passages = [("qa", row) for row in range(17)] + [("tool", row) for row in range(5)]
    return {"validate": sorted(rows + passages), "test": sorted(rows + passages)} | {
        "predict": sorted(passages)
    }


def test_each_kind_of_evaluation_runs_alone(folder):
    assert evaluate(folder) == everything()


@pytest.mark.ranks
@pytest.mark.parametrize("flag", mostly_slow([True, False], True))
def test_two_ranks_evaluate_each_row_once(folder, tmp_path, flag):
    first, second = returned(run_on_ranks(evaluate_on_rank, 2, tmp_path, folder, flag))

    for name, rows in everything().items():
        assert sorted(first[name] + second[name]) == rows
        # A batch a loader, as batches are the same on any number of ranks.
        assert abs(len(first[name]) - len(second[name])) <= 4 * EVAL_BATCH_SIZE


def one_row_on_two_ranks(rank, folder, path):
    data = eval_arguments(folder) | {"eval_data": {"qa": str(path)}, "batch_size": 2}
    recorder, _ = fit(folder, data, devices=2, strategy="ddp", max_epochs=1)
    queries = [batch for batch in recorder.evaluated if "row" in batch]
    return len(recorder.trained), [len(batch["row"]) for batch in queries]


@pytest.mark.ranks
def test_an_eval_set_of_fewer_rows_than_ranks_does_not_stop_a_run(folder, tmp_path):
    path = tmp_path / "one" / "eval.jsonl"
    path.parent.mkdir()
    path.write_text((folder / "qa" / "eval.jsonl").read_text().splitlines()[0] + "\n")

    first, second = returned(run_on_ranks(one_row_on_two_ranks, 2, tmp_path, folder, path))

    assert first[0] == second[0] == STEPS
    assert sorted([first[1], second[1]]) == [[0], [1]]  # a batch each, one without a row


def test_ranks_that_were_told_evaluate_shares_that_make_up_the_whole(folder):
    for n_ranks in (1, 2, 3):
        seen = []
        for rank in range(n_ranks):
            datamodule = make_datamodule(folder, **eval_arguments(folder))
            datamodule = opened(as_rank(datamodule, rank, n_ranks), "validate")
            for name, loader in datamodule.val_dataloader().items():
                for batch in loader:
                    numbers = batch.get("index", batch.get("row")).tolist()
                    seen += [(name, number) for number in numbers]
        assert sorted(seen) == sorted(
            [("qa", row) for row in range(7)]
            + [("tool", row) for row in range(4)]
            + [("corpus/qa", row) for row in range(17)]
            + [("corpus/tool", row) for row in range(5)]
        )
