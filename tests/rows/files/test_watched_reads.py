"""Whoever watches is told how far each file has been read, whatever it is packed in."""

import bz2
import gzip
import json
import lzma
from hashlib import sha512

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_embedder_data import read_rows
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.files.watched_reads import watching_reads
from llm_embedder_data.rows.schema.reading import read_file
from llm_embedder_data.rows.schema.train import TRAIN_ROWS

# Texts that no compression makes much smaller.
ROWS = [
    {"query": f"query {i}", "pos": [sha512(bytes([i % 251, i // 251])).hexdigest()], "neg": ["n"]}
    for i in range(9_000)
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
PACKED = {
    "plain": lambda content: content,
    "gz": lambda content: gzip.compress(content, 1),
    "bz2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}


def told_of(path, read):
    told = []
    with watching_reads(lambda *found: told.append(found)):
        read()
    assert {found[0] for found in told} == {str(path)}
    assert {found[2] for found in told} == {path.stat().st_size}
    return [found[1] for found in told]


@pytest.mark.parametrize("name", PACKED)
def test_a_file_of_lines_is_told_until_its_end(tmp_path, name):
    path = tmp_path / ("t.jsonl" if name == "plain" else f"t.jsonl.{name}")
    path.write_bytes(PACKED[name](LINES))

    n_read = told_of(path, lambda: read_file(str(path), TRAIN_ROWS, cache_dir=tmp_path / "c"))

    assert max(n_read) == path.stat().st_size
    last_pass = n_read[len(n_read) - n_read[::-1].index(min(n_read)) - 1 :]
    assert last_pass == sorted(last_pass)
    assert len(set(n_read)) > 3
    assert len(read_file(str(path), TRAIN_ROWS, cache_dir=tmp_path / "c")) == len(ROWS)


def test_other_formats_are_told_too(tmp_path):
    path = tmp_path / "t.csv"
    lines = (f"a {i},b {i} {'word ' * 60}\n" for i in range(9999))
    path.write_text(f"anchor,positive\n{''.join(lines)}")

    n_read = told_of(path, lambda: list(read_rows(str(path), cache_dir=tmp_path / "c")))

    assert max(n_read) == path.stat().st_size
    assert len(set(n_read)) > 2


@pytest.mark.parametrize("container", ["parquet", "file", "stream"])
@pytest.mark.parametrize("is_native", [True, False])
def test_tables_are_told_until_their_end_while_they_are_read(tmp_path, container, is_native):
    path = tmp_path / ("t.parquet" if container == "parquet" else "t.arrow")
    table = pa.Table.from_pylist(ROWS)
    if container == "parquet":
        pq.write_table(table, path, row_group_size=2000)
    else:
        write = pa.ipc.new_file if container == "file" else pa.ipc.new_stream
        with write(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=2000)

    def read():
        if is_native:
            return len(read_file(str(path), TRAIN_ROWS, cache_dir=tmp_path / "c"))
        return len(list(read_rows(str(path), cache_dir=tmp_path / "c")))

    content_digest(str(path), tmp_path / "c")  # or its bytes are told too
    n_read = told_of(path, read)

    assert max(n_read) == path.stat().st_size
    assert n_read == sorted(n_read)
    assert len(set(n_read)) > 3


def test_nothing_is_told_behind_the_block(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(LINES)
    told = []
    with watching_reads(lambda *found: told.append(found)):
        pass

    read_file(str(path), TRAIN_ROWS, cache_dir=tmp_path / "c")

    assert told == []
