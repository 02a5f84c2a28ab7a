"""Files of any container as raw records: text of cells, JSON, compressed, and what is refused."""

import bz2
import gzip
import json
import lzma
import pickle
import re

import pyarrow as pa
import pytest

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.records.raw_files import RawFile


@pytest.fixture
def file(tmp_path):
    """Makes a file of some content."""

    def make(name, content, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return RawFile(str(path), **options)

    return make


def values(file):
    return [record.value for record in file]


PACKED = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda content: pa.compress(content, codec="zstd", asbytes=True),
    "none": bytes,
}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("name", ["rows.csv", "rows.gz", "rows"])
def test_content_says_how_a_text_is_packed_whatever_its_name(file, packing, name):
    rows = file(name, PACKED[packing](b"query,pos\r\nrye,bread\r\n"))

    assert values(rows) == [{"query": "rye", "pos": "bread"}]


@pytest.mark.parametrize(("mark", "word"), [(",", "commas"), (";", "semicolons"), ("|", "bars")])
def test_the_delimiter_is_seen(file, mark, word):
    rows = file("rows.csv", f"query{mark}pos\nwhy - oh why{mark}so\n")

    assert values(rows) == [{"query": "why - oh why", "pos": "so"}]
    assert rows.dialect == f"{word}, a header, quoted"


def test_every_column_is_text_and_empty_cells_stay(file):
    rows = file("rows.csv", "id,text,label\n00474,2022-10-31,true\nNA,,18446744073709551616\n")

    assert values(rows) == [
        {"id": "00474", "text": "2022-10-31", "label": "true"},
        {"id": "NA", "text": "", "label": "18446744073709551616"},
    ]


def test_quoted_cells_hold_newlines_and_doubled_quotes(file):
    rows = file(
        "rows.csv", '\ufeffquery,pos \r\n"a ""neap"" tide","one\r\ntwo"\r\n\r\n"b","c, d"\r\n'
    )

    assert [(record.value, record.row, record.line) for record in rows] == [
        ({"query": 'a "neap" tide', "pos": "one\r\ntwo"}, 0, 2),
        ({"query": "b", "pos": "c, d"}, 1, 5),
    ]


def test_a_blank_before_a_quote_belongs_to_the_separator(file):
    assert values(file("rows.csv", 'query, pos\n"a, b", "c"\n')) == [{"query": "a, b", "pos": "c"}]


def test_a_blank_before_other_cells_is_text(file):
    assert values(file("rows.csv", "query,pos\na, b\n")) == [{"query": "a", "pos": " b"}]


def test_quotes_that_are_not_doubled_are_read_where_the_number_of_cells_is_right(file):
    rows = file("rows.csv", 'query,pos\n"He said "hi" to me",b\n"x, y","z"\n')

    assert values(rows) == [
        {"query": 'He said "hi" to me', "pos": "b"},
        {"query": "x, y", "pos": "z"},
    ]


def test_quotes_that_leave_the_cells_unclear_are_an_error_with_the_line(file):
    rows = file("rows.csv", 'query,pos\na,b\n"He said "hi", then",b\nx,y\n')

    with pytest.raises(DataError, match=re.escape("row 1 (line 3): its quotes are broken")):
        values(rows)


def test_a_header_needs_two_known_names(file):
    assert values(file("rows.tsv", "Query\tPOS \nq\tp\n")) == [{"Query": "q", "POS": "p"}]
    assert values(file("rows.tsv", "query\tsome passage\nq\tp\n")) == [
        ["query", "some passage"],
        ["q", "p"],
    ]


def test_a_header_decides_on_the_delimiter_also_if_each_line_has_four_words_as_in_trec(file):
    lines = ["anchor,positive,negative", "an 00,po 00,ne 00", "an 01,po 01,ne 01"]

    read = file("train.csv", "\n".join(lines) + "\n")

    assert read.container == "cells"
    assert read.header == ("anchor", "positive", "negative")


