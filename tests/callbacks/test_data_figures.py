"""DataFigures logs what the data path did, and says when training waits for it."""

import csv
import json
import time
import warnings

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from processes import returned, run_on_ranks
from transformers import AutoTokenizer

from llm_embedder_data import ConfigError, RetrievalDataCollator, RetrievalDataModule
from llm_embedder_data.callbacks.batch_counts import BatchCounts
from llm_embedder_data.callbacks.data_figures import DataFigures
from llm_embedder_data.datamodule.resume.training_loader import renew_training_loader


class Model(lightning.LightningModule):
    """Trains one parameter; may take its time."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seconds = seconds
        self.batches = []

    def training_step(self, batch, batch_idx):
        self.batches.append(batch)
        time.sleep(self.seconds)
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        time.sleep(self.seconds)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


@pytest.fixture
def make_data(minilm, tmp_path):
    """A data module of two tasks: 16 rows of qa, 8 of tool, every second one with two positives."""
    for task, n_rows in (("qa", 16), ("tool", 8)):
        rows = [
            {"query": f"{task} {i} " + "word " * i, "pos": [f"p {i}"], "neg": [f"n {i}"]}
            for i in range(n_rows)
        ]
        text = "".join(json.dumps(row | {"task": task}) + "\n" for row in rows)
        (tmp_path / f"{task}.jsonl").write_text(text)

    def make(**arguments):
        settings = {
            "train_data": {task: f"{tmp_path}/{task}.jsonl" for task in ("qa", "tool")},
            "batch_size": 4,
            "train_group_size": 2,
            "num_workers": 0,
            "cache_dir": tmp_path / "cache",
        }
        return RetrievalDataModule(AutoTokenizer.from_pretrained(minilm), **(settings | arguments))

    return make


@pytest.fixture
def fit(tmp_path):
    """Fit with the callback; return the model, the trainer and what was logged, by step."""

    def call(data, callback, model=None, others=(), **settings):
        model = model or Model()
        folder = tmp_path / f"logs-{time.monotonic_ns()}"
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            logger=CSVLogger(folder, name=None, version="logs"),
            callbacks=[callback, *others],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"max_epochs": 1} | {k: v for k, v in settings.items() if k != "ckpt_path"},
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.fit(model, datamodule=data, ckpt_path=settings.get("ckpt_path"))
        trainer.logger.save()
        with (folder / "logs/metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row.get("data/tokens_per_s")]
        said = [str(one.message) for one in caught if "waiting for data" in str(one.message)]
        return model, trainer, rows, said

    return call


def test_the_figures_are_those_of_the_batches(make_data, fit):
    model, _, rows, _ = fit(make_data(), DataFigures(every_n_steps=2))

    assert [int(row["step"]) for row in rows] == [1, 3, 5]
    for number, row in enumerate(rows):
        own = model.batches[2 * number : 2 * number + 2]
        masks = [batch[side]["attention_mask"] for batch in own for side in ("query", "key")]
        padded = 1 - sum(mask.sum() for mask in masks) / sum(mask.numel() for mask in masks)
        assert float(row["data/padded_share"]) == pytest.approx(float(padded))
        assert float(row["data/tokens_per_s"]) > 0
        assert float(row["data/wait_s"]) > 0
        assert 0 < float(row["data/wait_share"]) <= 1
    last = rows[-1]
    assert float(last["data/share/qa"]) == pytest.approx(4 / 6)
    assert float(last["data/share/tool"]) == pytest.approx(2 / 6)
    assert float(last["data/coverage"]) == 1
    assert float(rows[0]["data/coverage"]) == pytest.approx(8 / 24)


@pytest.mark.parametrize("layout", ["packed", "chunked"])
def test_every_layout_has_the_same_tokens(make_data, layout):
    counts = []
    for settings in ({"layout": "padded"}, {"layout": layout, "chunk_size": 2}):
        data = make_data(**settings)
        data.prepare_data()
        data.setup("fit")
        counts.append([BatchCounts.of(batch) for batch in data.train_dataloader()])

    assert [one.tokens for one in counts[0]] == [one.tokens for one in counts[1]]
    cells = [sum(one.cells for one in each) for each in counts]
    assert cells[1] < cells[0]
    assert layout != "packed" or cells[1] == sum(one.tokens for one in counts[1])


def test_pairs_of_a_cross_encoder_are_counted(make_data, fit):
    model, _, rows, _ = fit(make_data(cross=True), DataFigures(every_n_steps=6))

    tokens = sum(int(batch["cross"]["attention_mask"].sum()) for batch in model.batches)
    cells = sum(batch["cross"]["input_ids"].numel() for batch in model.batches)
    assert float(rows[0]["data/padded_share"]) == pytest.approx(1 - tokens / cells)


def test_keys_that_are_known_positives_of_other_queries_are_counted(make_data):
    rows = [{"query": f"q {i}", "pos": ["same"], "neg": [f"n {i}"]} for i in range(4)]
    data = make_data(train_data=rows)
    data.prepare_data()
    data.setup("fit")

    [batch] = data.train_dataloader()

    assert BatchCounts.of(batch).known_positives == 4 * 3


def test_negatives_that_limits_reject_are_counted(make_data, fit):
    rows = [
        {"query": f"q {i}", "pos": ["p"], "neg": ["n", "m"], "teacher_scores": [1.0, 0.9, 0.1]}
        for i in range(8)
    ]

    _, _, seen, _ = fit(make_data(train_data=rows, max_score=0.5), DataFigures(2))

    assert {float(row["data/rejected_negatives"]) for row in seen} == {8.0}


def test_coverage_goes_on_after_a_resume(make_data, fit, tmp_path):
    _, trainer, _, _ = fit(make_data(), DataFigures(2), max_steps=3)
    trainer.save_checkpoint(tmp_path / "last.ckpt")

    last = tmp_path / "last.ckpt"
    _, _, rows, _ = fit(make_data(), DataFigures(1), ckpt_path=last, max_epochs=-1, max_steps=6)

    assert [float(row["data/coverage"]) for row in rows] == pytest.approx(
        [16 / 24, 20 / 24, 24 / 24]
    )
    assert float(rows[-1]["data/share/qa"]) == pytest.approx(4 / 6)


class Saved(lightning.Callback):
    """A checkpoint after each step, as ModelCheckpoint(every_n_train_steps=1) makes it."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def padded(batches):
    masks = [batch[side]["attention_mask"] for batch in batches for side in ("query", "key")]
    return float(1 - sum(mask.sum() for mask in masks) / sum(mask.numel() for mask in masks))


