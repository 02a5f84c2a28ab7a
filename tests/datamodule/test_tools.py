"""Tools of Lightning that set its counts back, or change what a fit does, train on the plan."""

import warnings

import lightning
import pytest
import torch
from datamodule_cases import (
    STEPS,
    TRAIN,
    Recorder,
    make_datamodule,
    make_trainer,
    opened,
    write_train,
)
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    LearningRateFinder,
    StochasticWeightAveraging,
)
from lightning.pytorch.tuner import Tuner
from slow_cases import mostly_slow

from llm_embedder_data import ConfigError

MODES = ("power", "binsearch")


class Limited(Recorder):
    """Has no room for more than some rows; keeps the first batch of each epoch."""

    def __init__(self, limit, scheduled=False):
        super().__init__(scheduled)
        self.limit, self.firsts, self.lr = limit, [], 0.1

    def training_step(self, batch, batch_idx):
        rows = tuple(batch["row"].tolist())
        if batch_idx == 0:
            self.firsts.append((batch["dataset"], rows))
        if len(rows) > self.limit:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        if not self.scheduled:
            return optimizer
        total = self.trainer.estimated_stepping_batches  # so that the loader is asked for early
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, total)]


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    """A file of 40 rows."""
    return str(write_train(tmp_path_factory.mktemp("forty") / "forty" / "train.jsonl", "qa", 40))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where Lightning keeps what it restores after a search


def first_of_plan(datamodule):
    name, rows = datamodule.plan()[0]
    return name, tuple(rows.tolist())


def searched(folder, model, data, trainer=None, **finder):
    """(size, data module, trainer, what the data module said)."""
    datamodule, trainer = make_datamodule(folder, **data), trainer or make_trainer()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        size = Tuner(trainer).scale_batch_size(
            model, datamodule=datamodule, **({"steps_per_trial": 2} | finder)
        )
    return size, datamodule, trainer, [str(one.message) for one in found]


def assert_fits_as_planned(datamodule, trainer):
    recorder = Recorder()
    trainer.fit(recorder, datamodule=datamodule)
    plan = [(name, tuple(rows.tolist())) for name, rows in datamodule.plan()]
    assert [seen[:2] for seen in recorder.trained.values()][: len(plan)] == plan


