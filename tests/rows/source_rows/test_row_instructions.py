"""The field ``instruction`` of rows, from every kind of file to the datasets."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from set_cases import ROW, evaluate, train, write

from llm_embedder_data.core.errors import ConfigError, DataError

ROWS = [
    {**ROW, "instruction": {"query": "ask ", "key": "find "}},
    {**ROW, "instruction": {"query": None, "key": ""}},
    {**ROW, "instruction": None},
    {**ROW, "instruction": {"query": None, "key": None}},
]


def instructions(train_set):
    columns = ("query_instruction", "key_instruction")
    return [tuple(row[name] for name in columns) for row in train_set.rows]


def as_file(tmp_path, ending):
    if ending == ".jsonl":
        return write(tmp_path, ROWS)
    path = tmp_path / f"train{ending}"
    table = pa.Table.from_pylist(ROWS)
    if ending == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".arrow"])
def test_instructions_are_read_from_every_kind_of_file(tmp_path, ending):
    [train_set] = train(as_file(tmp_path, ending))

    assert instructions(train_set) == [("ask ", "find "), (None, ""), (None, None), (None, None)]
    assert train_set.n_instructed == 2


def test_a_string_is_the_instruction_of_the_query(tmp_path):
    [train_set] = train(write(tmp_path, [{**ROW, "prompt": "ask "}]), source={
        "instruction": "prompt"
    })  # fmt: skip

    assert instructions(train_set) == [("ask ", None)]


def test_rows_without_the_field_have_none(tmp_path):
    [train_set] = train(write(tmp_path, [ROW]))
    [eval_set] = evaluate(write(tmp_path, [{"query": "q", "pos_index": [0]}]))

    assert instructions(train_set) == [(None, None)]
    assert (train_set.n_instructed, eval_set.n_instructed) == (0, 0)


def test_a_column_of_that_name_may_be_another_field(tmp_path):
    """As in Alpaca's files, whose ``instruction`` is the query."""
    rows = [{"instruction": "what is a tide?", "pos": ["p"], "neg": ["n"]}]
    [train_set] = train(write(tmp_path, rows), source={"query": "instruction"})

    assert train_set.rows["query"] == ["what is a tide?"]
    assert instructions(train_set) == [(None, None)]
    with pytest.raises(ConfigError, match="would both be read from the column 'a'"):
        train(write(tmp_path, rows), source={"query": "a", "instruction": "a"})


@pytest.mark.parametrize("value", [3, ["ask "], {"query": 3}, {"key": ["a"]}])
def test_another_value_is_a_fault_of_its_row(tmp_path, value):
    path = write(tmp_path, [ROW, {**ROW, "instruction": value}])

    with pytest.raises(DataError, match=r"line 2.*instruction"):
        train(path)
    [train_set] = train(path, on_bad_row="skip")
    assert train_set.dropped == {"bad_row": 1}


def test_only_kept_rows_are_counted(tmp_path):
    rows = [{**ROW, "instruction": "ask "}, {**ROW, "neg": [], "instruction": "ask "}, ROW]
    [train_set] = train(write(tmp_path, rows))

    assert train_set.n_instructed == 1


@pytest.mark.parametrize("before", [None, "plain ", {"query": "ask "}])
def test_a_misspelt_name_in_an_instruction_is_a_bad_row(tmp_path, before):
    rows = [{**ROW, "instruction": before}, {**ROW, "instruction": {"query": "a ", "kye": "b "}}]

    with pytest.raises(DataError, match="instruction has 'kye'; did you mean 'key'") as raised:
        train(write(tmp_path, rows))
    assert "line 2" in str(raised.value)


def test_a_misspelt_name_in_a_column_of_instructions_is_a_bad_row(tmp_path):
    rows = [{**ROW, "instruction": {"query": "a ", "kye": text}} for text in (None, "b ")]
    path = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)

    with pytest.raises(DataError, match=r"instruction.*kye: string.*query and key is needed"):
        train(path)
