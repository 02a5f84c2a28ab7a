"""Small JSON files that show whether they are damaged."""

import pytest

from llm_embedder_data.core.checked_json import read_checked_json, write_checked_json
from llm_embedder_data.core.damaged_files import damaged_files


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"content": 1}']
)
def test_a_damaged_file_reads_as_none(tmp_path, damage):
    path = tmp_path / "a.digest"
    write_checked_json(path, {"stamp": [1, 2], "digest": "ab"})
    assert read_checked_json(path) == {"stamp": [1, 2], "digest": "ab"}
    assert damaged_files(tmp_path) == []

    path.write_bytes(damage)

    assert read_checked_json(path) is None
    assert damaged_files(tmp_path) == [path]
