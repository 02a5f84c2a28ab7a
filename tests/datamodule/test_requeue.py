"""Under Slurm, a signal is answered between two steps, at the same one on all ranks."""

import os
import signal

import pytest
from datamodule_cases import TRAIN, Recorder, make_tokenizer, make_trainer, write_train
from processes import returned, run_on_ranks

from llm_embedder_data import RetrievalDataModule
from llm_embedder_data.callbacks.slurm_requeue import RequeueBetweenSteps

MET = 4  # batches that are trained on, the one in which the signal comes among them


class Met(Recorder):
    """Gets the signal within its fourth step, if it is this rank's turn."""

    def __init__(self, rank):
        super().__init__()
        self.rank, self.n_steps = rank, 0

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.n_steps += 1
        if self.n_steps == MET and self.trainer.global_rank == self.rank:
            os.kill(os.getpid(), signal.SIGUSR1)
        return loss


def fitted(model, data, folder, *, ckpt_path=None, n_ranks=1, is_handled=False):
    """Train an epoch; if the signal is handled, save and stop, as a requeued job does."""

    def save_and_stop(number, frame):
        trainer.save_checkpoint(folder / "requeued.ckpt")
        trainer.should_stop = True

    strategy = {"devices": n_ranks, "strategy": "ddp"} if n_ranks > 1 else {}
    trainer = make_trainer(max_epochs=1, callbacks=[RequeueBetweenSteps(patience=0)], **strategy)
    module = RetrievalDataModule(
        make_tokenizer(), data, batch_size=4 // n_ranks, cache_dir=folder / "cache"
    )
    before = signal.signal(signal.SIGUSR1, save_and_stop if is_handled else signal.SIG_DFL)
    try:
        trainer.fit(model, datamodule=module, ckpt_path=ckpt_path)
        assert not is_handled or signal.getsignal(signal.SIGUSR1) is save_and_stop
    finally:
        signal.signal(signal.SIGUSR1, before)
    return model.trained


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return [str(write_train(tmp_path / task / "train.jsonl", task, 12)) for task in TRAIN]


def test_a_requeued_run_trains_on_each_batch_once(data, tmp_path):
    whole = fitted(Recorder(), data, tmp_path)
    begun = fitted(Met(0), data, tmp_path, is_handled=True)
    rest = fitted(Recorder(), data, tmp_path, ckpt_path=tmp_path / "requeued.ckpt")

    assert len(begun) == MET
    assert {**begun, **rest} == whole
    assert len(rest) == len(whole) - MET


def requeued(rank, data, folder):
    os.environ["SLURM_JOB_ID"] = "7"
    os.environ.pop("SLURM_NTASKS", None)
    return fitted(Met(1), data, folder, n_ranks=2, is_handled=True)


@pytest.mark.slow
@pytest.mark.ranks
def test_ranks_answer_after_the_same_step_whichever_was_met(data, tmp_path):
    first, second = returned(run_on_ranks(requeued, 2, tmp_path, data, tmp_path))

    assert len(first) == len(second) == MET


def test_without_slurm_the_handler_keeps_its_place(data, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID")
    seen = []

    class Looking(Recorder):
        def on_train_batch_end(self, *_):
            seen.append(signal.getsignal(signal.SIGUSR1))

    def handler(number, frame):
        pass

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        trainer = make_trainer(max_steps=1, callbacks=[RequeueBetweenSteps()])
        trainer.fit(
            Looking(),
            datamodule=RetrievalDataModule(
                make_tokenizer(), data, batch_size=4, cache_dir=tmp_path
            ),
        )
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [handler]
