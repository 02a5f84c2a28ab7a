"""Names that meet: no dataset, no corpus and no note takes the place of another."""

import pytest
from datamodule_cases import eval_arguments, make_datamodule, opened, write, write_corpus

from llm_embedder_data import ConfigError, DataError
from llm_embedder_data.compat import RetrievalDataset


def rows(tasks, first=0):
    return [
        {"query": f"q{i}", "pos": [f"p{i}"], "neg": [f"n{i}"], "task": task, "pos_index": [0]}
        for i, task in enumerate(tasks, first)
    ]


@pytest.fixture
def several(tmp_path):
    return str(write(tmp_path / "m" / "several.jsonl", rows(["qa", "tool"] * 8)))


@pytest.fixture
def single(tmp_path):
    return str(write(tmp_path / "single.jsonl", rows(["qa"] * 8, 100)))


@pytest.mark.parametrize("kind", ["train", "eval"])
@pytest.mark.parametrize("first", ["m", "m:qa"])
def test_the_task_of_a_source_and_a_source_of_its_name_are_refused(
    folder, several, single, kind, first
):
    data = {"m": several, "m:qa": single}
    data = {name: data[name] for name in sorted(data, key=lambda name: name != first)}
    arguments = eval_arguments(folder) | {f"{kind}_data": data}

    with pytest.raises(ConfigError, match=rf"data\.{kind}_data: two datasets are called 'm:qa'"):
        opened(make_datamodule(folder, **arguments, batch_size=2))


def test_datasets_of_other_names_are_all_there(folder, several, single):
    data = {"m": several, "n:qa": single}
    report = opened(make_datamodule(folder, train_data=data, batch_size=2)).report()

    assert {name: one["rows_read"] for name, one in report["train"].items()} == {
        "m:qa": 8,
        "m:tool": 8,
        "n:qa": 8,
    }


def test_a_repeated_file_and_a_folder_of_its_name_are_all_there(folder, tmp_path):
    one, other = (
        str(write(tmp_path / name / "train.jsonl", rows(["qa"] * 8))) for name in ("m", "m#2")
    )
    datamodule = opened(make_datamodule(folder, train_data=[one, one, other], batch_size=2))

    assert list(datamodule.report()["train"]) == ["m", "m#2", "m#2#2"]


def test_llm_embedders_builders_refuse_two_of_a_name(several, tmp_path):
    files = [several, str(write(tmp_path / "m:qa" / "train.jsonl", rows(["qa"])))]

    with pytest.raises(ConfigError, match="data_file: two datasets are called 'm:qa'"):
        RetrievalDataset.prepare_train_dataset(files)


def test_a_corpus_behind_a_tasks_instruction_and_one_of_that_name_are_refused(
    folder, several, tmp_path
):
    corpus = str(write_corpus(tmp_path / "corpus.jsonl", 3))
    arguments = {"eval_data": {"m": several}, "train_data": None}

    with pytest.raises(ConfigError, match=r"data\.corpus: two corpora are called 'm@tool'"):
        opened(make_datamodule(folder, corpus={"m": corpus, "m@tool": corpus}, **arguments))
    datamodule = opened(make_datamodule(folder, corpus={"m": corpus, "m@x": corpus}, **arguments))
    assert list(datamodule.val_dataloader()) == [
        "m:qa",
        "m:tool",
        "corpus/m@qa",
        "corpus/m@tool",
    ]


def test_a_corpus_is_found_by_the_whole_name_of_the_source(folder, several, tmp_path):
    corpora = {
        name: str(write_corpus(tmp_path / f"{n_rows}.jsonl", n_rows))
        for name, n_rows in (("x", 3), ("x:y", 5))
    }
    arguments = {"eval_data": {"x:y": several}, "train_data": None, "corpus": corpora}
    datamodule = opened(make_datamodule(folder, **arguments))

    assert {batch["corpus"] for batch in datamodule.val_dataloader()["x:y:qa"]} == {"x:y@qa"}
    corpora["z"] = corpora.pop("x:y")
    with pytest.raises(
        ConfigError, match=r"no corpus for eval set 'x:y:qa': data\.corpus has x, z"
    ):
        opened(make_datamodule(folder, **arguments))


