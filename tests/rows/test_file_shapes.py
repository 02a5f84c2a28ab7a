"""Files of another shape: known by content, or named for what they are, in one sentence."""

import bz2
import gzip
import itertools
import json
import lzma
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.config import ConfigError
from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.columns.column import Column
from llm_embedder_data.rows.columns.conversion import columns_of
from llm_embedder_data.rows.corpora import build_corpus
from llm_embedder_data.rows.eval_sets import build_eval_sets
from llm_embedder_data.rows.files import lines as module
from llm_embedder_data.rows.files.json_files import line_of_row
from llm_embedder_data.rows.files.json_text import array_blocks
from llm_embedder_data.rows.files.lines import line_blocks, lines_of_rows
from llm_embedder_data.rows.known_columns import look_like_ids, nearest_mapping
from llm_embedder_data.rows.reading import read_file
from llm_embedder_data.rows.reading_settings import ReadingSettings
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS, TRAIN_ROWS
from llm_embedder_data.rows.shown_values import shown
from llm_embedder_data.rows.sources import resolve_sources
from llm_embedder_data.rows.train_sets import build_train_sets
from llm_embedder_data.rows.train_settings import TrainSettings

ROWS = [{"query": f"q {i}", "pos": [f"p {i}"], "neg": ["n"], "task": "qa"} for i in range(4)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
COUNT = itertools.count()


def written(folder, content, name="train.jsonl"):
    path = folder / f"shape-{next(COUNT)}" / name
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines_of(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(path):
    return read_file(str(path), TRAIN_ROWS, cache_dir=path.parent / "cache")


def train(path, on_bad_row="raise", settings=None, **source):
    [resolved] = resolve_sources(
        {"path": str(path), **source}, key="data.train_data", fields=TRAIN_FIELDS
    )
    [made] = build_train_sets(
        resolved,
        ReadingSettings(load_recipe("bge"), on_bad_row=on_bad_row, cache_dir=path.parent / "cache"),
        settings_of=lambda task: settings or TrainSettings(),
    )
    return made


def refused(call):
    with pytest.raises(DataError) as raised:
        call()
    return str(raised.value)


# -- containers ------------------------------------------------------------------------------------

PACKINGS = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda content: pa.compress(content, codec="zstd", asbytes=True),
    "none": bytes,
}
NAMES = [
    "a.jsonl",
    "a.jsonl.gz",
    "A.JSONL",
    "a.Json.GZ",
    "a.ndjson.zst",
    "a.jsonl.bz2",
    "a.json.xz",
]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_file_is_packed_by_is_seen_in_it_whatever_its_name(tmp_path, packing, name):
    path = written(tmp_path, PACKINGS[packing](LINES), name)

    assert read(path)["query"] == ["q 0", "q 1", "q 2", "q 3"]
    assert line_of_row(str(path), 2) == 3


@pytest.mark.parametrize("packing", ["gzip", "bz2", "xz", "zstd"])
def test_members_follow_each_other(tmp_path, packing):
    pack = PACKINGS[packing]
    path = written(tmp_path, pack(LINES[:50]) + pack(LINES[50:]) + pack(b""))

    assert len(read(path)) == 4


@pytest.mark.parametrize("n_zeros", [1, 512, 200_000])
def test_zeros_behind_a_member_are_padding(tmp_path, n_zeros):
    padding = bytes(n_zeros)
    member = gzip.compress(LINES)

    assert len(read(written(tmp_path, member + padding, "a.jsonl.gz"))) == 4
    assert len(read(written(tmp_path, member + padding + member + padding, "a.jsonl.gz"))) == 8


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gzip.compress(LINES) + b"more", "behind the gzip data stands something else, b'more'"),
        (gzip.compress(LINES) + b"\0\0" + LINES, "behind the gzip data stands something else"),
        (gzip.compress(LINES)[:-1], "the gzip data was cut off"),
        (gzip.compress(LINES)[:-9], "the gzip data was cut off"),
        (gzip.compress(LINES)[:-8] + bytes(8), "the gzip data is damaged"),
        (bz2.compress(LINES)[:-1], "the bz2 data was cut off"),
        (bz2.compress(LINES) + b"more", "behind the bz2 data stands something else"),
        (lzma.compress(LINES)[:-1], "the xz data was cut off"),
        (PACKINGS["zstd"](LINES)[:-1], "cannot be read as json"),
        (gzip.compress(gzip.compress(LINES)), "it is compressed twice, the inner time by gzip"),
    ],
    ids=range(10),  # gzip writes the time, and pytest would name the cases after it
)
def test_what_is_cut_off_or_continued_is_refused(tmp_path, content, sentence):
    assert sentence in refused(lambda: read(written(tmp_path, content)))


