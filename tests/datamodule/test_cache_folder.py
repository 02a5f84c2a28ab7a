"""A cache folder in any state: the same batches, or one clear error; and bounded resources."""

import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from datamodule_cases import make_datamodule, opened, seen_batch, write_train
from test_faults import in_a_process

from llm_embedder_data.core.damaged_files import damaged_files
from llm_embedder_data.core.errors import DataError


def seen(own, **arguments):
    datamodule = opened(make_datamodule(own, tokenize="cached", **arguments))
    return [seen_batch(batch) for batch in datamodule.train_dataloader()]


@pytest.fixture(scope="module")
def warm(folder, tmp_path_factory):
    """Data with a full cache, and its batches."""
    own = tmp_path_factory.mktemp("warm") / "own"
    shutil.copytree(folder, own, ignore=shutil.ignore_patterns("cache"))
    return own, seen(own)


def damage(path, kind, draw):
    content = path.read_bytes()
    at = draw.randrange(max(1, len(content)))
    if kind == "flip":
        path.write_bytes(
            content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
        )
    elif kind == "cut":
        path.write_bytes(content[:at])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "json":
        path.write_bytes(draw.choice([b"{}", b"[]", b"null", b"[" * 9999, b"1e999"]))
    elif kind == "zeros":
        path.write_bytes(content[:at] + bytes(len(content) - at))
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "another":
        others = [one for one in path.parent.glob(f"*{path.suffix}") if one != path]
        path.write_bytes(draw.choice(others).read_bytes() if others else b"other")


KINDS = ["flip", "flip", "cut", "empty", "json", "zeros", "folder", "another"]


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_damage_to_any_file_of_a_cache_is_repaired(warm, tmp_path, kind):
    own, wanted = warm
    draw = random.Random(kind)
    names = [file.relative_to(own) for file in sorted((own / "cache").rglob("*"))]
    names = [name for name in names if (own / name).is_file() and name.suffix != ".lock"]
    assert {name.suffix for name in names} >= {".arrow", ".digest", ".bin"}
    one_of_each = {name.suffix: name for name in names}.values()
    for i, name in enumerate(one_of_each):
        copy = tmp_path / str(i)
        shutil.copytree(own / "cache", copy)
        damage(copy / name.relative_to("cache"), kind, draw)
        assert seen(own, cache_dir=copy) == wanted
        assert damaged_files(copy) == []


def test_a_full_folder_with_the_name_of_a_table_is_one_clear_error(warm, tmp_path):
    own, _ = warm
    copy = shutil.copytree(own / "cache", tmp_path / "cache")
    table = next(copy.glob("tokens/*/*.bin"))
    table.unlink()
    table.mkdir()
    (table / "inside").touch()

    with pytest.raises(DataError, match="a folder has the name of a cache file: delete it"):
        seen(own, cache_dir=copy)


def with_few_files(folder, n_files):
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, n_files))
    train = {f"d{i}": str(folder / "tool" / "train.jsonl") for i in range(60)}
    datamodule = opened(make_datamodule(folder, tokenize="cached", train_data=train))
    return len(list(datamodule.train_dataloader()))


def test_datasets_hold_no_file_open(warm):
    own, _ = warm
    n_open = len(os.listdir("/proc/self/fd"))

    assert isinstance(in_a_process(with_few_files, own, n_open + 30), int)
    said = in_a_process(with_few_files, own, n_open + 3)
    assert "ulimit -n" in said
    assert "make room" not in said


SPAWN = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import multiprocessing, pickle
import llm_embedder_data.rows.source_rows.row_numbers as numbers
from datamodule_cases import make_datamodule, opened, seen_batch

if __name__ == "__main__":
    numbers._IN_MEMORY = 4
    multiprocessing.set_start_method("spawn")
    for how in ("on-the-fly", "cached"):
        folder = Path({folder!r})
        alone = opened(make_datamodule(folder, tokenize=how))
        one = opened(make_datamodule(folder, tokenize=how, num_workers=1))
        loader = one.train_dataloader()
        assert list(map(seen_batch, loader)) == list(map(seen_batch, alone.train_dataloader()))
"""


@pytest.mark.slow
def test_workers_that_are_spawned_make_the_same_batches(warm, tmp_path):
    own, _ = warm
    script = tmp_path / "spawn.py"
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    script.write_text(SPAWN.format(paths=paths, folder=str(own)))

    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_what_a_spawned_worker_is_sent_does_not_grow_with_the_rows(tmp_path, monkeypatch, tokenize):
    monkeypatch.setattr("llm_embedder_data.rows.source_rows.row_numbers._IN_MEMORY", 4)
    sizes = []
    for n_rows in (200, 4000):
        write_train(tmp_path / "qa" / "train.jsonl", "qa", n_rows, n_neg=2)
        train = {"qa": str(tmp_path / "qa" / "train.jsonl")}
        datamodule = opened(make_datamodule(tmp_path, train_data=train, tokenize=tokenize))
        sizes.append(len(pickle.dumps(datamodule.train_dataloader().dataset)))

    assert sizes[1] < sizes[0] + 2000