def test_a_name_that_the_user_gave_makes_a_header(file):
    rows = file("rows.csv", "frage;antwort\nq;p\n", names=("frage",))

    assert values(rows) == [{"frage": "q", "antwort": "p"}]


def test_a_column_named_twice_is_refused(file):
    with pytest.raises(DataError, match="names the column 'pos' twice"):
        values(file("rows.csv", "query,pos,pos\nq,p,n\n"))


def test_a_line_that_repeats_the_header_is_no_record(file):
    content = "query,pos\nq,p\nquery,pos\nr,s\n"

    with pytest.raises(DataError, match=r"row 1 \(line 3\): it repeats the header"):
        values(file("rows.csv", content))
    skipping = file("rows.csv", content, skips_bad_records=True)
    assert values(skipping) == [{"query": "q", "pos": "p"}, {"query": "r", "pos": "s"}]
    assert skipping.counts == {"records that cannot be read": 1}


@pytest.mark.parametrize("name", ["rows.csv", "runs.tsv"])
def test_a_byte_order_mark_inside_is_no_part_of_a_cell(file, name):
    first = "query,pos\nq,p\n" if name == "rows.csv" else "q1\td1\t0.5\nq2\td2\t0.4\n"

    with pytest.raises(DataError, match=r"\(line 3\): it begins with a byte order mark"):
        values(file(name, first + "\ufeff" + first.splitlines()[1] + "\n"))


def test_lines_that_end_in_returns_alone_are_lines(file):
    for end in ("", "\r", "\n", "\r\n"):
        rows = file("rows.csv", "query,pos\rq,p\rr,s" + end)

        assert values(rows) == [{"query": "q", "pos": "p"}, {"query": "r", "pos": "s"}]


def test_tabs_without_a_header_never_quote(file):
    rows = file("triples.tsv", 'q1\t"An unclosed passage\tn1\nq2\t"all of it"\tn2\n')

    assert values(rows) == [["q1", '"An unclosed passage', "n1"], ["q2", '"all of it"', "n2"]]
    assert rows.dialect == "tabs, no header, no quoting"


def test_tabs_as_pandas_writes_them_are_quoted(file):
    rows = file("rows.tsv", 'query\tpos\n"a ""b"" c"\t"one\ntwo"\n"tab\there"\tx\n')

    assert values(rows) == [
        {"query": 'a "b" c', "pos": "one\ntwo"},
        {"query": "tab\there", "pos": "x"},
    ]


def test_tabs_with_a_header_and_stray_quotes_are_not_quoted(file):
    rows = file("rows.tsv", 'query\tpos\n"An unclosed\tb\nx\tends"\n')

    assert values(rows) == [{"query": '"An unclosed', "pos": "b"}, {"query": "x", "pos": 'ends"'}]


def test_a_stray_quote_far_behind_the_first_lines_swallows_nothing(file):
    many = "".join(f"q{i}\tp{i} {'x' * 100}\n" for i in range(5000))
    rows = file("rows.tsv", f'query\tpos\n{many}q\t"An unclosed\nr\ts\nt\tends"\n')

    assert values(rows)[-3:] == [
        {"query": "q", "pos": '"An unclosed'},
        {"query": "r", "pos": "s"},
        {"query": "t", "pos": 'ends"'},
    ]


def test_signs_that_only_python_takes_for_line_breaks_are_text(file):
    text = "a\u2028b\x0bc\x85d\re"

    assert values(file("rows.tsv", f"1\t{text}\n2\tx\n")) == [["1", text], ["2", "x"]]


def test_fields_between_blanks(file):
    rows = file("qrels.txt", "q1 0  d1 1\nq1\t0 d2 \t 0\n")

    assert values(rows) == [["q1", "0", "d1", "1"], ["q1", "0", "d2", "0"]]
    assert rows.container == "fields"


