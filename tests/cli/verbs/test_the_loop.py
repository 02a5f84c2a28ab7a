"""The example ``the_loop.sh``: pairs, mine, score, fit, validate, export, as a reader runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "examples/the_loop.sh"
FEW = (
    "trainer.max_steps=2",
    "model.learning_rate=0.05",
    "trainer.accelerator=cpu",
    "data.train_group_size=2",
)


@pytest.mark.slow  # six processes
def test_the_loop_runs_and_goes_on_where_it_stood(tiny, tmp_path):
    def loop():
        here = str(Path(sys.executable).parent)
        done = subprocess.run(
            ["bash", str(SCRIPT), *FEW],
            cwd=tmp_path,
            env=os.environ
            | {"PATH": os.pathsep.join([here, os.environ["PATH"]]), "HOME": str(tmp_path)}
            | {"ENCODER": tiny, "DEPTH": "4", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    printed = loop()

    folder = tmp_path / "loop"
    before, after = (json.loads((folder / f"{n}.json").read_text()) for n in ("before", "after"))
    assert before["loop"]["ndcg@10"] > 0
    assert before != after  # a step was taken
    assert f"{before['loop']['ndcg@10']:.3f} before" in printed
    lines = (folder / "scores.jsonl").read_text().splitlines()
    scores = [json.loads(line)["scores"] for line in lines]
    assert len(scores) == 112
    assert {len(row) for row in scores} <= {5, 6}  # positives and 4 negatives
    made = {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "pairs.jsonl"
    }

    for name in ("encoder/README.md", "after.json"):
        assert folder / name in made
    (folder / "fit/ended").unlink()  # as if fit had been killed behind its last checkpoint
    (folder / "before.json").unlink()
    loop()

    assert json.loads((folder / "before.json").read_text()) == before
    assert json.loads((folder / "after.json").read_text()) == after
    kept = ("run.tsv", "scores.jsonl", "encoder/README.md")
    assert {n: (folder / n).stat().st_mtime_ns for n in kept} == {n: made[folder / n] for n in kept}
