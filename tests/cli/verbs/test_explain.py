"""``explain``: a batch of a past run, where a text occurs, and how two runs differ."""

import json
from pathlib import Path

import pytest
from cli_cases import small, write_rows


@pytest.fixture
def past(run, tiny, tmp_path):
    """A run of two steps, and its last checkpoint."""
    folder = write_rows(tmp_path / "data")
    run(
        "fit",
        *small(tiny),
        f"data.train_data={folder}/train.jsonl",
        "data.batch_size=2",
        f"data.cache_dir={tmp_path}/cache",
        "trainer.limit_train_batches=2",
        "trainer.max_epochs=1",
        "trainer.enable_model_summary=false",
        "validate_before=false",
        "export=false",
        "hydra.run.dir=first",
    )
    [path] = Path("first").rglob("last.ckpt")
    return str(path)


def test_explain_answers_from_a_checkpoint(run, past, tmp_path):
    printed = run("explain", f"ckpt_path={past}", "epoch=0", "step=1", "json=batch.json")

    batch = json.loads((tmp_path / "batch.json").read_text())
    assert f"row {batch['queries'][0]['row']}" in printed
    assert batch["queries"][0]["decoded"]["segments"][1]["text"].startswith("q ")

    query = batch["queries"][0]
    printed = run("explain", f"ckpt_path={past}", f"text='{query['text']}'", "json=text.json")
    found = json.loads((tmp_path / "text.json").read_text())
    assert [(one["step"], one["role"]) for one in found["steps"]] == [(1, "query")]
    assert "mine" in printed

    printed = run("explain", f"diff=[{past},{past}]", "html=diff.html")
    assert printed.count("no difference") == 4
    assert "No difference." in (tmp_path / "diff.html").read_text()


def test_explain_takes_files_that_moved_and_refuses_others(run, past, tmp_path):
    file = tmp_path / "data/mine/train.jsonl"
    file.rename(tmp_path / "moved.jsonl")

    moved = "+data.train_data.mine=moved.jsonl"
    assert "step 0" in run("explain", f"ckpt_path={past}", "epoch=0", "step=0", moved)

    file.write_text((tmp_path / "moved.jsonl").read_text().replace("q 3", "q three"))
    with pytest.raises(SystemExit, match="data, settings or tokenizer are no longer") as leaving:
        run("explain", f"ckpt_path={past}", "epoch=0", "step=0")
    assert "\n" not in str(leaving.value)


def test_explain_finds_a_text_without_a_checkpoint(run, settings, tmp_path):
    data = [one for one in settings if not one.startswith(("trainer", "export"))]

    printed = run("explain", *data, "text='n 3 a'", "epochs=2", "world_size=2", "html=text.html")

    assert "mine row 3 (train.jsonl:4): neg 0" in printed
    assert "negative" in (tmp_path / "text.html").read_text()


def test_explain_takes_a_text_from_a_file(run, settings, tmp_path):
    data = [one for one in settings if not one.startswith(("trainer", "export"))]
    (tmp_path / "text.txt").write_text("n 3 a\n")

    assert "mine row 3 (train.jsonl:4): neg 0" in run("explain", *data, "text_file=text.txt")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([], "explain answers one question at a time, and none is asked"),
        (["text=a", "id=3"], "text= and id= is asked"),
        (["epoch=0", "step=1"], "give ckpt_path= and epoch= too"),
        (["epoch=0", "ckpt_path=x.ckpt"], "epoch=0: which batch of the epoch? (give step= too)"),
        (["epoch=0", "step=0", "ckpt_path=x.ckpt"], "ckpt_path='x.ckpt': there is no such file"),
        (["diff=[a.ckpt]"], "expected two checkpoints"),
        (["epoch=0", "step=0", "ckpt_path=3"], "ckpt_path=3: expected the path of a checkpoint"),
        (["epoch=0", "step=0", "ckpt_path=[a]"], "ckpt_path=['a']: expected the path"),
        (["diff=ab"], "expected two checkpoints"),
        (["diff=[a.ckpt,b.ckpt]"], "diff='a.ckpt': there is no such file"),
        (["text=a", "rank=0"], "rank=0 says nothing to text= (leave it out)"),
        (["id=a", "run=0"], "run=0 says nothing to id="),
        (["diff=[a.ckpt,b.ckpt]", "epochs=3"], "epochs=3 says nothing to diff="),
        (
            ["epoch=0", "step=1", "ckpt_path=x.ckpt", "epochs=3"],
            "epochs=3 says nothing to epoch= and step=",
        ),
        (["text=true"], "text=True: expected a text"),
        (["text=[a]"], "text=['a']: expected a text"),
        (["text=''"], "text='': expected a text"),
        (["id=[a]"], "id=['a']: expected a query id"),
        (["diff=[.,.]"], "diff='.' is a folder, not a checkpoint"),
        (["text_file=/dev/null"], "text_file='/dev/null' is empty"),
        (["text_file=no.txt"], "text_file='no.txt' cannot be read"),
        (["text=a", "epochs=0"], "epochs=0: expected a whole number of at least 1"),
    ],
)
def test_a_wrong_question_is_one_sentence(refused_by_verb, overrides, sentence):
    assert sentence in refused_by_verb("explain", *overrides)