@pytest.mark.parametrize("n_done", [2, 6, 7])  # inside an epoch, at its end, inside the next
def test_all_batches_after_a_resume_are_counted(make_data, fit, tmp_path, n_done):
    settings = {"max_epochs": 2}
    whole, _, _, _ = fit(make_data(), DataFigures(1), others=[Saved(tmp_path)], **settings)

    path = tmp_path / f"{n_done}.ckpt"
    model, _, rows, _ = fit(make_data(), DataFigures(1), ckpt_path=path, **settings)

    assert len(model.batches) == 12 - n_done
    assert [float(row["data/padded_share"]) for row in rows] == pytest.approx(
        [padded([batch]) for batch in model.batches]
    )
    for number, row in enumerate(rows):
        seen = whole.batches[: n_done + number + 1]
        n_rows = len({(batch["dataset"], i) for batch in seen for i in batch["row"].tolist()})
        assert float(row["data/coverage"]) == pytest.approx(n_rows / 24)
        n_qa = sum(batch["task"] == "qa" for batch in seen)
        assert float(row["data/share/qa"]) == pytest.approx(n_qa / len(seen))


class NewLoader(lightning.Callback):
    """Replaces the loader at the beginning of an epoch, as RefreshNegatives does."""

    def on_train_epoch_start(self, trainer, pl_module):
        renew_training_loader(trainer)


