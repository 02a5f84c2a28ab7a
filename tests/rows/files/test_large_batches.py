"""A cache file has few batches, however few rows come at a time."""

import io

import pyarrow as pa

from llm_embedder_data.rows.files import large_batches
from llm_embedder_data.rows.files.large_batches import LargeBatches

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string())])


def written(sizes):
    file, start = io.BytesIO(), 0
    with LargeBatches(file, SCHEMA) as writer:
        for size in sizes:
            numbers = range(start, start + size)
            arrays = [pa.array(numbers, pa.int64()), pa.array(map(str, numbers), pa.string())]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
            start += size
    return pa.ipc.open_stream(file.getvalue()).read_all()


def test_small_batches_become_one_in_their_order():
    table = written([3, 0, 5, 1] * 20)

    assert table.column("number").num_chunks == 1
    assert table.column("number").to_pylist() == list(range(9 * 20))


def test_batches_are_merged_up_to_a_size_and_larger_ones_stay(monkeypatch):
    monkeypatch.setattr(large_batches, "_MERGED_BYTES", 400)

    table = written([10, 10, 100, 10, 10])

    assert [len(chunk) for chunk in table.column("number").chunks] == [20, 100, 20]
    assert table.column("number").to_pylist() == list(range(140))


def test_no_batch_is_no_row():
    assert written([]).num_rows == 0
