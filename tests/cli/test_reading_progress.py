"""A large file has a bar while it is read, on a terminal alone."""

import io

import pytest
from rich.console import Console

from llm_embedder_data.cli.reading_progress import reading_progress
from llm_embedder_data.rows.files.raw_content import open_content
from llm_embedder_data.rows.files.watched_reads import opened_file


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize(("n_bytes", "is_large"), [(20 << 20, True), (1 << 20, False)])
def test_large_files_have_a_bar_on_a_terminal(tmp_path, is_terminal, n_bytes, is_large):
    path = tmp_path / "large[b]\x1b.jsonl"
    path.write_bytes(b"\n" * n_bytes)
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=is_terminal, width=120)

    with reading_progress(console), open_content(str(path)) as file:
        assert (opened_file(str(path)) is not None) == is_terminal
        while file.read(1 << 22):
            pass

    assert (r"reading large[b]\x1b.jsonl" in shown.getvalue()) == (is_terminal and is_large)
    if is_terminal and is_large:
        assert "/21.0 MB" in shown.getvalue()
