"""``inspect``: a batch decoded, as text, as JSON and as a page."""

import json
from pathlib import Path

import pytest

from llm_embedder_data import RetrievalDataModule


@pytest.fixture
def data(settings):
    return [one for one in settings if not one.startswith(("trainer", "export"))]


def test_inspect_shows_the_batch_that_training_would_get(run, data, tiny, tmp_path):
    printed = run("inspect", *data, "epoch=1", "step=1", "rank=1", "world_size=2", "json=page.json")

    page = json.loads((tmp_path / "page.json").read_text())
    module = RetrievalDataModule(
        tiny,
        train_data=f"{tmp_path}/data/mine/train.jsonl",
        batch_size=4,
        train_group_size=3,
        cache_dir=tmp_path / "cache",
    )
    module.prepare_data()
    module.setup("fit")
    loader = module.train_dataloader()
    loader.sampler.set_epoch(1)
    batch = list(loader)[1]
    assert [query["row"] for query in page["queries"]] == batch["row"][2:].tolist()
    ids = [key["decoded"]["ids"] for query in page["queries"] for key in query["keys"]]
    masks = batch["key"]["attention_mask"][6:]
    assert ids == [
        row[mask.bool()].tolist()
        for row, mask in zip(batch["key"]["input_ids"][6:], masks, strict=True)
    ]
    for query in page["queries"]:
        assert f"row {query['row']}" in printed
        assert f"train.jsonl:{query['line']}" in printed.replace("\n", "")
    assert set(page["plots"]) >= {"lengths", "scores", "tasks", "padding", "coverage", "collisions"}
    assert not Path("outputs").exists()


def test_inspect_writes_a_page_of_the_global_batch(run, data, tmp_path):
    printed = run("inspect", *data, "world_size=2", "html=page.html", "epochs=2")

    assert "all 2 ranks" in printed
    assert "page: page.html" in printed
    page = (tmp_path / "page.html").read_text()
    for name in ("Batch", "Lengths", "Tasks", "Padding", "Coverage", "Collisions"):
        assert f">{name}</button>" in page


def test_without_world_size_there_are_as_many_ranks_as_the_rank_needs(run, data, tmp_path):
    printed = run("inspect", *data, "rank=1", "json=page.json")

    assert "ranks: 2" in printed
    assert json.loads((tmp_path / "page.json").read_text())["world_size"] == 2
    printed = run("inspect", *data, "rank=1", "trainer.devices=4", "json=page.json")
    assert "ranks: 4" not in printed
    assert json.loads((tmp_path / "page.json").read_text())["world_size"] == 4


def test_control_characters_of_the_data_do_not_reach_the_terminal(run, tiny, tmp_path):
    rows = [
        {"query": f"q \x1b[31m {i}", "pos": [f"p \x07 {i}"], "neg": [f"n \u202e {i}"]}
        for i in range(4)
    ]
    (tmp_path / "evil.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    printed = run(
        "inspect",
        f"encoder={tiny}",
        "data.train_data=evil.jsonl",
        "data.batch_size=2",
        f"data.cache_dir={tmp_path}/cache",
    )

    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert "\u202e" not in printed


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("step=99", "epoch=0: step must be in [0, 4), got 99"),
        ("rank=-1", "rank=-1: expected a whole number of at least 0"),
        ("step=first", "step='first': expected a whole number of at least 0"),
        (f"epoch={2**31}", "expected a whole number from 0 to 2147483647"),
        ("trainer.devices=two", "trainer.devices='two': expected a number of devices"),
        ("trainer.num_nodes=0", "trainer.num_nodes=0: expected a whole number of at least 1"),
        (
            "data._target_=lightning.pytorch.LightningDataModule",
            "expected RetrievalDataModule or a subclass",
        ),
        ("epochs=0", "epochs=0: expected a whole number of at least 1"),
        ("html=.", "is a folder"),
        ("stpe=3", "did you mean"),
    ],
)
def test_a_wrong_setting_is_one_sentence(refused, data, override, sentence):
    assert sentence in refused("inspect", *data, override)


@pytest.mark.parametrize(
    ("devices", "n_ranks"), [("2", 2), ("[0,1]", 2), ("'0,1'", 2), ("auto", 1), ("-1", 1)]
)
def test_the_ranks_are_the_devices_of_the_trainer(run, data, tmp_path, devices, n_ranks):
    run("inspect", *data, f"trainer.devices={devices}", "json=batch.json")

    assert json.loads((tmp_path / "batch.json").read_text())["world_size"] == n_ranks
