"""Values that a parser or a column cannot hold."""

import gzip
import json

import pytest
from file_cases import LINES, ROWS, read, written
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.rows.columns.column import Column
from llm_embedder_data.rows.columns.conversion import columns_of
from llm_embedder_data.rows.files.json_text import array_blocks

DIGITS = st.integers(1, 5000).flatmap(
    lambda n: st.builds(
        lambda sign, digit: sign + digit * n,
        st.sampled_from(["", "-"]),
        st.sampled_from("123456789"),
    )
)


@given(DIGITS, st.booleans())
def test_an_integer_of_any_length_is_its_decimal_text(digits, in_array):
    wanted = [Column("text", "text")]
    line = b'{"text": %b, "other": [%b]}' % (digits.encode(), digits.encode())
    block = memoryview(line + b"\n" + b'{"text": "x"}')
    if in_array:
        [block] = array_blocks(b"[" + line + b', {"text": "x"}]')

    columns, faults = columns_of(block, wanted)

    assert (columns["text"].to_pylist(), faults) == ([digits, "x"], [None, None])


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_not_a_text(value):
    _, [fault] = columns_of(memoryview(b'{"text": %b}' % value.encode()), [Column("text", "text")])

    assert "is not a finite number" in fault


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
@pytest.mark.parametrize(
    "value", ["9" * 5000, "[" * 2000 + "]" * 2000, '{"a":' * 2000 + "1" + "}" * 2000]
)
@pytest.mark.parametrize("field", ["query", "other", "query_id", "teacher_scores", "pos"])
def test_unusual_json_is_a_row_or_a_fault(tmp_path, name, value, field):
    row = json.dumps({**ROWS[0], field: "HERE"}).replace('"HERE"', value)
    rows = [*map(json.dumps, ROWS), row, json.dumps({**ROWS[0], "query_id": "text"})]
    content = ("[" + ",\n".join(rows) + "]" if name == "a.json" else "\n".join(rows)).encode()
    path = written(tmp_path, gzip.compress(content) if name.endswith(".gz") else content, name)

    faults = read(path)["fault"]

    assert [fault is None for fault in faults] == [True] * 4 + [field == "other", True]
    assert all(fault is None or len(fault) < 300 for fault in faults)


def test_a_line_of_utf_16_is_not_a_row(tmp_path):
    hidden = json.dumps({**ROWS[0], "query": "hidden"})
    for code in ("utf-16-le", "utf-16-be", "utf-16", "utf-32"):
        path = written(tmp_path, LINES + hidden.encode(code) + b"\n" + LINES)

        made = read(path)

        assert "hidden" not in made["query"]
        faults = [fault for fault in made["fault"] if fault]
        assert faults
        assert all("UTF" in fault for fault in faults)
