"""What a run measured: written for programs, returned to a sweeper."""

import json
import shutil
from pathlib import Path

import pytest
from cli_cases import SPY, write_rows
from slow_cases import mostly_slow

from llm_embedder_data.cli.measured import show_metrics


def test_validate_writes_its_metrics_unrounded_and_whole(run, settings, tmp_path, returned):
    first, second = (write_rows(tmp_path / parent, "same") for parent in "ab")
    data = [
        f"data.eval_data=[{first}/eval.jsonl,{second}/eval.jsonl]",
        f"data.corpus={first}/corpus.jsonl",
        "metrics_file=new/metrics.json",
        SPY,
    ]
    Path("new").mkdir()
    Path("new/metrics.json").write_text("old " * 1000)

    run("validate", *settings, *data, "optimized_metric=val/a/same/eval/ndcg@10")

    written = json.loads(Path("new/metrics.json").read_text())
    assert list(written) == ["a/same/eval", "b/same/eval"]
    assert {"ndcg@10", "mrr@10"} <= set(written["a/same/eval"])
    assert returned == [written["a/same/eval"]["ndcg@10"]]
    assert len(repr(returned[0])) > 8  # not rounded for the table
    assert [path.name for path in Path("new").iterdir()] == ["metrics.json"]


def test_verbs_return_the_metric_that_is_optimized(run, settings, evaluation, returned, refused):
    run("validate", *settings, *evaluation, SPY)
    run("fit", *settings, *evaluation, SPY, "optimized_metric=val/mine/mrr@10", "metrics_file=m")
    run("fit", *settings, SPY)

    assert 0 < returned[0] < 1
    assert returned[1] == json.loads(Path("m").read_text())["mine"]["mrr@10"]
    assert returned[2] is None
    shutil.rmtree("outputs")
    said = refused("validate", *settings, *evaluation, "optimized_metric=val/mine/ndgc@10")
    assert "no such value was logged; there are" in said
    assert "val/mine/ndcg@10" in said


@pytest.mark.parametrize("steps", mostly_slow([1, 3], 1))
def test_training_that_ends_within_an_epoch_is_measured_at_its_end(
    run, settings, evaluation, tmp_path, steps
):
    """Not at the end of the last epoch that was complete, nor not at all."""
    given = [s for s in settings if not s.startswith("export")] + evaluation
    quick = ["model.learning_rate=0.1", "trainer.max_epochs=3", f"trainer.max_steps={steps}"]
    run("fit", *given, *quick, "output_dir=out", "metrics_file=fit.json", "export=false")
    checkpoint = "ckpt_path=out/checkpoints/last.ckpt"
    run("validate", *given, checkpoint, "metrics_file=checkpoint.json", "output_dir=other")

    measured = [(tmp_path / f"{name}.json").read_text() for name in ("fit", "checkpoint")]
    assert measured[0] == measured[1]


def test_the_table_has_means_over_eval_sets_if_there_are_several(capsys):
    one = {"val/a/b/mrr@10": 0.5, "val/mrr@10": 0.5, "loss": 2.0}

    show_metrics({}, one)
    assert "val/mrr@10" not in (alone := capsys.readouterr().out)
    assert "val/a/b/mrr@10" in alone
    show_metrics({}, one | {"val/c/mrr@10": 0.7})
    assert "val/mrr@10" in capsys.readouterr().out
