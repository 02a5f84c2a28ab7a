"""Folders of builds: deleted if abandoned, kept if in use."""

import os

from table_cases import LONG, build, check

from llm_embedder_data.core.checked_json import write_checked_json


def test_what_was_left_long_ago_is_deleted_and_what_is_being_made_is_not(tmp_path):
    left, alive = (tmp_path / f"other.{name}.building" for name in ("left", "alive"))
    for place in (left, alive):
        place.mkdir()
        write_checked_json(place / "owner.json", "another machine")
    write_checked_json(left / "owner.json", os.uname().nodename)
    for place in (left, alive):
        os.utime(place, (0, 0))

    build(tmp_path / "t", LONG)

    assert not left.exists()
    assert alive.exists()


def test_a_build_that_another_process_finishes_meanwhile_is_no_hindrance(tmp_path):
    # Its folder is renamed between being listed and being looked at: so it is there, and is not.
    (tmp_path / "other.renamed.building").symlink_to("nowhere")

    check(build(tmp_path / "t", LONG), LONG)


def test_a_folder_that_no_process_has_claimed_is_deleted_after_a_while(tmp_path):
    """Its process was killed right after making it, or while deleting it."""
    left, new = (tmp_path / f"other.{name}.building" for name in ("left", "new"))
    for place in (left, new):
        place.mkdir()
        (place / "ids.bin").touch()
    os.utime(left, (0, 0))

    build(tmp_path / "t", LONG)

    assert not left.exists()
    assert new.exists()
