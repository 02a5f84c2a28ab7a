"""What happens before the first batch: files, defaults, refusals, and nothing on the network."""

import copy
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from datamodule_cases import (
    RECIPE,
    Recorder,
    as_rank,
    batches,
    digest,
    eval_arguments,
    make_datamodule,
    make_tokenizer,
    make_trainer,
    opened,
    write,
)
from omegaconf import OmegaConf

from llm_embedder_data import ConfigError, DataError, RetrievalDataModule
from llm_embedder_data.rows.schema import reading


def test_prepare_data_writes_files_and_changes_nothing_else(folder, tmp_path):
    datamodule = make_datamodule(folder, **eval_arguments(folder), cache_dir=tmp_path / "cache")
    before = copy.copy(vars(datamodule))

    datamodule.prepare_data()

    made = ("tokenizer", "recipe", "_builder")  # at their first use
    assert {k: v for k, v in vars(datamodule).items() if k not in made} == before
    assert list((tmp_path / "cache").glob("*.arrow"))
    with pytest.raises(ConfigError, match=r"no data yet: call prepare_data\(\) and setup\(\)"):
        datamodule.train_dataloader()
    for ask in (datamodule.report, datamodule.rejected_rows, datamodule.plan):
        with pytest.raises(ConfigError, match=r"no data yet: call prepare_data\(\) and setup\(\)"):
            ask()


def test_preparing_alone_meets_what_is_wrong(folder):
    with pytest.raises(DataError, match=r"/nowhere\.jsonl: there is no such file"):
        make_datamodule(folder, train_data="/nowhere.jsonl").prepare_data()


def test_preparing_for_other_ranks_warns_of_what_is_wrong_and_leaves_it_to_all_in_setup(folder):
    datamodule = as_rank(make_datamodule(folder, train_data="/nowhere.jsonl"), 0, 2)

    with pytest.warns(
        UserWarning, match=r"setup\(\) will try again: .*/nowhere\.jsonl: there is no"
    ):
        datamodule.prepare_data()


def test_setup_reads_no_file_again_and_builds_nothing_twice(folder, tmp_path, monkeypatch):
    datamodule = make_datamodule(folder, **eval_arguments(folder), cache_dir=tmp_path / "cache")
    datamodule.prepare_data()
    written, opened_files = [], []
    write_one, read_one = reading._write, reading.read_file
    monkeypatch.setattr(reading, "_write", lambda *a: written.append(a) or write_one(*a))
    monkeypatch.setattr(
        "llm_embedder_data.rows.source_rows.source_rows.read_file",
        lambda *a, **k: opened_files.append(a[0]) or read_one(*a, **k),
    )

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for stage in ("fit", "fit", "validate", "test", "predict", None):
            datamodule.setup(stage)

    assert written == []
    assert len(opened_files) == len(set(opened_files)) == 7
    assert len([one for one in found if "teacher_scores" in str(one.message)]) == 1


def test_validation_reads_no_training_data(folder):
    datamodule = make_datamodule(folder, train_data="/nowhere.jsonl", **eval_arguments(folder))

    datamodule.setup("validate")

    assert "train" in datamodule.report()
    assert not datamodule.report()["train"]


def test_a_file_that_changed_between_prepare_and_setup_is_read_anew(folder, tmp_path):
    path = write(tmp_path / "t" / "train.jsonl", [{"query": "q", "pos": ["p"], "neg": ["n"]}] * 4)
    settings = {"train_data": str(path), "batch_size": 2}
    datamodule = make_datamodule(folder, **settings)
    datamodule.prepare_data()
    path.write_text(path.read_text() * 2)

    datamodule.setup("fit")

    assert datamodule.report()["train"]["t"]["rows_read"] == 8