def test_one_line_of_another_shape_does_not_hide_the_delimiter(file):
    triples = "".join(f"why, oh why {n}\tp, q\tn\n" for n in range(20))
    judged = "".join(f"q1 0 d{n} 1\n" for n in range(20))

    assert values(file("t.txt", f"{triples}a line, alone\n"))[-1] == ["a line, alone"]
    assert values(file("q.txt", f"{judged}q1 0 one more 1\n"))[-1] == [
        "q1",
        "0",
        "one",
        "more",
        "1",
    ]


def test_judgments_between_tabs_keep_the_blanks_of_a_document_id(file):
    rows = file("qrels.tsv", "q1\t0\ta b.txt\t1\nq1\t0\tc\t0\n")

    assert values(rows)[0] == ["q1", "0", "a b.txt", "1"]


@pytest.mark.parametrize(("line", "n_cells"), [("a,b,c", 3), ("a", 1)])
def test_a_ragged_row_is_an_error_with_its_line(file, line, n_cells):
    rows = file("rows.csv", f"query,pos\nq,p\n{line}\n")

    with pytest.raises(DataError, match=re.escape("row 1 (line 3): expected 2 cells")) as error:
        values(rows)
    assert f"found {n_cells}" in str(error.value)


def test_a_ragged_row_is_counted_where_bad_records_are_skipped(file):
    rows = file("rows.csv", "query,pos\nq,p\na\nr,s\n", skips_bad_records=True)

    assert [record.row for record in rows] == [0, 2]
    assert rows.counts == {"records that cannot be read": 1}


def test_empty_cells_behind_the_last_column_are_none(file):
    rows = file("rows.csv", "query,pos\nq,p,,\n,,\n")

    assert values(rows) == [{"query": "q", "pos": "p"}]
    assert rows.counts == {"lines of empty cells": 1}


def test_cells_that_are_lists_in_json_or_python_become_lists(file):
    rows = file(
        "rows.csv",
        'query,pos,neg,text\na,"[""x, y"", ""z""]","[\'it\\\'s\', ""b""]",[1]\n'
        'b,[],"[\'c\']",plain\nc,"[1, 2.5, null]",,[2]\n',
    )

    assert values(rows) == [
        {"query": "a", "pos": ["x, y", "z"], "neg": ["it's", "b"], "text": "[1]"},
        {"query": "b", "pos": [], "neg": ["c"], "text": "plain"},
        {"query": "c", "pos": [1, 2.5, None], "neg": None, "text": "[2]"},
    ]
    assert rows.dialect == "commas, a header, quoted, lists in pos, neg"


def test_a_later_cell_that_is_no_list_is_an_error_with_its_line(file):
    many = "".join(f"q{i},\"['p{i}']\"\n" for i in range(60))

    with pytest.raises(DataError, match=re.escape("row 60 (line 62): pos: the cells before it")):
        values(file("rows.csv", f"query,pos\n{many}q,plain\n"))


def test_arrays_as_numpy_shows_them_are_refused(file):
    with pytest.raises(DataError, match="arrays as NumPy shows them"):
        values(file("rows.csv", "query,pos\na,\"['b' 'c']\"\n"))


@pytest.mark.parametrize(
    ("content", "container", "expected"),
    [
        ('{"a": 1}\n\n{"a": NaN, "b": "é"}\n', "lines", [1, "nan"]),
        ('["a", "b"]\n["c", "d"]\n', "lines", ["a", "c"]),
        ('["a", "b"]\n', "lines", ["a"]),
        ('[{"a": 1}, {"a": 2}]', "array", [1, 2]),
        ('[\n  {\n    "a": 1\n  },\n  {\n    "a": Infinity\n  }\n]\n', "array", [1, "inf"]),
        ('[{"a": 1},\n{"a": 2}]', "array", [1, 2]),
        ("[]", "array", []),
        ('{\n  "a": -Infinity\n}', "object", ["-inf"]),
        ('{"a":\n 1}\n{"a":\n 2}', "object", [1, 2]),
        ('{"a": 1}', "lines", [1]),
    ],
)
def test_json_of_every_layout(file, content, container, expected):
    rows = file("rows.txt", "\ufeff" + content)

    def first(value):
        found = value["a"] if isinstance(value, dict) else value[0]
        return str(found) if isinstance(found, float) else found

    assert [first(value) for value in values(rows)] == expected
    assert rows.container == container


