"""Sweeps: a sweeper of Hydra's optimizes what a run measures."""

import pytest
import yaml
from cli_cases import small


@pytest.mark.slow
def test_optuna_finds_the_best_of_three_trials(run, tiny, sample_dir, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

    run(
        "fit",
        "--multirun",
        *small(tiny, f"data.train_data={sample_dir}/qa/train.jsonl", "export=false"),
        f"data.eval_data={{qa: {sample_dir}/qa/eval.jsonl}}",
        f"data.corpus={{qa: {sample_dir}/qa/corpus.jsonl}}",
        "validate_before=false",
        "hydra/sweeper=optuna",
        "hydra/sweeper/sampler=random",
        "hydra.sweeper.sampler.seed=1",
        "hydra.sweeper.direction=maximize",
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweep.dir=sweep",
        "model.learning_rate=tag(log,interval(1e-5,1e-2))",
        "model.temperature=choice(0.02,0.05)",
    )

    trials = [path for path in (tmp_path / "sweep").iterdir() if path.is_dir()]
    assert sorted(path.name for path in trials) == ["0", "1", "2"]
    found = yaml.safe_load((tmp_path / "sweep/optimization_results.yaml").read_text())
    assert set(found["best_params"]) == {"model.learning_rate", "model.temperature"}
    assert 0 < found["best_value"] <= 1
    overrides = [
        yaml.safe_load((path / ".hydra/overrides.yaml").read_text()) for path in sorted(trials)
    ]
    rates = {one.partition("=")[2] for each in overrides for one in each if "learning_rate" in one}
    assert len(rates) == 3
