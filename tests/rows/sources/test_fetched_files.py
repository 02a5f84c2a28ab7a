"""Files behind addresses are fetched once, whole, and with their digest on record."""

import functools
import http.server
import socket
import threading
from pathlib import Path

import fsspec
import pytest
import xxhash

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.sources.fetched_files import fetched
from llm_embedder_data.rows.sources.sources import resolve_sources

CONTENT = b'{"query": "q", "pos": ["p"]}\n'


@pytest.fixture
def memory():
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


def test_a_file_is_fetched_once_and_its_digest_is_on_record(tmp_path, memory):
    memory.pipe("/data/train.jsonl", CONTENT)

    [path] = map(Path, fetched("memory://data/train.jsonl", tmp_path))
    memory.rm("/data", recursive=True)

    assert path.name == "train.jsonl"
    assert path.read_bytes() == CONTENT
    assert fetched("memory://data/train.jsonl", tmp_path) == [str(path)]
    assert xxhash.xxh3_128_hexdigest(CONTENT) in (path.parents[2] / "files.json").read_text()


def test_a_file_that_is_not_whole_is_fetched_again(tmp_path, memory):
    memory.pipe("/data/train.jsonl", CONTENT)
    [path] = map(Path, fetched("memory://data/train.jsonl", tmp_path))
    path.write_bytes(b"cut")

    assert fetched("memory://data/train.jsonl", tmp_path) == [str(path)]
    assert path.read_bytes() == CONTENT


def test_a_folder_keeps_its_layout(tmp_path, memory):
    memory.pipe({"/beir/corpus.jsonl": b"{}", "/beir/qrels/test.tsv": b"x", "/beir/.git": b""})

    [path] = map(Path, fetched("memory://beir", tmp_path))

    found = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    assert found == ["corpus.jsonl", "qrels/test.tsv"]


def test_a_folder_of_folders_is_one_dataset(tmp_path, memory):
    memory.pipe({"/hub/name/README.md": b"#", "/hub/name/data/train-0.jsonl": CONTENT})

    [source] = resolve_sources(
        "memory://hub/name", setting="data.train_data", fields=[], cache_dir=tmp_path
    )

    assert source.name == "name"
    assert Path(source.files[0]).is_dir()


def test_a_pattern_gives_its_files(tmp_path, memory):
    memory.pipe({"/data/a.jsonl": b"{}", "/data/b.jsonl": b"{}", "/data/c.csv": b"x"})

    paths = fetched("memory://data/*.jsonl", tmp_path)

    assert [Path(path).name for path in paths] == ["a.jsonl", "b.jsonl"]


def test_names_that_a_disk_does_not_take_stay_apart(tmp_path, memory):
    names = ["a:b.jsonl", "a_b.jsonl", "a%b.jsonl", f"{'x' * 300}1.jsonl", f"{'y' * 300}1.jsonl"]
    memory.pipe({f"/data/{name}": name.encode() for name in names})

    paths = fetched("memory://data/*.jsonl", tmp_path)

    assert sorted(Path(path).read_text() for path in paths) == sorted(names)


def test_an_error_on_the_way_leaves_no_file(tmp_path, memory, monkeypatch):
    memory.pipe("/data/train.jsonl", CONTENT)

    def broken(self, length=-1):
        raise OSError("the line went dead")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFile.read", broken, raising=False)
    with pytest.raises(DataError, match="the line went dead"):
        fetched("memory://data/train.jsonl", tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith("train")]


def test_nothing_at_an_address_is_said(tmp_path, memory):
    with pytest.raises(DataError, match="there is nothing at this address"):
        fetched("memory://data/none.jsonl", tmp_path)


@pytest.mark.parametrize(
    ("address", "message"),
    [("gs://bucket/a.jsonl", "needs the package gcsfs"), ("quux://a/b", "nothing here opens quux")],
)
def test_an_address_that_nothing_opens_says_what_is_needed(tmp_path, monkeypatch, address, message):
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)

    with pytest.raises(ConfigError, match=message):
        fetched(address, tmp_path, "train_data")


@pytest.fixture
def server(tmp_path):
    """A folder served on this machine; its address."""
    pytest.importorskip("aiohttp")
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def test_a_file_of_a_web_server(tmp_path, server):
    folder, address = server
    (folder / "train.csv").write_bytes(b"query,pos\nq,p\n")

    [path] = map(Path, fetched(f"{address}/train.csv?download=true", tmp_path / "cache"))

    assert path.name == "train.csv"
    assert path.read_bytes() == b"query,pos\nq,p\n"


def test_a_server_that_does_not_answer(tmp_path):
    pytest.importorskip("aiohttp")
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{bound.getsockname()[1]}/a.csv"

        with pytest.raises(DataError, match=r"cannot be fetched: .*[Cc]onnect"):
            fetched(address, tmp_path / "cache")


def test_a_page_that_is_not_there(tmp_path, server):
    with pytest.raises(DataError, match="there is nothing at this address"):
        fetched(f"{server[1]}/none.csv", tmp_path / "cache")
