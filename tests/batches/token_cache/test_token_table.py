"""A token table has each distinct text once, and is opened whole or not at all."""

import os
import shutil

import pytest
from hypothesis import given
from table_cases import LONG, ROWS, build, check, ids_of

from llm_embedder_data.batches.token_cache.growing_table import RowBlock
from llm_embedder_data.batches.token_cache.table_building import build_table
from llm_embedder_data.batches.token_cache.token_table import TokenTable


@given(rows=ROWS)
def test_a_table_has_every_text_once_under_its_number(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("t") / "table"

    check(build(folder, rows), rows)

    assert build(folder, rows, tokenize=None).file == folder  # there already
    assert [path.name for path in folder.parent.iterdir()] == ["table"]


def test_many_different_ids_are_kept_whole(tmp_path):
    table = build_table(
        tmp_path / "t",
        lambda first: iter([RowBlock(1, {"text": ["a"]})]),
        {"text": ""},
        lambda texts: [[250_000] * len(text) for text in texts],
        n_ids=lambda: 250_001,
    )

    assert ids_of(table, table.array("text")) == [[250_000]]


def test_a_file_that_was_cut_off_is_found_out_and_made_again(tmp_path):
    build(tmp_path / "t", LONG)
    os.truncate(tmp_path / "t", 100)

    with pytest.raises(FileNotFoundError):
        TokenTable(tmp_path / "t")
    check(build(tmp_path / "t", LONG), LONG)


def test_a_finished_table_needs_no_permission_to_write(tmp_path):
    build(tmp_path / "t", LONG)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy2(tmp_path / "t", copy / "t")
    copy.chmod(0o555)

    check(build(copy / "t", LONG, tokenize=None), LONG)