@given(st.data())
def test_every_truncated_gzip_file_is_refused(tmp_path_factory, data):
    whole = gzip.compress(LINES, mtime=0)
    content = whole[: data.draw(st.integers(12, len(whole) - 1))]

    assert "cut off" in refused(lambda: read(written(tmp_path_factory.getbasetemp(), content)))


def test_a_table_under_the_name_of_lines_is_a_table(tmp_path):
    path = written(tmp_path, b"")
    pq.write_table(pa.table({"query": ["q"], "pos": [["p"]], "neg": [["n"]]}), path)

    assert read(path)["query"] == ["q"]
    other = written(tmp_path, path.read_bytes())
    assert "it is a parquet file, not json" in refused(lambda: train(other, format="json"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (LINES.decode().encode("utf-16"), "it is UTF-16 text"),
        (LINES.decode().encode("utf-16-le"), "it is UTF-16 text"),
        (LINES.decode().encode("utf-16-be"), "it is UTF-16 text"),
        (LINES.decode().encode("utf-32"), "it is UTF-32 text"),
        (LINES.decode().encode("utf-32-be"), "it is UTF-32 text"),
        (json.dumps(ROWS).encode("utf-16"), "it is UTF-16 text"),
        (b"PK\x03\x04...", "it is a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run: git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "it is an HTML page"),
        (b'["a", "b"]\n["c", "d"]\n', "each line is a JSON array"),
        (b'[{"query": "q"}] x', "something else stands behind the array"),
        (b'[{"query": "q"},\n{"query": 1,, }]', "row 1: Expecting property name"),
        (b'[{"query": "q"}', "the file ends behind row 0"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, sentence):
    message = refused(lambda: read(written(tmp_path, content)))

    assert sentence in message
    assert len(message.splitlines()) == 1


# -- one sentence on a whole file ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            lines_of({"anchor_text": "a", "passage_text": "b"} for _ in range(30)),
            ["'anchor_text', 'passage_text'", "query: anchor_text, pos: passage_text"],
        ),
        (
            lines_of({"question": "a", "positive": ["b"], "negative": ["c"]} for _ in range(30)),
            ["query: question, pos: positive, neg: negative"],
        ),
        (json.dumps([{"Question": "a", "pos": ["b"]}] * 30), ["'Question'", "query: Question"]),
        (
            lines_of({"query": "a", "docs": ["b"]} for _ in range(30)),
            ["no row has pos", "pos: docs"],
        ),
        (lines_of({"x": 1} for _ in range(30)), ["the columns are 'x'", "query: COLUMN"]),
        (json.dumps(ROWS[0], indent=1), ["pretty-printed", "jq -c"]),
        ("\n".join(json.dumps(row, indent=2) for row in ROWS), ["pretty-printed"]),
        ("query,pos\na,b\nc,d\n", ["no line is a JSON object", "'query,pos'"]),
        (json.dumps([["a", "b"]] * 5), ["no element is an object"]),
    ],
)
@pytest.mark.parametrize("on_bad_row", ["raise", "skip"])
def test_a_file_of_another_shape_is_one_error(tmp_path, content, words, on_bad_row):
    path = written(tmp_path, content)

    message = refused(lambda: train(path, on_bad_row))

    assert all(word in message for word in [*words, str(path)]), message
    assert len(message.splitlines()) == (1 if on_bad_row == "raise" else 2)


def test_lines_that_end_in_cr_alone_are_named(tmp_path):
    path = written(tmp_path, LINES.replace(b"\n", b"\r"))

    assert "lines end in CR alone" in refused(lambda: train(path))


def test_equal_faults_are_told_once_with_their_number(tmp_path):
    path = written(tmp_path, lines_of([*ROWS, *({"query": "q"} for _ in range(30))]))

    message = refused(lambda: train(path))

    assert "row 4 (line 5): no pos, neg or history (a row needs candidates); so in 30" in message
    assert len(message.splitlines()) == 2


def test_where_nothing_is_left_after_skip_the_first_faults_are_shown(tmp_path):
    path = written(tmp_path, lines_of([{"query": i, "pos": ["p q"]} for i in range(3)]))

    message = refused(lambda: train(path, "skip"))

    assert "none of the 3 rows of dataset" in message
    assert "row 0 (line 1): query=0 (a string is needed)" in message
    assert "setting" not in message


