"""Outputs that would replace what a verb reads, and paths in the home folder."""

import json
from pathlib import Path

import datasets
import pytest
from cli_cases import write_rows


@pytest.fixture
def data(settings, tmp_path):
    """Settings of the data alone, whose training file is ``data/mine/train.jsonl``."""
    return [one for one in settings if one.startswith("data.")]


@pytest.fixture
def rows(settings, tmp_path) -> Path:
    return tmp_path / "data" / "mine" / "train.jsonl"


@pytest.fixture
def home(monkeypatch, tmp_path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.mark.parametrize(
    ("verb", "setting"),
    [
        ("score", "out"),
        ("convert", "out"),
        ("inspect", "json"),
        ("inspect", "html"),
        ("explain", "json"),
        ("prepare", "json"),
        ("prepare", "html"),
        ("prepare", "rejected"),
        ("fit", "metrics_file"),
    ],
)
def test_no_verb_replaces_the_rows_that_it_reads(refused, data, tiny, rows, verb, setting):
    before = rows.read_bytes()
    ours = {"score": [f"teacher={tiny}"], "explain": ["id=1"]}.get(verb, [f"encoder={tiny}"])
    ours = [] if verb == "convert" else ours
    link = rows.with_name("link.jsonl")
    link.symlink_to(rows)

    said = refused(verb, *data, *ours, f"{setting}={link}")

    assert "read from this file (name another)" in said
    assert rows.read_bytes() == before


@pytest.mark.parametrize("source", ["data/*/train.jsonl", "data/mine", "[data/mine/train.jsonl]"])
def test_the_files_of_a_pattern_and_of_a_folder_are_read_too(refused, tiny, rows, source):
    said = refused("inspect", f"data.tokenizer={tiny}", f"data.train_data={source}", f"json={rows}")

    assert "data.train_data is read from this file" in said


@pytest.fixture
def beir(tmp_path) -> Path:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "title": "", "text": "red"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "red?"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    return folder


@pytest.mark.parametrize(
    ("verb", "arguments", "file"),
    [
        ("validate", ["data.eval_data=beir", "data.corpus=beir", "run_file=FILE"], "corpus.jsonl"),
        ("validate", ["data.eval_data={mine: beir}", "metrics_file=FILE"], "qrels/test.tsv"),
        ("inspect", ["data.train_data=[beir]", "json=FILE"], "queries.jsonl"),
        ("prepare", ["data.train_data={mine: {path: beir}}", "rejected=FILE"], "queries.jsonl"),
        ("prepare", ["data.corpus={path: beir, format: beir}", "html=FILE"], "corpus.jsonl"),
        ("score", ["data.train_data=*eir", "teacher=none", "out=FILE"], "corpus.jsonl"),
        ("convert", ["data.corpus=beir", "out=FILE"], "corpus.jsonl"),
    ],
)
def test_a_folder_that_is_a_data_set_keeps_its_files(refused, beir, verb, arguments, file):
    before = (beir / file).read_bytes()

    said = refused(verb, *(given.replace("FILE", f"beir/{file}") for given in arguments))

    assert "is read from this file (name another)" in said
    assert (beir / file).read_bytes() == before


def test_a_data_set_that_datasets_saved_keeps_its_files(refused, tmp_path):
    datasets.Dataset.from_list([{"query": "q", "pos": ["p"]}]).save_to_disk(tmp_path / "saved")
    before = (tmp_path / "saved/state.json").read_bytes()

    said = refused("inspect", "data.train_data=saved", "json=saved/state.json")

    assert "data.train_data is read from this file" in said
    assert (tmp_path / "saved/state.json").read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [["convert", "out=rows.jsonl"], ["prepare", "html=rows.html"]]
)
def test_rejected_rows_are_not_written_over_rows_that_are_read(refused, tmp_path, arguments):
    mended = tmp_path / "rows.rejected.jsonl"
    mended.write_text('{"query": "q", "pos": ["p"], "neg": ["n"]}\n')

    said = refused(*arguments, "data.train_data=rows.rejected.jsonl")

    assert "rejected='auto' ('rows.rejected.jsonl'): data.train_data is read from this file" in said
    assert mended.read_text().startswith('{"query"')


