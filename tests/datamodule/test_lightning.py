"""Lightning's own switches do with the data module what they say."""

import warnings

import lightning
import pytest
from datamodule_cases import (
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
from processes import returned, run_on_ranks

ADVICE = ("many workers", "treespec", "logging interval")


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


@pytest.mark.parametrize(("limit", "n_steps"), [(4, 4), (0.5, 5), (1.0, STEPS), (99, STEPS)])
def test_limit_train_batches_takes_the_first_of_each_epoch(folder, plain, limit, n_steps):
    limited, said = fit(folder, limit_train_batches=limit)

    assert limited.trained == {at: seen for at, seen in plain.items() if at[1] < n_steps}
    assert said == []


@pytest.mark.parametrize("workers", [0, 2])
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


def test_fast_dev_run_makes_one_step_of_each_kind(folder):
    recorder, said = fit(folder, eval_arguments(folder), fast_dev_run=True)

    assert list(recorder.trained) == [(0, 0)]
    assert len(recorder.evaluated) == 4  # two eval sets, two corpora
    assert said == []


@pytest.mark.parametrize("workers", [0, 1])
def test_reloading_the_loader_each_epoch_changes_nothing(folder, plain, workers):
    data = {"num_workers": workers}
    assert fit(folder, data, reload_dataloaders_every_n_epochs=1)[0].trained == plain


def test_max_steps_stops_inside_an_epoch(folder, plain):
    assert fit(folder, max_steps=15)[0].trained == dict(list(plain.items())[:15])


def test_several_fits_of_one_module_each_begin_at_the_beginning(folder, plain):
    datamodule = make_datamodule(folder)
    for _ in range(2):
        recorder = Recorder()
        make_trainer().fit(recorder, datamodule=datamodule)
        assert recorder.trained == plain


def test_a_trainer_that_fits_on_goes_on_with_the_next_epoch(folder, plain):
    datamodule, recorder = make_datamodule(folder), Recorder()
    trainer = make_trainer(max_epochs=2)

    trainer.fit(recorder, datamodule=datamodule)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(recorder, datamodule=datamodule)

    assert recorder.trained == plain


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


EVALUATIONS = ("validate", "test", "predict")


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
@pytest.mark.parametrize("flag", [True, False])
def test_two_ranks_evaluate_each_row_once(folder, tmp_path, flag):
    first, second = returned(run_on_ranks(evaluate_on_rank, 2, tmp_path, folder, flag))

    for name, rows in everything().items():
        assert sorted(first[name] + second[name]) == rows
        assert abs(len(first[name]) - len(second[name])) <= 4  # one a loader


def one_row_on_two_ranks(rank, folder, path):
    data = {"eval_data": str(path), "batch_size": 2}
    recorder, _ = fit(folder, data, devices=2, strategy="ddp", max_epochs=1)
    return len(recorder.trained), [len(batch["row"]) for batch in recorder.evaluated]


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
