"""Files of formats, written from records or text, and read back as canonical rows."""

import json
from collections import Counter

import pytest

from llm_embedder_data.rows.foreign_rows.row_reader import RowReader


class Folder:
    """A folder in which a test writes files; ``left_out`` is of the last reading."""

    def __init__(self, path):
        self.path = path
        self.left_out = Counter()

    def write(self, name, content):
        """Write text as it is, a list as JSON Lines, and another value as JSON."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(record) + "\n" for record in content)
        elif not isinstance(content, str):
            content = json.dumps(content)
        path.write_text(content, encoding="utf-8")
        return path

    def read(self, source, **settings):
        """The rows of a source."""
        reader = RowReader(str(source), **settings)
        try:
            return list(reader.rows())
        finally:
            self.left_out = sum((found.left_out for found in reader.report), Counter())

    def rows(self, content, name="rows.jsonl", **settings):
        """The rows of a file of some content."""
        return self.read(self.write(name, content), **settings)

    def row(self, content, name="rows.jsonl", **settings):
        """The one row of a file, without the fields that are None or empty."""
        (row,) = self.rows(content, name, **settings)
        return {field: value for field, value in row.items() if value not in (None, [])}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def beside(folder):
    """A corpus of d1, d2, d3 and queries 1, 2, as settings."""
    corpus = [{"_id": f"d{n}", "text": f"text {n}"} for n in (1, 2, 3)]
    queries = [{"_id": n, "text": f"query {n}"} for n in (1, 2)]
    return {
        "corpus": str(folder.write("beside/corpus.jsonl", corpus)),
        "queries": str(folder.write("beside/queries.jsonl", queries)),
    }
