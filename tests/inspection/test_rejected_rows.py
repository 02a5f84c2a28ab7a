"""Rejected rows are told with file, line, reason and content, from a warm cache too."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inspection_cases import write

from llm_embedder_data import RetrievalDataModule
from llm_embedder_data.inspection.rejected_rows import write_rejected_rows
from llm_embedder_data.rows.records import rejected_records

SOUND = [
    {"query": f"query {i}", "pos": [f"passage {i}"], "neg": [f"other passage {i}"]}
    for i in range(4)
]


def module(folder, source, tokenizer, **settings):
    settings = {"on_no_negatives": "keep", "small_datasets": "drop", **settings}
    made = RetrievalDataModule(
        tokenizer,
        {"mine": source},
        batch_size=1,
        on_bad_row="skip",
        cache_dir=folder / "cache",
        **settings,
    )
    made.prepare_data()
    made.setup()
    return made


def told(made, name="mine"):
    """(file name, row, line, field, value) of each rejected row, and its reason by line."""
    rows = made.rejected_rows()[name]
    assert rows.n_rows == len(rows.first)
    return [(Path(one.file).name, one.row, one.line, one.field, one.value) for one in rows.first]


def reasons(made, name="mine"):
    return [one.reason for one in made.rejected_rows()[name].first]


def beir(folder, judgments):
    folder.mkdir()
    documents = [{"_id": f"d{i}", "title": "", "text": f"text {i}"} for i in range(4)]
    repeated = {"_id": "d0", "title": "", "text": "another text"}
    write(folder / "corpus.jsonl", [*documents, {"_id": "d9", "text": " "}, repeated])
    write(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"query {i}"} for i in range(3)])
    (folder / "qrels").mkdir()
    lines = "".join("\t".join(line) + "\n" for line in judgments)
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    return {"path": str(folder), "split": "train"}


@pytest.mark.filterwarnings("ignore")
class TestContainers:
    def test_json_lines(self, tmp_path, minilm):
        path = write(tmp_path / "t.jsonl", SOUND)
        with open(path, "a") as file:
            file.write('\n{"query": 3, "pos": ["a"]}\nno json\n{"query": "q", "pos": [null]}\n')
        made = module(tmp_path, path, minilm)

        assert told(made) == [
            ("t.jsonl", 4, 6, "query", '{"query": 3, "pos": ["a"]}'),
            ("t.jsonl", 5, 7, None, "no json"),
            ("t.jsonl", 6, 8, "pos", '{"query": "q", "pos": [null]}'),
        ]
        assert reasons(made)[0].startswith("query=3")
        assert told(module(tmp_path, path, minilm)) == told(made)  # the cache is warm

    def test_csv(self, tmp_path, minilm):
        (tmp_path / "t.csv").write_text(
            'anchor,positive\na 1,"b\n1"\nonly one cell\n,no query\na 2,b 2\n'
        )
        made = module(tmp_path, str(tmp_path / "t.csv"), minilm)

        assert told(made) == [
            ("t.csv", 1, 4, None, '["only one cell"]'),
            ("t.csv", 2, 5, "query", '{"anchor": "", "positive": "no query"}'),
        ]
        assert told(module(tmp_path, str(tmp_path / "t.csv"), minilm)) == told(made)

    def test_a_record_that_is_read_twice_is_rejected_once(self, tmp_path, minilm):
        lines = [f"a {i},b {i}\n" for i in range(80)]  # the first 50 tell the format
        lines[7:7] = ["only one cell\n"]
        (tmp_path / "t.csv").write_text(f"anchor,positive\n{''.join(lines)}")
        made = module(tmp_path, str(tmp_path / "t.csv"), minilm)

        assert [found[:3] for found in told(made)] == [("t.csv", 7, 9)]

    def test_parquet(self, tmp_path, minilm):
        table = pa.table({"query": ["one", " ", "two"], "pos": [["a b"], ["c d"], ["e f"]]})
        pq.write_table(table, tmp_path / "t.parquet")
        made = module(tmp_path, str(tmp_path / "t.parquet"), minilm)

        [found] = told(made)
        assert found == ("t.parquet", 1, None, "query", '{"query": " ", "key": ["c d"]}')

    def test_beir_with_unknown_ids(self, tmp_path, minilm):
        known = [(f"q{i}", f"d{i}", "1") for i in range(2)]
        source = beir(tmp_path / "set", [*known, ("q2", "zzz", "1"), ("q7", "d1", "1")])
        made = module(tmp_path, source, minilm)

        assert told(made) == [
            ("corpus.jsonl", 4, 5, None, '{"_id": "d9", "text": " "}'),
            ("corpus.jsonl", 5, 6, None, "d0"),
            ("train.tsv", 2, 4, None, r"q2\tzzz\t1"),
            ("train.tsv", 3, 5, None, r"q7\td1\t1"),
        ]
        assert [reason.split(":")[0] for reason in reasons(made)] == [
            "passages without text",
            "passages with the id of an earlier one and another text, the first kept",
            "none of its document ids is in the corpus",
            "rows whose query is not in the queries",
        ]
        assert told(module(tmp_path, source, minilm)) == told(made)
        assert made.report()["train"]["mine"]["rejected"] == 4
        assert "4 rejected rows" in str(made.report())

    def test_labelled_pairs_name_the_first_line_of_their_query(self, tmp_path, minilm):
        pairs = [("a", "b", 1), ("lonely", "c", 0), ("a", "d", 0), ("lonely", "e", 0)]
        rows = [dict(zip(("sentence1", "sentence2", "label"), pair, strict=True)) for pair in pairs]
        made = module(tmp_path, write(tmp_path / "pairs.jsonl", rows), minilm)

        assert [found[:3] for found in told(made)] == [("pairs.jsonl", 1, 2)]
        assert reasons(made) == ["queries without a positive"]

    def test_side_cars(self, tmp_path, minilm):
        rows = [row | {"query_id": f"q{i}"} for i, row in enumerate(SOUND)]
        source = {
            "path": write(tmp_path / "t.jsonl", rows),
            "corpus": write(tmp_path / "corpus.jsonl", [{"id": "d0", "text": "a text of it"}]),
            "negatives": str(tmp_path / "run.trec"),
        }
        (tmp_path / "run.trec").write_text("q0 Q0 d0 1 2.5 x\n" * 60 + "q1 Q0 d0 1 high x\n")
        made = module(tmp_path, source, minilm)

        assert [found[:3] + found[4:] for found in told(made)] == [
            ("run.trec", 60, 61, '["q1", "Q0", "d0", "1", "high", "x"]')
        ]
        assert told(module(tmp_path, source, minilm)) == told(made)

    def test_a_moved_folder_is_named_where_it_is_now(self, tmp_path, minilm):
        judgments = [("q0", "d0", "1"), ("q2", "zzz", "1")]
        module(tmp_path, beir(tmp_path / "set", judgments), minilm)
        (tmp_path / "new").mkdir()
        os.rename(tmp_path / "set", tmp_path / "new" / "set")
        source = {"path": str(tmp_path / "new" / "set"), "split": "train"}

        rows = module(tmp_path, source, minilm).rejected_rows()["mine"].first

        assert {Path(one.file).is_file() for one in rows} == {True}


@pytest.mark.filterwarnings("ignore")
def test_what_a_setting_leaves_out_is_not_rejected(tmp_path, minilm):
    path = write(tmp_path / "t.jsonl", [*SOUND, {"query": "alone", "pos": ["a"]}])
    made = module(tmp_path, path, minilm, max_sample_num=2, on_no_negatives="drop")

    assert made.report()["train"]["mine"]["dropped"]
    assert made.rejected_rows() == {}


@pytest.mark.filterwarnings("ignore")
def test_eval_sets_and_corpora_have_theirs(tmp_path, minilm):
    queries = [{"query": "one", "pos_index": [0]}, {"query": "two", "pos_index": ["x"]}]
    passages = [{"text": "a"}, {"text": ["no text"]}, {"text": "b"}]
    settings = {
        "eval_data": {"mine": write(tmp_path / "eval.jsonl", queries)},
        "corpus": {"mine": write(tmp_path / "corpus.jsonl", passages)},
    }
    made = module(tmp_path, write(tmp_path / "t.jsonl", SOUND), minilm, **settings)

    assert [found[:4] for found in told(made, "eval/mine")] == [("eval.jsonl", 1, 2, "pos_index")]
    assert [found[:3] for found in told(made, "corpus/mine")] == [("corpus.jsonl", 1, 2)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_native", [True, False])
def test_the_rows_are_bounded_and_the_others_counted(tmp_path, minilm, is_native):
    n_bad = rejected_records.MOST_REJECTED + 7
    name = "query" if is_native else "anchor"
    bad = [{name: "", "positive" if name == "anchor" else "pos": f"text {i}"} for i in range(n_bad)]
    sound = {name: "q", "positive" if name == "anchor" else "pos": "p"}
    made = module(tmp_path, write(tmp_path / "t.jsonl", [sound, *bad]), minilm)

    found = made.rejected_rows()["mine"]
    n_written = write_rejected_rows(tmp_path / "rejected.jsonl", {"mine": found})

    assert (found.n_rows, n_written) == (n_bad, rejected_records.MOST_REJECTED)
    lines = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert len(lines) == n_written + 1
    assert lines[-1] == {"dataset": "mine", "more": 7}


@pytest.mark.filterwarnings("ignore")
def test_a_long_record_with_control_characters_is_cut_and_safe(tmp_path, minilm):
    row = {"anchor": "", "positive": "\x1b[31m\u202e" + "x" * 10_000}
    (tmp_path / "t.csv").write_text(
        f"anchor,positive\nq,p\n{row['anchor']},{row['positive']}\n", newline=""
    )
    made = module(tmp_path, str(tmp_path / "t.csv"), minilm)

    [record] = made.rejected_rows()["mine"].first
    write_rejected_rows(tmp_path / "rejected.jsonl", made.rejected_rows())

    assert record.value is not None
    assert len(record.value) < 2 * rejected_records.MOST_CHARACTERS
    assert record.value.endswith("...")
    written = (tmp_path / "rejected.jsonl").read_text()
    assert "\x1b" not in written
    assert "\u202e" not in written
    assert json.loads(written)["value"] == record.value
