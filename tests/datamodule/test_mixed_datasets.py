"""``mixing``, out of files: by kept rows, said in the report, and part of the run."""

import re
from collections import Counter

import pytest
from datamodule_cases import Recorder, batches, make_datamodule, make_trainer, opened

from llm_embedder_data import ConfigError

SHARES = {"qa": 0.5, "tool": 0.25, "chat": 0.25}


def test_batches_come_by_their_target_shares(folder):
    datamodule = opened(make_datamodule(folder, mixing={"shares": SHARES}))

    n_batches = Counter(batch["dataset"] for batch in batches(datamodule))

    total = sum(n_batches.values())
    assert all(abs(n_batches[name] - share * total) < 1 for name, share in SHARES.items())


def test_the_rows_that_are_kept_count_and_not_those_that_were_read(folder):
    datamodule = opened(make_datamodule(folder, mixing={"alpha": 0.5}, max_sample_num=8))
    plan = datamodule.plan()

    assert set(plan.sizes.values()) == {8}
    assert set(plan.steps.values()) == {2}  # as many rows of each, so as many steps


def test_the_report_says_the_shares_once(folder):
    report = opened(make_datamodule(folder, mixing={"shares": SHARES})).report()

    said = re.sub(r"\s+", " ", str(report))
    assert said.count("mixing by shares: shares of the 11 steps of an epoch: qa 45.5%") == 1
    entry = report["train"]["qa"]
    assert entry["steps_per_epoch"] == 5  # of 5.5
    assert entry["weight"] == pytest.approx(5 / (entry["rows_kept"] // 4))
    assert "mixing" not in str(opened(make_datamodule(folder)).report())


def test_a_source_with_a_weight_is_refused(folder):
    data = {"qa": {"path": str(folder / "qa/train.jsonl"), "weight": 2}}

    with pytest.raises(ConfigError, match=r"dataset 'qa' has weight=2, but data\.mixing also says"):
        opened(make_datamodule(folder, train_data=data, mixing={"alpha": 0.5}))


@pytest.mark.parametrize(("before", "now"), [({"alpha": 0.5}, {"alpha": 1}), (None, {"alpha": 1})])
def test_a_checkpoint_of_another_mixing_is_refused(folder, tmp_path, before, now):
    trainer = make_trainer(max_steps=2)
    trainer.fit(Recorder(), datamodule=make_datamodule(folder, mixing=before))
    trainer.save_checkpoint(tmp_path / "last.ckpt")

    with pytest.raises(ConfigError, match=r"mixing, alpha\n  checkpoint: (0\.5|'absent')\n"):
        make_trainer(max_steps=4).fit(
            Recorder(),
            datamodule=make_datamodule(folder, mixing=now),
            ckpt_path=tmp_path / "last.ckpt",
        )


def test_the_same_mixing_in_other_words_goes_on(folder, tmp_path):
    def fit(steps, mixing, **arguments):
        model, trainer = Recorder(), make_trainer(max_steps=steps)
        trainer.fit(model, datamodule=make_datamodule(folder, mixing=mixing), **arguments)
        return trainer

    fit(2, {"temperature": 2}).save_checkpoint(tmp_path / "last.ckpt")

    assert fit(4, {"alpha": 0.5}, ckpt_path=tmp_path / "last.ckpt").global_step == 4