def test_bad_rows_beside_rows_that_a_setting_dropped_are_shown(tmp_path):
    rows = [{"query": 1, "pos": ["p q"]}, {"query": "q", "pos": ["p q"], "neg": []}]

    message = refused(lambda: train(written(tmp_path, lines_of(rows)), "skip"))

    assert "dropped 1 for bad_row, 1 for no_negatives (correct the bad rows; data.on_no" in message
    assert "query=1 (a string is needed)" in message


# -- columns that are not read, and ids ------------------------------------------------------------


def test_columns_that_are_known_and_not_read_are_named(tmp_path):
    more = {"pos_scores": [1], "neg_scores": [2], "prompt": "x", "qid": 3, "extra": 1, "type": "x"}
    path = written(tmp_path, lines_of(row | more for row in ROWS))

    [note] = [note for note in train(path).notes if "not read" in note]
    assert all(repr(name) in note for name in more if name != "extra")
    assert "extra" not in note
    assert "query_id: qid" in note

    [note] = [note for note in train(path, query_id="qid").notes if "not read" in note]
    assert "qid" not in note


def test_columns_of_eval_rows_and_corpora_are_named_too(tmp_path):
    path = written(tmp_path, lines_of([{"query": "q", "pos_index": [0], "label": 1, "task": "qa"}]))
    [source] = resolve_sources(str(path), key="data.eval_data", fields=("query",))
    [made] = build_eval_sets(
        source,
        ReadingSettings(load_recipe("bge"), cache_dir=path.parent / "cache"),
        eval_method="retrieve",
    )
    assert "'label'" in made.notes[0]

    path = written(tmp_path, lines_of([{"docid": "d7", "title": "t", "text": "x"}]))
    [source] = resolve_sources(str(path), key="data.corpus", fields=("title", "text"))
    made = build_corpus(
        source, ReadingSettings(load_recipe("bge"), cache_dir=path.parent / "cache")
    )
    assert "'docid'" in made.notes[0]


def test_rows_whose_columns_are_all_read_have_no_note(tmp_path):
    assert train(written(tmp_path, LINES)).notes == ()


@pytest.mark.parametrize(
    "ids",
    [
        ["460230", "120306"],
        ["3f2b8c1e-9d5a-4b7e-8f10-2a6c7d8e9f00", "7c9e6679-7425-40de-944b-e07fc1f90ae7"],
        ["doc12", "doc7"],
        ["ibmcld_00474-7885-8455", "ibmcld_00513-7-2197"],
        ["WIKI:12/3", "clueweb12-0000tw-05-12114"],
    ],
)
def test_ids_in_place_of_texts_are_refused(tmp_path, ids):
    rows = [{"query": f"question {i}", "pos": ids[:1], "neg": ids[1:]} for i in range(60)]

    message = refused(lambda: train(written(tmp_path, lines_of(rows))))

    assert "the candidates are ids of documents, not texts" in message
    assert repr(ids[0]) in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "texts",
    [
        ["Poison", "Salzburg"],
        ["1988", "Salzburg"],
        ["灯台は1827年に建てられた", "高潮2表"],
        ["entailment", "neutral"],
        ["in 1988", "1914"],
        ["GPT-4", "café"],
        ["7", "42"],
        ["p1", "n2"],
    ],
)
def test_short_answers_are_texts(tmp_path, texts):
    rows = [{"query": f"question {i}", "pos": texts[:1], "neg": texts[1:]} for i in range(60)]

    assert len(train(written(tmp_path, lines_of(rows))).kept) == 60


@given(st.lists(st.text(max_size=60), max_size=5))
def test_a_text_with_a_blank_is_no_id(texts):
    assert not look_like_ids([*texts, "two words 12"])


@given(st.lists(st.text(max_size=12), max_size=8), st.permutations(TRAIN_FIELDS))
def test_no_column_stands_for_two_fields(found, needed):
    mapping = nearest_mapping(found, needed)

    assert len(set(mapping.values())) == len(mapping)
    assert set(mapping.values()) <= set(found)


# -- where data cannot come from -------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/a.jsonl", "hf://datasets/x/y", "http://x.org/a.jsonl", "gs://b/*.jsonl"],
)
@pytest.mark.parametrize("form", [str, lambda path: {"a": path}, lambda path: [path]])
def test_an_address_is_named(address, form):
    with pytest.raises(ConfigError, match="is an address, and nothing is fetched") as raised:
        resolve_sources(form(address), key="data.train_data", fields=())

    assert address in str(raised.value)