def test_a_note_is_of_the_kind_of_dataset_it_speaks_of(folder):
    datamodule = opened(make_datamodule(folder, **eval_arguments(folder)))
    datamodule._data.token_notes = {
        "train": {"qa": ["of training"]},
        "corpus": {"qa": ["of passages"]},
    }
    report = datamodule.report()

    assert report["train"]["qa"]["notes"][-1:] == ["of training"]
    assert report["eval"]["qa"]["notes"] == []
    assert report["corpus"]["qa"]["notes"] == ["of passages"]


def test_a_name_is_no_markup_and_no_picture(folder, single):
    names = ["[bold]x[/bold]", "[/red]", "wiki:key:1"]
    train = {name: {"path": single, "task": "qa"} for name in names}
    report = str(opened(make_datamodule(folder, train_data=train, batch_size=2)).report())

    assert all(name in report for name in names)


@pytest.mark.parametrize("method", ["epoch", "epoch-static", "epoch-random", "random"])
@pytest.mark.parametrize("remainder", ["rotate", "drop"])
@pytest.mark.parametrize("small", ["drop", "repeat"])
def test_the_report_says_how_many_rows_the_plan_leaves_out(
    folder, single, several, method, remainder, small
):
    data = {
        "a": {"path": single, "weight": 2.5},
        "b": {"path": single, "weight": 0.5, "batch_size": 1},
        "c": {"path": single, "batch_size": 3},
        "d": {"path": single, "batch_size": 20},
        "m": {"path": several, "max_sample_num": 5, "weight": 1.7},
    }
    settings = {"organize_method": method, "remainder": remainder, "small_datasets": small}
    datamodule = opened(make_datamodule(folder, train_data=data, batch_size=2, **settings))
    held = {name: set() for name in datamodule.train_sets()}
    for name, numbers in datamodule.plan():
        held[name] |= set(numbers.tolist())

    for name, one in datamodule.report()["train"].items():
        n_rows = len(datamodule.train_sets()[name].kept)
        assert one["rows_left_out_per_epoch"] == n_rows - len(held[name])
        assert one["rows_read"] == one["rows_kept"] + sum(one["dropped"].values())


def test_eval_rows_beyond_the_corpus_are_refused_or_counted(folder, tmp_path):
    evals = rows(["qa"] * 4)
    evals[2]["pos_index"] = [17]  # of 17 passages
    arguments = eval_arguments(folder)
    arguments["eval_data"] = {"qa": str(write(tmp_path / "eval.jsonl", evals))}

    with pytest.raises(DataError, match=r"row 2 \(line 3\): pos_index holds 17, and corpus 'qa'"):
        opened(make_datamodule(folder, **arguments))
    datamodule = opened(make_datamodule(folder, **arguments, on_bad_row="skip"))
    entry = datamodule.report()["eval"]["qa"]
    assert (entry["rows_read"], entry["rows_kept"], entry["dropped"]) == (4, 3, {"bad_row": 1})
    seen = [row for batch in datamodule.val_dataloader()["qa"] for row in batch["row"].tolist()]
    assert seen == [0, 1, 3]


def test_a_source_may_rename_the_fields_of_a_template_of_its_own(folder, tmp_path):
    path = str(write(tmp_path / "c.jsonl", [{"heading": "T", "body": "x"}]))
    source = {"path": path, "key_template": "{fault}: {index}", "fault": "heading", "index": "body"}
    datamodule = opened(make_datamodule(folder, corpus={"c": source}))

    assert datamodule._data.corpora["c"].text(0) == "T: x"