def test_the_first_batch_of_a_loader_that_another_callback_replaced_is_counted(make_data, fit):
    model, _, rows, _ = fit(make_data(), DataFigures(1), others=[NewLoader()], max_epochs=2)

    assert [float(row["data/padded_share"]) for row in rows] == pytest.approx(
        [padded([batch]) for batch in model.batches]
    )


def test_a_resumed_fit_that_has_made_no_step_keeps_what_was_seen(make_data, fit, tmp_path):
    _, trainer, _, _ = fit(make_data(), DataFigures(2), max_steps=3)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    before = torch.load(tmp_path / "last.ckpt")["callbacks"]["DataFigures"]

    resumed = DataFigures(2)
    resumed.load_state_dict(before)

    after = resumed.state_dict()
    assert sum(int(np.unpackbits(bits).sum()) for bits in before["seen"].values()) == 12
    assert after["steps of task"] == before["steps of task"]
    assert list(after["seen"]) == list(before["seen"])
    assert all(torch.equal(after["seen"][name], bits) for name, bits in before["seen"].items())


def test_a_fit_on_other_datasets_begins_anew(make_data, fit, tmp_path):
    callback = DataFigures(1)
    fit(make_data(), callback)

    other = make_data(train_data={"other": f"{tmp_path}/tool.jsonl"})
    _, _, [row], _ = fit(other, callback, max_steps=1)

    shown = {key: float(value) for key, value in row.items() if key.startswith("data/")}
    assert shown["data/coverage"] == shown["data/coverage/other"] == 4 / 8
    assert shown["data/share/tool"] == 1
    assert "data/share/qa" not in shown


def test_figures_and_losses_have_the_same_steps_with_accumulated_gradients(make_data, fit):
    _, trainer, rows, _ = fit(make_data(), DataFigures(4), max_epochs=2, accumulate_grad_batches=3)

    assert trainer.global_step == 4
    assert [int(row["step"]) for row in rows] == [0, 1, 3]
    assert float(rows[-1]["data/share/qa"]) == pytest.approx(8 / 12)
    assert float(rows[-1]["data/coverage"]) == 1


def test_a_run_that_waits_is_told_once_what_to_change(make_data, fit, monkeypatch):
    several = RetrievalDataCollator.several

    def slow(self, *arguments):
        for batch in several(self, *arguments):
            time.sleep(0.02)
            yield batch

    monkeypatch.setattr(RetrievalDataCollator, "several", slow)

    _, _, rows, said = fit(make_data(), DataFigures(2), max_epochs=2)

    assert len(said) == 1
    assert "set data.num_workers" in said[0]
    assert "data.tokenize=cached" in said[0]
    assert "data.layout=packed" in said[0]
    assert float(rows[-1]["data/wait_s"]) >= 0.02
    assert float(rows[-1]["data/wait_share"]) > 0.5


def test_a_run_that_computes_longer_is_told_nothing(make_data, fit):
    _, _, rows, said = fit(make_data(), DataFigures(2, warn_share=0.5), Model(seconds=0.05))

    assert said == []
    assert float(rows[-1]["data/wait_share"]) < 0.5


def test_validation_is_no_time_of_training(make_data, fit):
    rows = [{"query": f"q {i}", "pos": ["p"], "neg": ["n"]} for i in range(8)]
    data = make_data(eval_data=rows, eval_method="rerank", eval_batch_size=1)

    _, _, seen, _ = fit(data, DataFigures(2), Model(seconds=0.02), val_check_interval=1)

    seconds = [float(row["data/wait_s"]) / float(row["data/wait_share"]) for row in seen]
    assert max(seconds) < 8 * 0.02  # of a batch; a validation takes longer


@pytest.mark.parametrize(
    "arguments", [{"every_n_steps": 0}, {"every_n_steps": 1.5}, {"warn_share": 2}]
)
def test_arguments_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        DataFigures(**arguments)