def test_nothing_is_asked_of_the_network(folder, sample_dir, minilm, monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    datamodule = make_datamodule(
        folder,
        tokenizer=minilm,
        recipe="llm_embedder",
        train_data=str(sample_dir / "*" / "train.jsonl"),
        eval_data=str(sample_dir / "qa" / "eval.jsonl"),
        corpus=str(sample_dir / "qa" / "corpus.jsonl"),
        query_max_length=64,
        key_max_length=64,
    )
    recorder = Recorder()
    make_trainer(max_epochs=1).fit(recorder, datamodule=datamodule)

    assert set(recorder.order) == {"qa", "convsearch", "tool", "chat", "lrlm", "icl"}
    assert {batch["dataset"] for batch in recorder.evaluated} == {"qa"}


def test_a_file_of_query_pos_and_neg_trains_with_the_defaults_and_says_what_was_assumed(
    tmp_path, minilm
):
    rows = [{"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"n {i}"]} for i in range(70)]
    path = write(tmp_path / "mine" / "train.jsonl", rows)
    datamodule = RetrievalDataModule(tokenizer=minilm, train_data=str(path))
    recorder = Recorder()

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        make_trainer(max_epochs=1).fit(recorder, datamodule=datamodule)

    assert recorder.order == ["qa", "qa"]
    entry = datamodule.report()["train"]["mine"]
    assert (entry["rows_kept"], entry["steps_per_epoch"]) == (70, 2)
    assert entry["rows_left_out_per_epoch"] == 6
    said = [str(one.message) for one in found]
    for sentence in (
        "70 rows name no task: taken as 'qa' (data.default_task)",
        "each query gets 2 keys (data.train_group_size=8 asks for more)",
    ):
        assert len([one for one in said if sentence in one]) == 1
        assert any(sentence in note for note in entry["notes"])
        # The table is cut to lines.
        assert sentence.split(":")[0] in " ".join(str(datamodule.report()).split())


FORKED = """
import os, sys
before = dict(os.environ)
sys.path[:0] = {paths!r}
from pathlib import Path
import llm_embedder_data.cli.main
assert dict(os.environ) == before, "importing changed the environment"
from datamodule_cases import batches, make_datamodule, opened
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({tokenizer!r})
tokenizer(["used before the fork"] * 200)
datamodule = opened(make_datamodule(Path({folder!r}), num_workers=2, tokenizer=tokenizer))
assert len(batches(datamodule)) == 11
assert os.environ["TOKENIZERS_PARALLELISM"] == "true"
print("done")
"""


@pytest.mark.slow
def test_importing_changes_no_environment_and_workers_outlive_a_tokenizer_used_before_the_fork(
    folder, minilm
):
    here = Path(__file__).parent
    code = FORKED.format(paths=[str(here), str(here.parent)], tokenizer=minilm, folder=str(folder))

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "true"},
    )

    assert "done" in done.stdout, done.stderr
    assert "forked" not in done.stderr


def test_hydras_containers_and_paths_are_taken_like_plain_python(folder, tmp_path):
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    plain = make_datamodule(folder)
    train = {name: str(folder / name / "train.jsonl") for name in ("qa", "tool", "chat")}
    config = OmegaConf.create(train)
    hydra = make_datamodule(
        folder,
        tokenizer=tmp_path / "tokenizer",
        train_data=config,
        recipe=OmegaConf.create(RECIPE),
    )

    config.qa = "/changed/later"

    first, second = (
        [digest(b["key"]["input_ids"]) for b in batches(opened(one))] for one in (plain, hydra)
    )
    assert first == second


def test_the_report_adds_up_and_prints(folder):
    datamodule = opened(make_datamodule(folder, **eval_arguments(folder)))
    report = datamodule.report()

    assert {kind: sorted(entries) for kind, entries in report.items()} == {
        "train": ["chat", "qa", "tool"],
        "eval": ["qa", "tool"],
        "corpus": ["qa", "tool"],
    }
    for entries in report.values():
        for entry in entries.values():
            assert entry["rows_read"] == entry["rows_kept"] + sum(entry["dropped"].values())
    assert sum(entry["steps_per_epoch"] for entry in report["train"].values()) == 11
    assert [report["train"][name]["scored_rows"] for name in ("qa", "tool", "chat")] == [23, 0, 5]
    for word in ("train", "eval", "corpus", "chat", "23", "rows have no teacher_scores"):
        assert word in str(report)


def test_the_report_prints_names_that_look_like_markup(folder):
    names = {"[bold]a": str(folder / "qa" / "train.jsonl"), "b[/x]": str(folder / "tool")}
    datamodule = opened(make_datamodule(folder, train_data={**names} | {"b[/x]": names["[bold]a"]}))

    assert "[bold]a" in str(datamodule.report())
    assert "b[/x]" in str(datamodule.report())


def test_a_small_dataset_that_is_dropped_is_said_and_counted(folder):
    datamodule = make_datamodule(folder, batch_size=9, small_datasets="drop")
    datamodule.prepare_data()

    with pytest.warns(UserWarning, match=r"dropped because they are smaller .*: chat \(8 rows\)"):
        datamodule.setup("fit")
    entry = datamodule.report()["train"]["chat"]
    assert (entry["rows_kept"], entry["steps_per_epoch"]) == (0, 0)
    assert entry["dropped"] == {"small_dataset": 8}


REFUSALS = {
    "positive": (
        {"select_positive": "teacherpos"},
        r"data\.select_positive='teacherpos': expected one of first, random, teacher, teacher-pos; "
        "did you mean 'teacher-pos'",
    ),
    "negative": (
        {"select_negative": "hard"},
        r"data\.select_negative='hard': expected one of random",
    ),
    "order": ({"organize_method": "epochs"}, "did you mean 'epoch'"),
    "remainder": ({"remainder": "wrap"}, r"data\.remainder='wrap': expected one of rotate, drop"),
    "small": ({"small_datasets": "skip"}, r"data\.small_datasets='skip': expected one of error"),
    "layout": ({"layout": "paked"}, r"data\.layout='paked': expected one of "),
    "tokenize": ({"tokenize": "never"}, r"data\.tokenize='never': expected one of "),
    "method": ({"eval_method": "search"}, r"data\.eval_method='search': expected one of retrieve"),
    "bad row": (
        {"on_bad_row": "ignore"},
        r"data\.on_bad_row='ignore': expected one of raise, skip",
    ),
    "no negatives": ({"on_no_negatives": "x"}, r"data\.on_no_negatives='x': expected one of drop"),
    "recipe": ({"recipe": "llm_embeder"}, "did you mean 'llm_embedder'"),
    "template": ({"key_template": "{text.__class__}"}, "expected plain field names"),
    "batch": ({"batch_size": 0}, r"data\.batch_size=0: expected a whole number of at least 1$"),
    "group": ({"train_group_size": -1}, r"data\.train_group_size=-1: expected a whole number"),
    "true": ({"batch_size": True}, r"data\.batch_size=True: expected a whole number"),
    "text": ({"seed": "7"}, r"data\.seed='7': expected a whole number of at least 0$"),
    "null": ({"max_sample_num": 0}, r"data\.max_sample_num=0: .* at least 1, or null$"),
    "auto": ({"num_workers": -1}, r"data\.num_workers=-1: .* at least 0, or auto$"),
    "cache_dir": ({"cache_dir": 3}, r"data\.cache_dir=3: expected the path of a folder, or null$"),
    "prefetch": ({"prefetch_factor": None}, r"data\.prefetch_factor=None: .* or auto$"),
    "number": (
        {"teacher_scores_min": "x"},
        r"data\.teacher_scores_min='x': expected a number, or nu",
    ),
    "flag": ({"cross": "yes"}, r"data\.cross='yes': expected true or false$"),
    "pin": ({"pin_memory": "no"}, r"data\.pin_memory='no': expected true or false, or auto$"),
    "tokenizer": ({"tokenizer": 3}, r"data\.tokenizer=3: expected a name, a path, or a tokenizer"),
    "task": ({"default_task": None}, r"data\.default_task=None: expected a task's name"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_an_argument_that_cannot_be_used_is_refused_where_it_is_given(folder, name):
    arguments, sentence = REFUSALS[name]

    with pytest.raises(ConfigError, match=sentence):
        make_datamodule(folder, **arguments)


def test_null_and_auto_are_taken_where_they_mean_something(folder):
    arguments = {"pad_to_multiple_of": None, "max_sample_num": None, "teacher_scores_min": None}
    automatic = {"num_workers": "auto", "pin_memory": "auto", "prefetch_factor": "auto"}

    assert batches(opened(make_datamodule(folder, **arguments, **automatic)))


def test_an_instruction_longer_than_a_side_is_refused(folder):
    recipe = {"instruction": {"*": {"query": "ask of everything there is ", "key": "k "}}}

    with pytest.raises(ConfigError, match=r"data\.query_max_length=24: .* takes 27 tokens"):
        opened(make_datamodule(folder, recipe=recipe))
    evals = eval_arguments(folder) | {"train_data": None}
    with pytest.raises(ConfigError, match=r"data\.query_max_length=24: .* takes 27 tokens"):
        opened(make_datamodule(folder, recipe=recipe, **evals), "validate")


def test_an_unknown_task_is_refused_with_those_that_there_are(folder, tmp_path):
    path = write(tmp_path / "t.jsonl", [{"query": "q", "pos": ["p"], "neg": ["n"], "task": "qq"}])

    with pytest.raises(DataError, match=r"t\.jsonl, row 0.*task 'qq' is not in .* chat, qa, tool"):
        opened(make_datamodule(folder, train_data=str(path)))


def test_a_tokenizer_that_is_not_there_is_refused(folder):
    with pytest.raises(ConfigError, match=r"data\.tokenizer='/nowhere' cannot be loaded"):
        opened(make_datamodule(folder, tokenizer="/nowhere"))


def test_training_without_training_data_is_refused(folder):
    with pytest.raises(ConfigError, match=r"data\.train_data=None: nothing to train on"):
        make_trainer().fit(Recorder(), datamodule=make_datamodule(folder, train_data=None))


def test_too_few_rows_are_refused_before_the_first_step(folder):
    with pytest.raises(ConfigError, match=r"'chat' has 8 rows, fewer than one global batch of 9"):
        make_trainer().fit(Recorder(), datamodule=make_datamodule(folder, batch_size=9))
