"""Datasets and their files from what a user names."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.config import ConfigError
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.file_formats import format_of
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS
from llm_embedder_data.rows.sources.sources import resolve_sources

FILES = (
    "chat/train.jsonl",
    "qa/nq/train.jsonl",
    "qa/msmarco/train.jsonl",
    "qa/msmarco/dev.jsonl",
    "other/msmarco/train.jsonl.gz",
    "other/msmarco/train.parquet",
    "third/msmarco/train.jsonl",
)


@pytest.fixture
def root(tmp_path):
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("{}\n")
    return tmp_path


def resolve(data, setting="data.train_data", **more):
    return resolve_sources(data, setting=setting, fields=TRAIN_FIELDS, **more)


def named(sources, root):
    return {
        source.name: [os.path.relpath(file, root) for file in source.files] for source in sources
    }


def test_a_dataset_is_named_after_its_folder(root):
    sources = resolve([f"{root}/chat/train.jsonl", f"{root}/qa/nq/train.jsonl"])

    assert named(sources, root) == {"chat": ["chat/train.jsonl"], "nq": ["qa/nq/train.jsonl"]}


def test_clashing_names_get_more_of_their_path(root):
    sources = resolve(f"{root}/**/*.*")

    assert [source.name for source in sources] == [
        "chat",
        "msmarco/train.jsonl.gz",
        "msmarco/train.parquet",
        "msmarco/dev",
        "qa/msmarco/train",
        "nq",
        "third/msmarco/train",
    ]


def test_a_path_listed_twice_is_two_datasets(root):
    path = f"{root}/chat/train.jsonl"

    assert [source.name for source in resolve([path, path, path])] == ["chat", "chat#2", "chat#3"]


@given(st.lists(st.sampled_from(FILES), min_size=1, max_size=8))
def test_names_are_always_unique(tmp_path_factory, files):
    root = tmp_path_factory.getbasetemp() / "unique"
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()

    names = [source.name for source in resolve([str(root / file) for file in files])]

    assert len(set(names)) == len(files)


@pytest.mark.parametrize("order", [1, -1])
def test_files_are_sorted_whatever_the_order_on_disk(root, monkeypatch, order):
    listing = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listing(path))[::order])
    (root / "qa/msmarco/dev.jsonl").rename(root / "qa/msmarco/more.jsonl")

    found = resolve([f"{root}/qa/*/train.jsonl", f"{root}/qa/msmarco", f"{root}/chat/train.jsonl"])

    assert [os.path.relpath(source.files[0], root) for source in found] == [
        "qa/msmarco/train.jsonl",
        "qa/nq/train.jsonl",
        "qa/msmarco/more.jsonl",
        "qa/msmarco/train.jsonl",
        "chat/train.jsonl",
    ]


def test_a_folder_gives_its_data_files_and_no_others(root):
    for name in ("README.md", ".hidden.jsonl"):
        (root / "chat" / name).write_text("{}\n")

    [source] = resolve(str(root / "chat"))
    assert named([source], root) == {"chat": ["chat/train.jsonl"]}
    assert source.notes == ()


@pytest.mark.parametrize(("kind", "wanted"), [("train", ["rest", "train"]), ("eval", ["test"])])
def test_of_a_folder_with_files_of_splits_only_those_for_the_rows_are_read(root, kind, wanted):
    for name in ("train", "test", "rest"):
        (root / "split").mkdir(exist_ok=True)
        (root / "split" / f"{name}.jsonl").write_text("{}")

    sources = resolve(f"{root}/split", kind=kind)

    files = [os.path.basename(source.files[0]) for source in sources]
    assert files == [f"{name}.jsonl" for name in wanted]


def test_a_copy_of_a_data_set_of_the_hub_is_one_dataset(root):
    (root / "copy" / "data").mkdir(parents=True)
    (root / "copy" / "README.md").touch()
    for name in ("train-00000-of-00001", "test-00000-of-00001"):
        (root / "copy" / "data" / f"{name}.parquet").write_text("PAR1")

    assert named(resolve(f"{root}/copy"), root) == {"copy": ["copy"]}


def test_a_mapping_names_datasets_of_one_or_more_files(root):
    sources = resolve(
        {
            "b": f"{root}/chat/train.jsonl",
            "a": {
                "path": f"{root}/qa/*/train.jsonl",
                "task": "qa",
                "weight": 2,
                "query": "question",
            },
            "c": [f"{root}/qa/nq/train.jsonl", f"{root}/chat"],
        }
    )

    assert named(sources, root) == {
        "b": ["chat/train.jsonl"],
        "a": ["qa/msmarco/train.jsonl", "qa/nq/train.jsonl"],
        "c": ["qa/nq/train.jsonl", "chat/train.jsonl"],
    }
    assert (sources[1].task, sources[1].weight, sources[1].fields) == (
        "qa",
        2,
        {"query": "question"},
    )
    assert (sources[0].task, sources[0].weight, sources[0].fields) == (None, 1.0, {})


def test_a_dict_source_has_settings_and_names_of_fields(root):
    [source] = resolve(
        {
            "path": f"{root}/chat/train.jsonl",
            "format": "json",
            "batch_size": 8,
            "in_batch_negatives": False,
            "max_sample_num": 100,
            "pos": "positives",
            "task": "chat",
        }
    )

    assert source.name == "chat"
    assert (source.format, source.batch_size, source.max_sample_num) == ("json", 8, 100)
    assert source.in_batch_negatives is False
    assert source.task == "chat"
    assert source.fields == {"pos": "positives"}  # task is a setting, no name of a field


def test_a_prefix_stands_for_the_data_root(root):
    [source] = resolve("llm-embedder:chat/train.jsonl", data_root=root)

    assert source.files == (f"{root}/chat/train.jsonl",)


def test_package_data_can_be_named():
    [source] = resolve("pkg://llm_embedder_data/sample/qa/train.jsonl")

    assert source.name == "qa"
    assert os.path.isfile(source.files[0])


def test_an_existing_file_with_brackets_in_its_name_is_not_a_pattern(root):
    (root / "chat/train[1].jsonl").touch()

    assert named(resolve(f"{root}/chat/train[1].jsonl"), root) == {"chat": ["chat/train[1].jsonl"]}


def test_no_source_gives_no_dataset():
    assert resolve(None) == []


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"path": "{root}", "wieght": 2}, "data.train_data: unknown key 'wieght', expected one of"),
        ({"path": "{root}", "wieght": 2}, "did you mean 'weight'?"),
        ([{"path": "{root}", "quer": "q"}], "data.train_data[0]: unknown key 'quer'"),
        ({"qa": {"path": "{root}", "task": 3}}, "data.train_data.qa.task=3: expected a string"),
        ({"qa": {"path": "{root}", "weight": 0}}, "qa.weight=0: expected a number above 0"),
        ({"qa": {"path": "{root}", "weight": True}}, "qa.weight=True: expected a number"),
        ({"qa": {"path": "{root}", "batch_size": 0}}, "qa.batch_size=0: expected an integer of"),
        ({"qa": {"path": "{root}", "max_sample_num": 1.5}}, "qa.max_sample_num=1.5: expected an"),
        ({"qa": {"path": "{root}", "in_batch_negatives": "no"}}, "='no': expected true or false"),
        ({"qa": {"path": "{root}", "format": "jsonl"}}, "qa.format='jsonl': expected one of auto"),
        ({"qa": None}, "data.train_data.qa: no source (give a path, or take it out with ~data."),
        ({"qa": {"task": "qa"}}, "data.train_data.qa: no path (name the file or files to read)"),
        (7, "data.train_data=7: expected a path, or a mapping with the key 'path'"),
        ([7], "data.train_data[0]=7: expected a path"),
        ([[7]], "data.train_data[0]: 7 is not a path"),
        ([[]], "data.train_data[0]: an empty list (name at least one file, or give null)"),
        ("llm-embedder:qa", "stands for data_root, which is not set (give data.data_root)"),
        ("pkg://nowhere/x", "there is no package 'nowhere' (install it, or give a plain path)"),
    ],
)
def test_an_invalid_setting_is_refused(root, data, sentence):
    def filled(value):
        if isinstance(value, dict):
            return {key: filled(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [filled(entry) for entry in value]
        return f"{root}/chat" if value == "{root}" else value

    with pytest.raises(ConfigError, match=re.escape(sentence)):
        resolve(filled(data))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("nowhere.jsonl", "there is no such file (data.train_data="),
        ("*/nothing-*.jsonl", "the pattern matches no file (data.train_data="),
        (
            "nothing",
            "the folder holds no data file (data.train_data; .jsonl, .json, .ndjson, .parquet",
        ),
    ],
)
def test_a_path_without_a_file_is_an_error(root, path, sentence):
    (root / "nothing").mkdir()
    with pytest.raises(DataError, match=re.escape(f"{root}/{path}: {sentence}")):
        resolve(f"{root}/{path}")


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a.jsonl", "json"),
        ("a.json.gz", "json"),
        ("a.ndjson.zst", "json"),
        ("a.parquet", "parquet"),
        ("a.b.arrow", "arrow"),
    ],
)
def test_the_file_ending_gives_the_format(path, wanted):
    assert format_of(path, "auto") == wanted
    assert format_of("a.txt", "parquet") == "parquet"


def test_an_unknown_ending_is_an_error():
    sentence = "a.tsv: the ending '.tsv' is not one of .jsonl, .json"
    with pytest.raises(
        DataError, match=rf"{re.escape(sentence)}.*give the source a format: json, "
    ):
        format_of("a.tsv", "auto")
