"""Compressed files are known by content, and damaged ones are refused."""

import bz2
import gzip
import lzma

import pyarrow as pa
import pytest
from file_cases import LINES, read, refused, written
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.rows.files.json_files import line_of_row

PACKINGS = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda content: pa.compress(content, codec="zstd", asbytes=True),
    "none": bytes,
}
NAMES = [
    "a.jsonl",
    "a.jsonl.gz",
    "A.JSONL",
    "a.Json.GZ",
    "a.ndjson.zst",
    "a.jsonl.bz2",
    "a.json.xz",
]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", NAMES)
def test_the_compression_is_detected_from_the_content(tmp_path, packing, name):
    path = written(tmp_path, PACKINGS[packing](LINES), name)

    assert read(path)["query"] == ["q 0", "q 1", "q 2", "q 3"]
    assert line_of_row(str(path), 2) == 3


@pytest.mark.parametrize("packing", ["gzip", "bz2", "xz", "zstd"])
def test_a_file_may_have_several_compressed_members(tmp_path, packing):
    pack = PACKINGS[packing]
    path = written(tmp_path, pack(LINES[:50]) + pack(LINES[50:]) + pack(b""))

    assert len(read(path)) == 4


@pytest.mark.parametrize("n_zeros", [1, 512, 200_000])
def test_zeros_after_a_member_are_padding(tmp_path, n_zeros):
    padding = bytes(n_zeros)
    member = gzip.compress(LINES)

    assert len(read(written(tmp_path, member + padding, "a.jsonl.gz"))) == 4
    assert len(read(written(tmp_path, member + padding + member + padding, "a.jsonl.gz"))) == 8


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gzip.compress(LINES) + b"more", "something else follows the gzip data: b'more'"),
        (gzip.compress(LINES) + b"\0\0" + LINES, "something else follows the gzip data"),
        (gzip.compress(LINES)[:-1], "the gzip data was cut off"),
        (gzip.compress(LINES)[:-9], "the gzip data was cut off"),
        (gzip.compress(LINES)[:-8] + bytes(8), "the gzip data is damaged"),
        (bz2.compress(LINES)[:-1], "the bz2 data was cut off"),
        (bz2.compress(LINES) + b"more", "something else follows the bz2 data"),
        (lzma.compress(LINES)[:-1], "the xz data was cut off"),
        (PACKINGS["zstd"](LINES)[:-1], "cannot be read as json"),
        (gzip.compress(gzip.compress(LINES)), "it is compressed twice, the inner time by gzip"),
    ],
    ids=range(10),  # gzip writes the time, and pytest would name the cases after it
)
def test_truncated_or_trailing_compressed_data_is_refused(tmp_path, content, sentence):
    assert sentence in refused(lambda: read(written(tmp_path, content)))


@given(st.data())
def test_every_truncated_gzip_file_is_refused(tmp_path_factory, data):
    whole = gzip.compress(LINES, mtime=0)
    content = whole[: data.draw(st.integers(12, len(whole) - 1))]

    assert "cut off" in refused(lambda: read(written(tmp_path_factory.getbasetemp(), content)))
