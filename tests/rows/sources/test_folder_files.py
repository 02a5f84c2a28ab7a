"""Which files of a folder are read: the same by read_rows, convert and the data module."""

import json
from pathlib import Path

import pytest

from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.sources import resolve_sources
from llm_embedder_data.rows.train_sets import read_train_rows


def rows_of(name):
    return [{"query": f"{name} {number}", "pos": [f"p {name}"], "neg": ["n"]} for number in (0, 1)]


def put(folder, *names, content=None):
    """Write files; the queries of each begin with its name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows_of(name))
        path.write_text(lines if content is None else content)


def names_in(queries):
    return {query.rpartition(" ")[0] for query in queries}


def read_by_reader(path, kind="train"):
    """The names of the files that a reader of rows reads, and what it says is left out."""
    reader = RowReader(str(path), kind=kind)
    names = names_in(row["query"] for row in reader.rows())
    return names, " ".join(why for found in reader.report for why in found.left_out)


def read_by_module(path, cache, kind="train"):
    """The same of the data module."""
    names, notes = set(), []
    for source in resolve_sources(
        str(path), setting="data.train_data", fields=TRAIN_FIELDS, kind=kind
    ):
        read = read_train_rows(source, ReadingSettings(load_recipe("bge"), cache_dir=cache))
        names |= names_in(read.rows["query"])
        notes += [*source.notes, *read.notes]
    return names, " ".join(note for note in notes if "read" in note or "left out" in note)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "rows"
    path.mkdir()
    return path


def check(folder, tmp_path, names, left_out=(), pattern=""):
    for read, said in (
        read_by_reader(folder / pattern),
        read_by_module(folder / pattern, tmp_path / "cache"),
    ):
        assert read == set(names)
        assert all(name in said for name in left_out), said
        assert bool(said) == bool(left_out), said


@pytest.mark.parametrize(
    "name", ["._a.jsonl", ".DS_Store", "README.md", "LICENSE", "_SUCCESS", "_metadata", "run.log"]
)
def test_files_that_never_hold_rows_are_skipped(folder, tmp_path, name):
    put(folder, "a.jsonl")
    put(folder, name, content="\0 no rows")

    check(folder, tmp_path, ["a.jsonl"])


def test_descriptions_of_a_dataset_are_skipped(folder, tmp_path):
    put(folder, "a.jsonl")
    put(folder, "dataset_infos.json", "counts.json", content='{"default": {}}')

    check(folder, tmp_path, ["a.jsonl"])


def test_a_name_that_only_begins_like_theirs_is_read(folder, tmp_path):
    put(folder, "README_rows.jsonl", "counts.jsonl", "stateless.jsonl", "_b.jsonl")

    check(folder, tmp_path, ["README_rows.jsonl", "counts.jsonl", "stateless.jsonl", "_b.jsonl"])


def test_empty_files_and_links_to_nothing_are_named(folder, tmp_path):
    put(folder, "a.jsonl")
    put(folder, "b.jsonl", content="")
    (folder / "c.jsonl").symlink_to(folder / "gone.jsonl")

    check(folder, tmp_path, ["a.jsonl"], ["b.jsonl", "c.jsonl"])


def test_files_of_another_kind_are_named(folder, tmp_path):
    put(folder, "a.jsonl", "part-00001", "c.jsonl.tmp")
    put(folder, "notes.txt", content="made on a Monday\n")

    check(folder, tmp_path, ["a.jsonl"], ["part-00001", "c.jsonl.tmp", "notes.txt"])


def test_files_without_an_ending_are_read_if_there_are_no_others(folder, tmp_path):
    put(folder, "part-00000", "part-00001")
    put(folder, "_SUCCESS", content="")

    check(folder, tmp_path, ["part-00000", "part-00001"])


def test_files_of_other_splits_are_named(folder, tmp_path):
    put(folder, "train.jsonl", "test.jsonl", "more.jsonl")

    check(folder, tmp_path, ["train.jsonl", "more.jsonl"], ["test.jsonl"])


def test_folders_below_are_read_if_there_is_no_file(folder, tmp_path):
    put(folder, "train/a.jsonl", "test/b.jsonl", ".cache/c.jsonl", "__pycache__/d.jsonl")

    check(folder, tmp_path, ["train/a.jsonl"], ["test/b.jsonl"])


def test_folders_beside_files_are_named(folder, tmp_path):
    put(folder, "a.jsonl", "more/b.jsonl")
    (folder / "empty").mkdir()

    check(folder, tmp_path, ["a.jsonl"], ["more"])


def test_links_to_files_and_folders_are_followed(folder, tmp_path):
    put(tmp_path / "elsewhere", "a.jsonl")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "linked" / "again").symlink_to(folder)  # a circle

    check(folder, tmp_path, ["a.jsonl"])


def test_a_file_behind_a_link_that_changes_is_read_again(folder, tmp_path):
    put(tmp_path / "elsewhere", "a.jsonl")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    read_by_module(folder, tmp_path / "cache")

    (tmp_path / "elsewhere" / "a.jsonl").rename(tmp_path / "elsewhere" / "c.jsonl")
    put(tmp_path / "elsewhere", "c.jsonl")

    assert read_by_module(folder, tmp_path / "cache")[0] == {"c.jsonl"}


def test_a_pattern_of_folders_gives_the_files_of_each(folder, tmp_path):
    put(folder, "f1/a.jsonl", "f2/b.jsonl")

    check(folder, tmp_path, ["f1/a.jsonl", "f2/b.jsonl"], pattern="f*")


def test_folders_that_a_pattern_matches_beside_files_are_named(folder, tmp_path):
    put(folder, "f1/a.jsonl", "b.jsonl")

    check(folder, tmp_path, ["b.jsonl"], ["f1"], pattern="*")


def test_evaluation_reads_its_split_alone_and_names_the_other_files(folder):
    put(folder, "train.jsonl", "dev.jsonl", "test.jsonl", "more.jsonl")

    sources = resolve_sources(str(folder), setting="data.eval_data", fields=(), kind="eval")

    assert [Path(file).name for one in sources for file in one.files] == ["test.jsonl"]
    for left_out in ("train.jsonl", "dev.jsonl", "more.jsonl"):
        assert left_out in sources[0].notes[0]


def test_a_folder_of_empty_files_is_refused_with_their_names(folder):
    put(folder, "a.jsonl", content="")

    with pytest.raises(DataError, match=r"no data file; left out: 1 file .*\(a\.jsonl\)"):
        resolve_sources(str(folder), setting="data.train_data", fields=())
