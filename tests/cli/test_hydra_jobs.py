"""Jobs: several by --multirun, on several devices, refused ones."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_cases import SPY, small

from llm_embedder_data import ConfigError


def test_multirun_runs_every_combination(run, tiny, sample_dir, tmp_path):
    run(
        "fit",
        *small(tiny, f"data.train_data={sample_dir}/tool/train.jsonl", "export=false"),
        "recipe=bge,e5",
        "--multirun",
        "hydra.sweep.dir=sweep",
    )

    assert sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == [
        "0",
        "1",
    ]
    assert (tmp_path / "sweep/1/checkpoints/last.ckpt").exists()


@pytest.mark.slow
@pytest.mark.ranks
def test_two_devices_train_through_the_console_script(tiny, sample_dir, tmp_path):
    data = (
        f"data.train_data={{qa: {sample_dir}/qa/train.jsonl, tool: {sample_dir}/tool/train.jsonl}}"
    )
    command = [sys.executable, "-m", "llm_embedder_data.cli.main", "fit", *small(tiny, data)]
    more = ["trainer.devices=2", "trainer.strategy=ddp", "hydra.run.dir=out"]
    done = subprocess.run(
        [
            *command,
            *more,
            f"data.eval_data={{tool: {sample_dir}/tool/eval.jsonl}}",
            f"data.corpus={{tool: {sample_dir}/tool/corpus.jsonl}}",
            "data.key_template='{text}'",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert "val/tool/mrr@10" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"out"}  # one folder for both ranks
    state = torch.load(tmp_path / "out/checkpoints/last.ckpt")
    assert state["global_step"] == 3
    assert "'global batch': 8" in str(state["RetrievalDataModule"])


def test_a_bad_job_does_not_end_the_others(run, settings, returned, capsys):
    with pytest.raises(SystemExit, match=r"failed: job 1$"):
        run("fit", *settings, "data.batch_size=2,0,4", "-m", "hydra.sweep.dir=sweep", SPY)

    said = capsys.readouterr().err
    assert "job 1 (" in said
    assert "data.batch_size=0" in said
    assert "Traceback" not in said
    finished = [Path(f"sweep/{job}/checkpoints/last.ckpt").exists() for job in range(3)]
    assert finished == [True, False, True]
    # Hydra's callbacks see the error itself.
    assert [type(value) for value in returned] == [type(None), ConfigError, type(None)]


def test_a_sweep_whose_every_job_is_refused_leaves_no_folder(refused, settings):
    said = refused("fit", *settings, "data.batch_size=0,-1", "-m")

    assert said == "llm-embedder-data fit: failed: job 0, 1"


def test_a_sweep_over_a_name_that_a_group_lacks_is_refused_before_its_first_job(refused, settings):
    said = refused("fit", *settings, "recipe=bge,bgee", "-m")

    assert "recipe=bgee: the group recipe has no 'bgee'" in said


def test_the_users_own_variable_shows_the_traceback(run, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    with pytest.raises(ConfigError, match="seed=-1: expected a whole number"):
        run("fit", "seed=-1")


def test_a_folder_that_cannot_be_made_is_named(refused):
    assert "the run's folder cannot be made" in refused("fit", "hydra.run.dir=/dev/null/x")
