"""Warnings that a user cannot act on: none in a run of plain Python, and no filter left behind."""

import subprocess
import sys
import warnings

import pytest

from llm_embedder_data.datamodule.quiet_run import QuietRun

# What Lightning would say of the workers depends on the cores of the machine.
SCRIPT = """
import os
import sys
import warnings

os.sched_getaffinity = lambda _: set(range(8))

import torch
from lightning.pytorch import LightningModule, Trainer

from llm_embedder_data import RetrievalDataModule

before = list(warnings.filters)


class Model(LightningModule):
    def __init__(self, fails=False):
        super().__init__()
        self.layer, self.fails = torch.nn.Linear(8, 1), fails

    def training_step(self, batch, _):
        if self.fails:
            raise RuntimeError("a step that fails")
        return self.layer(batch["query"]["input_ids"][:, :8].float()).mean()

    def validation_step(self, batch, _, dataloader_idx=0):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def main(minilm, sample, cache):
    for workers in ("auto", 2):
        data = RetrievalDataModule(
            minilm,
            train_data=f"{sample}/tool/train.jsonl",
            eval_data={"tool": f"{sample}/tool/eval.jsonl"},
            corpus=f"{sample}/tool/corpus.jsonl",
            key_template="{text}",
            batch_size=4,
            num_workers=workers,
            cache_dir=cache,
        )
        for model in (Model(fails=True), Model()):
            trainer = Trainer(
                accelerator="cpu", devices=1, max_epochs=1, limit_train_batches=2,
                limit_val_batches=1, logger=False, enable_checkpointing=False,
                enable_progress_bar=False, log_every_n_steps=1,
            )
            trainer.validate(model, datamodule=data, verbose=False)
            assert warnings.filters == before, "after validate"
            try:
                trainer.fit(model, datamodule=data)
            except RuntimeError as error:
                assert "a step that fails" in str(error), error
            assert warnings.filters == before, "after fit"
    warnings.warn("said after all runs")


if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.slow
def test_a_run_of_plain_python_warns_of_nothing_and_leaves_the_filters(
    minilm, sample_dir, tmp_path
):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "always", str(script), minilm, str(sample_dir), str(tmp_path / "c")],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert "said after all runs" in done.stderr
    for words in ("LeafSpec", "many workers", "persistent_workers"):
        assert words not in done.stderr


def test_the_filters_of_the_user_stay():
    own = {"message": "The '.*dataloader' does not have many workers", "category": UserWarning}
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.filterwarnings("ignore", **own)
        before = list(warnings.filters)
        run = QuietRun()
        for _ in range(2):
            run.begin(chooses_workers=True)
            run.begin(chooses_workers=True)
            assert len(warnings.filters) == 3
            run.end()
            assert warnings.filters == before
        run.end()


def test_filters_that_went_with_their_context_are_not_missed():
    before, run = list(warnings.filters), QuietRun()
    with warnings.catch_warnings():
        run.begin(chooses_workers=True)

    run.end()

    assert warnings.filters == before


def test_a_number_of_workers_that_the_user_gave_is_lightnings_to_comment_on():
    run = QuietRun()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for is_chosen in (True, False):
            run.begin(chooses_workers=is_chosen)
            warnings.warn("The 'val_dataloader' does not have many workers which", stacklevel=1)
            run.end()

    assert len(found) == 1
