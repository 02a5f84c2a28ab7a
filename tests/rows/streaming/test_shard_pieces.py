"""The pieces of a file hold its rows, however it was written."""

import tempfile
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import DataError
from llm_embedder_data.core.sealed_files import sealed_file
from llm_embedder_data.rows.schema.train import TRAIN_ROWS
from llm_embedder_data.rows.streaming import shard_pieces
from llm_embedder_data.rows.streaming.shard_pieces import (
    Shard,
    digest_of,
    pieces_of,
    write_rows,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "before": TEXT,
            "query": TEXT,
            "between": TEXT.map(lambda text: text * 40),
            "pos": st.lists(TEXT, max_size=3),
            "neg": st.none() | st.lists(TEXT, max_size=3),
        }
    ),
    min_size=1,
    max_size=40,
)
SCHEMA = pa.schema(
    [
        ("before", pa.string()),
        ("query", pa.string()),
        ("between", pa.string()),
        ("pos", pa.list_(pa.string())),
        ("neg", pa.list_(pa.string())),
    ]
)


def written(path, table, rows_per_group, compression):
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=rows_per_group, compression=compression)
        return "parquet"
    new = pa.ipc.new_file if path.stem == "file" else pa.ipc.new_stream
    with new(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_per_group)
    return "arrow"


def rows_of(path, shard):
    found = []
    for piece in shard.pieces:
        content = path.read_bytes()
        contents = [content[start:end] for start, end in piece.ranges]
        assert digest_of(contents) == piece.digest
        target = path.with_name("piece.arrow")
        write_rows(target, shard, piece, contents)
        with pa.memory_map(str(target)) as file:
            table = pa.ipc.open_stream(file).read_all()
            assert len(table) == piece.n_rows
            found += table.to_pylist()
    return found


@given(
    ROWS,
    st.sampled_from(["a.parquet", "file.arrow", "stream.arrow"]),
    st.integers(1, 17),
    st.sampled_from(["none", "zstd", "snappy"]),
    st.sampled_from([1, 300, 1 << 20]),
    st.sampled_from([1, 1 << 16]),
)
@tried(60)
def test_pieces_give_the_rows_of_the_columns_that_are_read(
    rows, name, rows_per_group, compression, least, gap
):
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(shard_pieces, "_LEAST_BYTES", least),
        patch.object(shard_pieces, "_LEAST_GAP", gap),
    ):
        path = Path(folder) / name
        container = written(path, pa.Table.from_pylist(rows, SCHEMA), rows_per_group, compression)
        found = pieces_of(path, container, ["query", "pos", "neg"])
        header = Path(folder) / "header.bin"
        with sealed_file(header) as file:
            file.write(found.header)
        shard = Shard(str(path), "a", container, TRAIN_ROWS, header, found.pieces)

        expected = [{key: row[key] for key in ("query", "pos", "neg")} for row in rows]
        assert rows_of(path, shard) == expected
        if least == 1:
            assert len(shard.pieces) == -(-len(rows) // rows_per_group)


def test_columns_that_are_not_read_are_not_fetched(tmp_path):
    rows = [{"query": f"q{n}", "other": f"{n}" * 5000, "pos": ["p"]} for n in range(200)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, compression="none", use_dictionary=False)

    [piece] = pieces_of(path, "parquet", ["query", "pos", "neg"]).pieces

    assert piece.n_bytes < 0.1 * path.stat().st_size


def test_dictionaries_of_arrow_files_are_refused(tmp_path):
    path = tmp_path / "a.arrow"
    table = pa.table({"query": pa.array(["a", "b"]).dictionary_encode()})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)

    with pytest.raises(DataError, match=r"a\.arrow: it has messages of the kind dictionary"):
        pieces_of(path, "arrow", ["query"])