def test_validate_keeps_the_corpus_and_the_encoder(refused, tiny, rows, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "d1", "text": "red"}\n')
    ours = [f"encoder={tiny}", f"data.eval_data={rows}", f"data.corpus={corpus}"]

    for setting, path, owner in (
        ("run_file", corpus, "data.corpus"),
        ("metrics_file", rows, "data.eval_data"),
        ("metrics_file", Path(tiny, "config.json"), "encoder"),
    ):
        said = refused("validate", *ours, f"{setting}={path}")
        assert f"{setting}='{path}': {owner} is read from this file" in said


def test_two_outputs_of_one_name_are_refused(refused, data, tmp_path):
    said = refused("inspect", *data, "json=page", "html=./page")

    assert "json and html name the same file" in said or "html and json" in said


def test_cleaned_files_go_to_another_folder_than_the_rows(refused, data, rows):
    said = refused("prepare", *data, f"fix={rows.parent}")

    assert "in this folder is train.jsonl, from which data.train_data is read" in said


def test_a_merge_does_not_replace_a_run_that_it_reads(refused, tmp_path):
    (tmp_path / "a.tsv").write_text("1\td1\t0.5\n")
    (tmp_path / "b.tsv").write_text("1\td1\t0.5\n")

    assert "merge is read from this file" in refused("mine", "merge=[a.tsv,b.tsv]", "out=a.tsv")


def test_a_second_run_of_score_replaces_its_file(run, data, tiny, rows, tmp_path):
    source = [one for one in data if not one.startswith("data.train_data")]
    ours = [f"teacher={tiny}", *source, "out=scores.jsonl"]
    run("score", *ours, f"data.train_data={rows}")
    run("score", *ours, f"data.train_data={{mine: {{path: {rows}, scores: scores.jsonl}}}}")

    assert len(Path("scores.jsonl").read_text().splitlines()) == len(rows.read_text().splitlines())


def test_outputs_and_models_in_the_home_folder(run, data, tiny, home):
    (home / "model").symlink_to(tiny)
    source = [one for one in data if not one.startswith("data.tokenizer")]

    run("inspect", *source, 'data.tokenizer="~/model"', 'json="~/out/page.json"')
    run("score", *source, 'teacher="~/model"', 'out="~/scores.jsonl"')
    run("prepare", *source, 'data.tokenizer="~/model"', 'json="~/report.json"', 'fix="~/cleaned"')

    assert json.loads((home / "out" / "page.json").read_text())["step"] == 0
    assert (home / "scores.jsonl").is_file()
    assert (home / "report.json").is_file()
    assert (home / "cleaned" / "mine.jsonl").is_file()
    assert not Path("~").exists()


def test_an_encoder_and_a_checkpoint_in_the_home_folder(run, tiny, tmp_path, home):
    (home / "model").symlink_to(tiny)
    folder = write_rows(tmp_path / "rows")
    ours = [
        'encoder="~/model"',
        f"data.train_data={folder}/train.jsonl",
        "data.batch_size=2",
        "data.train_group_size=3",
        "trainer.accelerator=cpu",
        "trainer.max_steps=1",
    ]
    run("fit", *ours, "hydra.run.dir=first", "export=false")
    (home / "last.ckpt").symlink_to(tmp_path / "first" / "checkpoints" / "last.ckpt")

    shown = run("explain", 'ckpt_path="~/last.ckpt"', "epoch=0", "step=0")
    run("export", 'ckpt_path="~/last.ckpt"', 'out="~/exported"')

    assert "step 0" in shown
    assert (home / "exported" / "config.json").is_file()
