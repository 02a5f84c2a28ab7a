"""``plan``: steps, shares and rows of a plan, for worlds that are not here."""

import json
from pathlib import Path

import pytest

from llm_embedder_data import RetrievalDataModule


def test_plan_shows_a_world_that_is_not_here(run, tiny, sample_dir):
    data = [f"encoder={tiny}", f"data.train_data={sample_dir}/*/train.jsonl", "data.batch_size=4"]
    out = run("plan", *data, "world_size=8", "json=true", "epoch=3", "step=1", "rank=5")

    facts = json.loads(out)
    assert facts["num_replicas"] == 8
    assert facts["datasets"]["qa"]["steps_per_epoch"] == 112 // 32
    assert sum(facts["tasks"].values()) == pytest.approx(1)
    assert len(facts["step"]["rows"]) == 4
    assert not Path("outputs").exists()
    assert "8 ranks" in run("plan", *data, "world_size=8")


@pytest.fixture
def two_tasks(tmp_path):
    """A dataset of two files, whose every third row is dropped, and one of another task."""
    for name, n_rows in (("one", 30), ("two", 45), ("tool", 90)):
        rows = (
            {
                "query": f"{name} {i}",
                "pos": ["right"],
                "neg": ["wrong"] * (i % 3 > 0 or name == "tool"),
                "task": "tool" if name == "tool" else "qa",
            }
            for i in range(n_rows)
        )
        path = tmp_path / "data" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "data"
    return (
        f"{{mine: {{path: [{folder}/one.jsonl, {folder}/two.jsonl], weight: 2.5}},"
        f" tool: {folder}/tool.jsonl}}"
    )


def test_plan_counts_steps_rows_passes_and_what_is_left_out(run, tiny, two_tasks):
    data = [f"encoder={tiny}", f"+data.train_data={two_tasks}", "data.batch_size=3"]

    facts = json.loads(run("plan", *data, "world_size=4", "json=true"))
    shown = run("plan", *data, "world_size=4")

    mine, tool = facts["datasets"]["mine"], facts["datasets"]["tool"]
    assert (mine["rows"], mine["global_batch"], mine["left_out_per_pass"]) == (50, 12, 2)
    assert (mine["steps_per_epoch"], mine["rows_per_epoch"]) == (10, 120)  # 2.5 passes of 4 steps
    assert (mine["passes_per_epoch"], mine["even_after_passes"]) == (2.5, 25)
    assert (tool["steps_per_epoch"], tool["left_out_per_pass"]) == (7, 6)
    assert facts["steps_per_epoch"] == 17
    assert facts["tasks"] == pytest.approx({"qa": 10 / 17, "tool": 7 / 17})
    for words in ("17 steps an epoch on 4 ranks", "58.8%", "3 x 4", "after 25 passes"):
        assert words in shown


def test_plan_shows_rows_that_can_be_looked_up(run, tiny, two_tasks, tmp_path):
    data = [f"encoder={tiny}", f"+data.train_data={two_tasks}", "data.batch_size=3"]
    datamodule = RetrievalDataModule(
        tiny,
        train_data={
            "mine": {"path": [str(tmp_path / "data" / f"{n}.jsonl") for n in ("one", "two")]},
            "tool": str(tmp_path / "data" / "tool.jsonl"),
        },
        batch_size=12,
    )
    step, batch = next(
        (step, batch)
        for step, batch in enumerate(_batches(datamodule))
        if batch["dataset"] == "mine" and min(batch["row"]) < 30 <= max(batch["row"])
    )
    data = [one.replace(", weight: 2.5", "") for one in data]

    whole = json.loads(run("plan", *data, "world_size=4", f"step={step}", "json=true"))["step"]
    last = json.loads(run("plan", *data, "world_size=4", f"step={step}", "rank=3", "json=true"))
    shown = run("plan", *data, "world_size=4", f"step={step}")

    assert whole["rows"] == batch["row"].tolist()
    assert last["step"]["rows"] == whole["rows"][9:]
    looked_up = set()
    for file, rows in whole["files"].items():
        lines = Path(file).read_text().splitlines()
        looked_up |= {json.loads(lines[row])["query"] for row in rows}
        assert f"{file}: {', '.join(map(str, rows))}" in shown
    assert len(whole["files"]) == 2
    assert looked_up == {f"one {r}" if r < 30 else f"two {r - 30}" for r in whole["rows"]}


def _batches(datamodule):
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule.train_dataloader()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("world_size=0", "world_size=0: expected a whole number of at least 1"),
        ("epoch=soon", "epoch='soon': expected a whole number of at least 0"),
        (f"step={10**30}", f"step={10**30}: expected a whole number from 0 to 2147483647"),
        ("step=99", "epoch=0: step must be in [0, 9), got 99"),
        ("json=no", "json='no': expected true or false"),
        ("rank=3", "rank=3 selects rows of a step, and no step is given (give step=)"),
    ],
)
def test_plan_refuses_what_it_cannot_show(refused_by_verb, tiny, two_tasks, override, sentence):
    data = [f"encoder={tiny}", f"+data.train_data={two_tasks}".replace(", weight: 2.5", "")]

    assert sentence in refused_by_verb("plan", *data, "data.batch_size=15", override)