# Steps of a trial: inside an epoch, and beyond its end.
@pytest.mark.parametrize("steps", [2, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("scheduled", mostly_slow([False, True], True))
@pytest.mark.parametrize("mode", mostly_slow(MODES, "power"))
def test_the_batch_size_finder_finds_what_fits(folder, forty, mode, scheduled, steps):
    model = Limited(8, scheduled)

    size, datamodule, trainer, _ = searched(
        folder, model, {"train_data": forty}, mode=mode, steps_per_trial=steps, margin=0.0
    )

    assert size == datamodule.batch_size == datamodule.hparams.batch_size == 8
    sizes = [len(rows) for _, rows in model.firsts]
    for at, (_, rows) in enumerate(model.firsts):
        if at == 0 or sizes[at - 1] != len(rows):  # a trial begins where the fit does
            tried = opened(make_datamodule(folder, train_data=forty, batch_size=len(rows)))
            assert first_of_plan(tried) == (model.firsts[at][0], rows)
    assert_fits_as_planned(datamodule, trainer)


def test_the_finder_s_trials_begin_at_the_start_with_workers_too(folder, forty):
    model = Limited(8)

    size, datamodule, trainer, _ = searched(
        folder, model, {"train_data": forty, "num_workers": 1}, steps_per_trial=1, init_val=4
    )

    assert size == 8
    tried = opened(make_datamodule(folder, train_data=forty, batch_size=8))
    assert model.firsts[1] == first_of_plan(tried)
    assert_fits_as_planned(datamodule, trainer)


@pytest.mark.parametrize("small", mostly_slow(["error", "drop", "repeat"], "error"))
@pytest.mark.parametrize(
    ("mode", "largest"), [("power", 4), pytest.param("binsearch", 8, marks=pytest.mark.slow)]
)
def test_a_dataset_below_a_global_batch_ends_the_search(folder, mode, largest, small):
    size, datamodule, trainer, said = searched(
        folder,
        Limited(1000),
        {"small_datasets": small},
        mode=mode,
        init_val=2 if mode == "binsearch" else 1,
        max_trials=3 if mode == "power" else 25,
        margin=0.0,
    )

    assert size == datamodule.batch_size == largest
    if mode == "binsearch":
        [note] = [one for one in said if "search for a batch size" in one]
        assert "data.batch_size=16" in note
        assert "dataset 'chat' has 8 rows, fewer than one global batch" in note
    assert_fits_as_planned(datamodule, trainer)


@pytest.mark.slow
def test_the_largest_size_is_found_where_it_fits_the_rows_exactly(folder, forty):
    size, *_ = searched(
        folder, Limited(1000), {"train_data": forty}, mode="binsearch", margin=0.0, init_val=5
    )
    assert size == 40

    # An error of memory at the size of the whole dataset keeps Lightning 2.6 busy for ever, where a
    # loader says how long its dataset is.
    size, *_ = searched(
        folder, Limited(20), {"train_data": forty}, mode="binsearch", margin=0.0, init_val=5
    )
    assert size == 20


@pytest.mark.parametrize("mode", mostly_slow(MODES, "power"))
def test_a_search_leaves_datasets_out_that_have_a_batch_size_of_their_own(folder, forty, mode):
    own = {"path": forty, "batch_size": 12}
    train = {"own": own, "qa": str(folder / "qa" / "train.jsonl")}
    model = Limited(8)

    size, datamodule, _, said = searched(
        folder, model, {"train_data": train}, mode=mode, margin=0.0
    )

    assert size == 8
    assert {name for name, _ in model.firsts} == {"qa"}
    assert any("'own' (12); its trials train only on the other datasets" in one for one in said)
    assert datamodule.plan().batch_size == {"own": 12, "qa": 8}


@pytest.mark.parametrize("mode", mostly_slow(MODES, "power"))
def test_a_search_ends_where_no_dataset_follows_it(folder, forty, mode):
    train = {"own": {"path": forty, "batch_size": 5}}

    size, datamodule, trainer, said = searched(
        folder, Limited(8), {"train_data": train}, mode=mode, init_val=4, margin=0.0
    )

    assert size == 4
    assert any("it has nothing to search for" in one for one in said)
    assert_fits_as_planned(datamodule, trainer)


def test_a_finder_among_the_callbacks_searches_and_the_run_resumes_exactly(folder, forty, tmp_path):
    class Saver(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 7:
                trainer.save_checkpoint(tmp_path / "7.ckpt")

    def fit(size, callbacks, **settings):
        recorder, datamodule = Limited(8), make_datamodule(folder, train_data=forty, **size)
        trainer = make_trainer(callbacks=callbacks)
        trainer.fit(recorder, datamodule=datamodule, **settings)
        return list(recorder.trained.values()), datamodule

    finder = BatchSizeFinder(init_val=4, steps_per_trial=2)
    _, datamodule = fit({}, [finder, Saver()])
    whole, _ = fit({"batch_size": 8}, [])

    assert datamodule.batch_size == 8
    assert fit({"batch_size": 8}, [], ckpt_path=tmp_path / "7.ckpt")[0] == whole[7:]
    state = torch.load(tmp_path / "7.ckpt", weights_only=True)
    assert state["RetrievalDataModule"]["facts"]["dataset forty"]["global batch"] == 8
    assert state["datamodule_hyper_parameters"]["batch_size"] == 8
    with pytest.raises(ConfigError, match="must begin with a new fit"):
        fit({"batch_size": 8}, [BatchSizeFinder(init_val=4)], ckpt_path=tmp_path / "7.ckpt")


def test_evaluation_is_searched_by_its_own_size(folder):
    data = {"eval_data": str(folder / "qa" / "eval.jsonl")}

    class Evaluating(Recorder):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            if len(batch["row"]) > 3:
                raise RuntimeError("CUDA out of memory.")

    datamodule = make_datamodule(folder, corpus=str(folder / "qa" / "corpus.jsonl"), **data)
    tuner = Tuner(make_trainer())
    with pytest.raises(ConfigError, match="batch_arg_name='eval_batch_size'"):
        tuner.scale_batch_size(Evaluating(), datamodule=datamodule, method="validate")


def test_the_learning_rate_finder_leaves_the_run_at_its_start(folder):
    class Model(Limited):
        def __init__(self):
            super().__init__(1000)

    datamodule, model, trainer = make_datamodule(folder), Model(), make_trainer(max_epochs=2)
    Tuner(trainer).lr_find(model, datamodule=datamodule, num_training=15)

    assert model.firsts[0] == first_of_plan(datamodule)
    assert_fits_as_planned(datamodule, trainer)

    recorder = Model()
    callbacks = [LearningRateFinder(num_training_steps=15)]
    make_trainer(callbacks=callbacks, max_epochs=2).fit(recorder, datamodule=datamodule)
    plans = [one for epoch in range(2) for one in datamodule.plan(epoch)]
    last = list(recorder.trained.values())[-2 * STEPS :]
    assert [seen[:2] for seen in last] == [(name, tuple(rows.tolist())) for name, rows in plans]


@pytest.mark.parametrize("normalized", [False, True])  # whose running means SWA makes anew
def test_stochastic_weight_averaging_trains_on_the_plan(folder, normalized):
    class Model(Recorder):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(1)

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss + self.norm(torch.ones(4, 1)).sum()

    recorder, datamodule = (Model if normalized else Recorder)(), make_datamodule(folder)
    callbacks = [StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=1)]
    make_trainer(callbacks=callbacks).fit(recorder, datamodule=datamodule)

    plans = [one for epoch in range(3 + normalized) for one in datamodule.plan(epoch)]
    trained = [seen[:2] for seen in recorder.trained.values()]
    assert trained == [(name, tuple(rows.tolist())) for name, rows in plans]


def test_a_batch_size_set_between_epochs_holds_where_loaders_are_made_anew(folder, tmp_path):
    class Grow(lightning.Callback):
        def on_train_epoch_end(self, trainer, module):
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")
            trainer.datamodule.batch_size = 8

    def fit(reload, **settings):
        recorder, datamodule = Recorder(), make_datamodule(folder, **settings)
        make_trainer(
            callbacks=[Grow()], max_epochs=2, reload_dataloaders_every_n_epochs=reload
        ).fit(recorder, datamodule=datamodule)
        return [seen for at, seen in recorder.trained.items() if at[0] == 1]

    def written(epoch):
        state = torch.load(tmp_path / f"{epoch}.ckpt", weights_only=True)["RetrievalDataModule"]
        return {state["facts"][f"dataset {name}"]["global batch"] for name in TRAIN}

    assert {len(rows) for _, rows, _ in fit(1)} == {8}
    assert [written(0), written(1)] == [{4}, {8}]
    assert {len(rows) for _, rows, _ in fit(0)} == {4}  # the loaders are those of before
    assert [written(0), written(1)] == [{4}, {4}]


@pytest.mark.parametrize("case", ["overfitted", "epochs ended by the model"])
def test_runs_whose_epochs_are_no_whole_ones_resume_exactly(folder, tmp_path, case):
    class Early(Recorder):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 4 else None

    class Saver(lightning.Callback):
        n_saved = 0

        def save(self, trainer, *_):
            n_trained = len(trainer.lightning_module.order)
            trainer.save_checkpoint(tmp_path / f"{self.n_saved} {n_trained}.ckpt")
            self.n_saved += 1

        on_train_epoch_end = save

        def on_train_batch_end(self, trainer, *_):
            # After a step that a model left out, Lightning 2.6 numbers those of a resume by one
            # less, so that the model ends its epoch elsewhere.
            if case == "overfitted" or trainer.current_epoch == 0:
                self.save(trainer)

    def fit(callbacks, ckpt_path=None):
        recorder, datamodule = (
            (Recorder if case == "overfitted" else Early)(),
            make_datamodule(folder),
        )
        settings = {"overfit_batches": 4} if case == "overfitted" else {}
        trainer = make_trainer(callbacks=callbacks, **settings)
        trainer.fit(recorder, datamodule=datamodule, ckpt_path=ckpt_path)
        return list(recorder.trained.values())

    whole = fit([Saver()])
    assert len(whole) == 12
    paths = sorted(tmp_path.glob("*.ckpt"))
    assert len(paths) == (15 if case == "overfitted" else 7)
    for path in paths:
        assert fit([], path) == whole[int(path.stem.split()[1]) :], path.name


def test_a_finder_whose_trials_would_make_no_step_is_refused(folder, forty):
    class Later(BatchSizeFinder):
        def on_fit_start(self, trainer, pl_module):
            pass

        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                self.scale_batch_size(trainer, pl_module)

    datamodule = make_datamodule(folder, train_data=forty, batch_size=4)
    trainer = make_trainer(callbacks=[Later(init_val=4, steps_per_trial=2)])

    with pytest.raises(
        ConfigError, match=r"cannot try a size after step 10 of a fit.*end at step 2"
    ):
        trainer.fit(Limited(8), datamodule=datamodule)
