"""A line of many megabytes is read like a short one."""

import json
import re

import pytest
from file_cases import LINES, ROWS, read, written
from slow_cases import mostly_slow

from llm_embedder_data.rows.files.json_files import line_of_row


@pytest.mark.parametrize("text", ["word ", "é ", "😀 ", "line\\n", 'w", "'])
@pytest.mark.parametrize("field", mostly_slow(["query", "pos", "neg", "other", "text"], "neg"))
def test_a_long_line_is_read_like_a_short_one(tmp_path, text, field):
    long = '"' + text * ((9 << 20) // len(text)) + 'end"'
    value = f"[{long}]" if field in ("pos", "neg") or text == 'w", "' else long
    line = json.dumps(ROWS[0] | {field: "HERE"}).replace('"HERE"', value)
    path = written(tmp_path, LINES + line.encode() + b"\n" + LINES)

    made = read(path)[4]

    wanted = json.loads(line)
    if field == "query" and isinstance(wanted["query"], list):
        assert re.match(r"query=\['w', 'w', .*\(a string is needed\)", made["fault"])
    else:
        assert made["fault"] is None
        assert (made["query"], made["key"]) == (wanted["query"], wanted["pos"] + wanted["neg"])
    assert line_of_row(str(path), 5) == 6
