"""Sealed files show whether they hold what was written."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.core import platforms
from llm_embedder_data.core.checked_json import read_checked_json
from llm_embedder_data.core.damaged_files import damaged_files
from llm_embedder_data.core.file_errors import remedy
from llm_embedder_data.core.sealed_files import is_whole, sealed_file


def write(path, content):
    with sealed_file(path) as file:
        file.write(content)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"of another user")
    assert damaged_files(tmp_path) == [path]

    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read all files

    assert damaged_files(tmp_path) == []


@given(content=st.binary(max_size=40), at=st.integers(0, 200), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path, content, at, bit):
    path = tmp_path / "a.bin"
    write(path, content)
    whole = bytearray(path.read_bytes())
    assert is_whole(path)
    whole[at % len(whole)] ^= 1 << bit

    path.write_bytes(whole)

    assert not is_whole(path)
    assert damaged_files(tmp_path) == [path]


@given(content=st.binary(max_size=40), cut=st.integers(1, 80), more=st.binary(max_size=3))
def test_a_sealed_file_is_whole_at_its_own_length_only(tmp_path, content, cut, more):
    path = tmp_path / "a.bin"
    write(path, content)
    whole = path.read_bytes()
    assert whole.startswith(content)
    other = whole[: max(0, len(whole) - cut)] + more

    path.write_bytes(other)

    assert is_whole(path) == (other == whole)


def test_damage_behind_an_unchanged_time_is_found_in_full_only(tmp_path):
    path = tmp_path / "a.bin"
    write(path, b"content")
    state = path.stat()
    path.write_bytes(b"kontent" + path.read_bytes()[7:])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    assert is_whole(path)
    assert not is_whole(path, in_full=True)
    assert damaged_files(tmp_path) == [path]


def test_a_copy_is_whole_and_gets_its_time_back_and_another_name_is_another_file(tmp_path):
    path, other = tmp_path / "a.bin", tmp_path / "b.bin"
    write(path, b"content")
    time = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes())
    other.write_bytes(path.read_bytes())
    assert path.stat().st_mtime_ns != time

    assert is_whole(path)
    assert not is_whole(other)
    kept = path.stat().st_mtime_ns
    assert kept % (2 * 10**9) == 0
    assert is_whole(path)
    assert path.stat().st_mtime_ns == kept


def test_what_is_no_file_is_not_whole_and_not_waited_for(tmp_path):
    (tmp_path / "folder.bin").mkdir()
    os.mkfifo(tmp_path / "pipe.bin")
    (tmp_path / "empty.bin").touch()
    (tmp_path / "folder.digest").mkdir()

    for name in ("folder.bin", "pipe.bin", "empty.bin", "missing.bin"):
        assert not is_whole(tmp_path / name)
    assert read_checked_json(tmp_path / "folder.digest") is None
    assert len(damaged_files(tmp_path)) == 4
    write(tmp_path / "folder.bin", b"an empty folder makes way")
    assert is_whole(tmp_path / "folder.bin")
    (tmp_path / "other.bin").mkdir()
    (tmp_path / "other.bin" / "inside").touch()
    with pytest.raises(IsADirectoryError) as error:
        write(tmp_path / "other.bin", b"")
    assert "a folder has the name of a cache file: delete it" in remedy(error.value)


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor):
        is_folder = os.path.isdir(f"/proc/self/fd/{descriptor}")
        done.append("folder" if is_folder else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", lambda *two: (done.append("name"), replace(*two)))

    write(tmp_path / "a.bin", b"content")

    at = done.index("name")
    assert "file" in done[:at]
    assert done[at + 1 :] == ["folder"]


def test_a_file_that_cannot_be_replaced_may_be_the_same(tmp_path, monkeypatch):
    """As on Windows, where another process that made the same file first has it mapped."""

    def refuse(source, target):
        raise PermissionError(13, "it is open")

    write(tmp_path / "a.bin", b"content")
    monkeypatch.setattr(platforms.os, "replace", refuse)

    write(tmp_path / "a.bin", b"content")
    with pytest.raises(PermissionError):
        write(tmp_path / "b.bin", b"content")

    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