def test_a_name_of_the_hub_is_named():
    message = refused(lambda: resolve_sources("BAAI/bge-m3-data", key="data.x", fields=()))

    assert "no such file" in message
    assert "hf download BAAI/bge-m3-data" in message


def test_a_folder_of_save_to_disk_is_named(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": rows, "dev": rows}).save_to_disk(tmp_path / "splits")

    message = refused(lambda: resolve_sources(str(tmp_path / "saved"), key="data.x", fields=()))
    assert f"{{saved: {tmp_path}/saved/data-*.arrow}}" in message
    message = refused(lambda: resolve_sources(str(tmp_path / "splits"), key="data.x", fields=()))
    assert "DatasetDict that save_to_disk wrote, of dev, train" in message

    [source] = resolve_sources({"a": f"{tmp_path}/saved/data-*.arrow"}, key="data.x", fields=())
    made = read_file(source.files[0], TRAIN_ROWS, cache_dir=tmp_path / "cache")
    assert made["query"] == ["q 0", "q 1", "q 2", "q 3"]


# -- values ----------------------------------------------------------------------------------------

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
def test_what_is_no_number_is_no_text(value):
    _, [fault] = columns_of(memoryview(b'{"text": %b}' % value.encode()), [Column("text", "text")])

    assert "is not a finite number" in fault


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
@pytest.mark.parametrize(
    "value", ["9" * 5000, "[" * 2000 + "]" * 2000, '{"a":' * 2000 + "1" + "}" * 2000]
)
@pytest.mark.parametrize("field", ["query", "other", "query_id", "teacher_scores", "pos"])
def test_what_no_parser_likes_is_a_row_or_a_fault(tmp_path, name, value, field):
    row = json.dumps({**ROWS[0], field: "HERE"}).replace('"HERE"', value)
    rows = [*map(json.dumps, ROWS), row, json.dumps({**ROWS[0], "query_id": "text"})]
    content = ("[" + ",\n".join(rows) + "]" if name == "a.json" else "\n".join(rows)).encode()
    path = written(tmp_path, gzip.compress(content) if name.endswith(".gz") else content, name)

    faults = read(path)["fault"]

    assert [fault is None for fault in faults] == [True] * 4 + [field == "other", True]
    assert all(fault is None or len(fault) < 300 for fault in faults)


def test_a_line_of_utf_16_is_no_row(tmp_path):
    hidden = json.dumps({**ROWS[0], "query": "hidden"})
    for code in ("utf-16-le", "utf-16-be", "utf-16", "utf-32"):
        path = written(tmp_path, LINES + hidden.encode(code) + b"\n" + LINES)

        made = read(path)

        assert "hidden" not in made["query"]
        faults = [fault for fault in made["fault"] if fault]
        assert faults
        assert all("UTF" in fault for fault in faults)


def deep(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: deep(5000),
        lambda: "x" * 10**6,
        lambda: [1] * 10**6,
        lambda: {"a": deep(500)},
        lambda: 10**5000,
        lambda: [10**5000],
        lambda: b"\xff",
    ],
)
def test_any_value_is_shown_in_a_few_characters(make):
    assert len(shown(make())) <= 80


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.floats(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_what_is_short_is_shown_as_python_does(value):
    text = repr(value)
    if len(text) <= 60 and text.count("[") + text.count("{") <= 3:
        assert shown(value) == text


# -- lines -----------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([b"", b" ", b"a", b"bb" * 40, b"\xef\xbb\xbf"]), max_size=12),
    st.integers(1, 9),
)
def test_lines_are_those_of_split_however_they_are_cut_into_blocks(tmp_path_factory, lines, size):
    content = b"\n".join(lines)
    path = written(tmp_path_factory.getbasetemp(), content)
    kept = module._READ_BYTES, module._SEARCHED_BYTES
    module._READ_BYTES, module._SEARCHED_BYTES = size, 2
    try:
        blocks = [bytes(block) for block in line_blocks(str(path), size)]
        found = lines_of_rows(str(path), range(20))
    finally:
        module._READ_BYTES, module._SEARCHED_BYTES = kept

    content = content.removeprefix(b"\xef\xbb\xbf")
    assert b"".join(blocks) == content
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    numbers = [i for i, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    assert found == dict(enumerate(numbers))


@pytest.mark.parametrize("text", ["word ", "é ", "😀 ", "line\\n", 'w", "'])
@pytest.mark.parametrize("field", ["query", "pos", "neg", "other", "text"])
def test_a_long_line_is_read_as_a_short_one(tmp_path, text, field):
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
