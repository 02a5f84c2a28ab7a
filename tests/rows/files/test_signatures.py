"""Files that are known by their first bytes, and named for what they are."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_cases import LINES, ROWS, read, refused, train, written


def test_a_table_under_the_name_of_lines_is_a_table(tmp_path):
    path = written(tmp_path, b"")
    pq.write_table(pa.table({"query": ["q"], "pos": [["p"]], "neg": [["n"]]}), path)

    assert read(path)["query"] == ["q"]
    other = written(tmp_path, path.read_bytes())
    assert "it is a parquet file, not json" in refused(lambda: train(other, format="json"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (LINES.decode().encode("utf-16"), "it is UTF-16 text"),
        (LINES.decode().encode("utf-16-le"), "it is UTF-16 text"),
        (LINES.decode().encode("utf-16-be"), "it is UTF-16 text"),
        (LINES.decode().encode("utf-32"), "it is UTF-32 text"),
        (LINES.decode().encode("utf-32-be"), "it is UTF-32 text"),
        (json.dumps(ROWS).encode("utf-16"), "it is UTF-16 text"),
        (b"PK\x03\x04...", "it is a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run: git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "it is an HTML page"),
        (b'["a", "b"]\n["c", "d"]\n', "each line is a JSON array"),
        (b'[{"query": "q"}] x', "something else follows the array"),
        (b'[{"query": "q"},\n{"query": 1,, }]', "row 1: Expecting property name"),
        (b'[{"query": "q"}', "the file ends after row 0"),
    ],
)
def test_the_error_for_another_kind_of_file_names_the_kind(tmp_path, content, sentence):
    message = refused(lambda: read(written(tmp_path, content)))

    assert sentence in message
    assert len(message.splitlines()) == 1