def test_an_array_beyond_one_block_is_read_whole(file):
    made = [{"n": n, "text": "é😀" * (n % 50), "x": [n, {"y": None}]} for n in range(40_000)]

    assert values(file("rows.json", json.dumps(made, ensure_ascii=False))) == made
    numbers = [[n, n / 7] for n in range(200_000)]
    assert values(file("numbers.json", json.dumps(numbers))) == numbers


@pytest.mark.parametrize("indent", [None, 1])
def test_a_large_object_is_read_part_by_part(file, monkeypatch, indent):
    monkeypatch.setattr("llm_embedder_data.rows.records.json_records._LARGE_DOCUMENT", 1 << 20)
    monkeypatch.setattr("llm_embedder_data.rows.records.json_records._LARGE_VALUE", 1 << 16)
    corpus = {f"n{n}": f"é{n} " * 9 for n in range(60_000)}
    made = {"queries": {}, "corpus": corpus, "relevant_docs": {"q": [["n1"]]}, "x": [1.5, None]}
    rows = file("rows.json", json.dumps(made, ensure_ascii=False, indent=indent))

    assert values(rows) == [made]
    assert rows.container == "object"
    broken = json.dumps(made, indent=indent).replace('"n40000":', '"n40000"')
    with pytest.raises(DataError, match="not JSON"):
        values(file("broken.json", broken))


def test_a_long_line_is_no_array(file):
    made = [{"text": "x" * 400_000}, {"text": "y"}]

    assert values(file("rows.jsonl", "\n".join(map(json.dumps, made)))) == made
    assert values(file("rows.json", json.dumps(made))) == made


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a": }\n', "row 1 (line 2): not JSON"),
        ('{"a": \n{"a": 2}\n', "row 0 (line 1): not JSON"),
        ('[{"a": 1},', "the file ends after row 0"),
        ('[{"a": 1}] x', "something else follows the array of 1 rows: 'x'"),
        ('[{"a": 1} {"a": 2}]', "'{' stands after row 0"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": ' * 100_000 + "\n", "nested too deep"),
        (b'{"a": "\xe9"}\n', "not UTF-8"),
        (b"query,pos\nq,p\n\xe9,x\n", "line 3 is not UTF-8 text, byte 0xe9"),
        ("query,pos\nq,p\n".encode("utf-16"), "it is UTF-16 text"),
        ("query,pos\nq,p\n".encode("utf-16-le"), "UTF-16"),
        ('{"a": 1}\n'.encode("utf-16-be"), "UTF-16"),
        (pickle.dumps([{"query": "q"}]), "it is a pickle"),
        (pickle.dumps([{"query": "q"}], 0), "it is a pickle"),
        ("\n <!doctype HTML><p>login", "it is an HTML page"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b"%PDF-1.7", "a PDF document"),
        (gzip.compress(b"PAR1", mtime=0), "a parquet file inside another"),
        (gzip.compress(b"query,pos\nq,p\n", mtime=0)[:-4], "cut off"),
        (b"PAR1 and no more", "cannot be read as parquet"),
        (b"\xff\xff\xff\xff\x00\x00", "cannot be read as arrow"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(file, content, message):
    with pytest.raises(DataError, match=re.escape(message)) as error:
        values(file("rows.dat", content))

    assert "rows.dat" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        values(RawFile(str(tmp_path / "none.csv")))


def test_a_file_of_few_records_is_parsed_once(file):
    rows = file("rows.jsonl", '{"a": 1}\n{"a": 2}\n')

    assert rows.head[0] is next(iter(rows)).value