def test_other_data_modules_are_refused(fit):
    loader = torch.utils.data.DataLoader([{"task": "qa"}])
    data = lightning.LightningDataModule.from_datasets([{"task": "qa"}])
    data.train_dataloader = lambda: loader

    with pytest.raises(ConfigError, match="DataFigures measures the batches of a Retrieval"):
        fit(data, DataFigures())


def same_counts(rows, others):
    """Whether two logs have the same figures, except for the times."""
    timed = ("data/tokens_per_s", "data/wait_s", "data/wait_share")
    return [
        [(name, value) for name, value in row.items() if name not in timed] for row in rows
    ] == [[(name, value) for name, value in row.items() if name not in timed] for row in others]


def test_batches_of_a_worker_have_the_same_figures(make_data, fit):
    settings = {"max_epochs": 2, "val_check_interval": 1.0}
    _, _, alone, _ = fit(make_data(), DataFigures(2), **settings)

    _, _, with_worker, said = fit(make_data(num_workers=1), DataFigures(2), **settings)

    assert len(alone) == 6
    assert same_counts(with_worker, alone)
    assert all(float(row["data/wait_s"]) > 0 for row in with_worker)
    assert all("set data.num_workers to" not in text for text in said)


def fit_on_rank(rank, folder, minilm, resumed):
    """Fit on two ranks, of which the second waits for its data; return what a rank knows."""
    if rank == 1:
        several = RetrievalDataCollator.several

        def slow(self, *arguments):
            for batch in several(self, *arguments):
                time.sleep(0.05)
                yield batch

        RetrievalDataCollator.several = slow
    data = RetrievalDataModule(
        AutoTokenizer.from_pretrained(minilm),
        train_data={task: f"{folder}/{task}.jsonl" for task in ("qa", "tool")},
        batch_size=2,
        train_group_size=2,
        num_workers=0,
        cache_dir=folder / "cache",
    )
    model = Model()
    logger = CSVLogger(folder / f"logs-{resumed}-of-{rank}", name=None, version="logs")
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=logger,
        callbacks=[DataFigures(2)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=-1,
        max_steps=6 if resumed else 4,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(model, datamodule=data, ckpt_path=folder / "4.ckpt" if resumed else None)
    trainer.save_checkpoint(folder / "4.ckpt")
    logger.save()
    file = folder / f"logs-{resumed}-of-{rank}/logs/metrics.csv"
    rows = list(csv.DictReader(file.read_text().splitlines())) if file.is_file() else []
    masks = [[b[side]["attention_mask"] for side in ("query", "key")] for b in model.batches]
    cells = [(int(sum(m.sum() for m in both)), sum(m.numel() for m in both)) for both in masks]
    said = [str(one.message) for one in caught if "waiting for data" in str(one.message)]
    return cells, [row for row in rows if row.get("data/tokens_per_s")], said


@pytest.mark.slow
@pytest.mark.ranks
def test_on_ranks_the_log_is_of_rank_0_and_coverage_of_all(make_data, minilm, tmp_path):
    make_data()  # writes the files

    begun = returned(run_on_ranks(fit_on_rank, 2, tmp_path, tmp_path, minilm, False))
    rest = returned(run_on_ranks(fit_on_rank, 2, tmp_path, tmp_path, minilm, True))

    (cells, rows, _), (other_cells, nothing, said) = begun
    assert nothing == []
    assert cells != other_cells
    for number, row in enumerate(rows):
        tokens, all_cells = map(sum, zip(*cells[2 * number : 2 * number + 2], strict=True))
        assert float(row["data/padded_share"]) == pytest.approx(1 - tokens / all_cells)
    # A step has 4 of the 24 rows over both ranks.
    assert [float(row["data/coverage"]) for row in rows] == pytest.approx([8 / 24, 16 / 24])
    assert [float(row["data/coverage"]) for row in rest[0][1]] == [1.0]
    assert float(rest[0][1][0]["data/share/qa"]) == pytest.approx(4 / 6)
    assert len(said) == 1
    assert said[0].startswith("rank 1: ")
