"""A bad record among the first ones does not hide what format a file has."""

import pytest

from llm_embedder_data.core.errors import DataError


def _passage(text):
    return [{"docid": text, "title": "", "text": text}]


# By format: a good record for a number, and the same record spoilt.
RECORDS = {
    "arrays": (lambda n: [f"query {n}", f"good {n}"], lambda record: [record[0], None]),
    "triples": (lambda n: [f"query {n}", f"good {n}", "bad"], lambda record: [7, *record[1:]]),
    "labeled_list": (
        lambda n: {"query": f"query {n}", "docs": [f"good {n}", "bad"], "labels": [1, 0]},
        lambda record: {**record, "labels": None},
    ),
    "gritlm": (
        lambda n: {"query": ["I", f"query {n}"], "pos": [["", f"good {n}"]], "neg": [["", "bad"]]},
        lambda record: {**record, "query": ""},
    ),
    "medi": (
        lambda n: {"query": ["I", f"query {n}"], "pos": ["J", f"good {n}"], "neg": ["J", "bad"]},
        lambda record: {**record, "pos": 7},
    ),
    "history": (
        lambda n: {"query": f"query {n}", "history": ["one", "two"], "teacher_scores": [2, 1]},
        lambda record: {**record, "query": 7},
    ),
    "flagembedding": (
        lambda n: {"query": f"query {n}", "pos": ["good"], "neg": ["bad"], "prompt": "I"},
        lambda record: {**record, "query": ["a", "b"]},
    ),
    "kalm": (
        lambda n: {"query": f"Instruct: find\nQuery: query {n}", "pos": ["good"], "neg": ["bad"]},
        lambda record: {**record, "query": {"text": "a"}},
    ),
}
RECORDS_OF_IDS = {
    "hard_negatives": (
        lambda n: {"qid": 1, "pos": ["d1"], "neg": {"bm25": ["d2"]}},
        lambda record: {**record, "neg": "d2"},
    ),
    "simlm": (
        lambda n: {"query": "one", "positives": {"doc_id": ["0"], "score": [2.5]}},
        lambda record: {**record, "positives": "0"},
    ),
    "colbert": (lambda n: [1, "d1", "d2"], lambda record: [1, None, "d2"]),
    "colbert_scores": (
        lambda n: [1, ["d1", 2.5], ["d2", 1.5]],
        lambda record: [1, None, ["d2", 1.5]],
    ),
}
LINES = {
    "triples": ("query {n} here\tgood text {n}\tbad text\n", "query here\tgood text\n"),
    "qrels": ("1\t0\td{n}\t1\n", "1\t0\td1\tfour\n"),
    "blanks": ("1 0 d{n} 1\n", "1 0 d1\n"),
    "run": ("1 Q0 d{n} {n} 0.{n} tag\n", "1 Q0 d1 1\n"),
    "id_triples": ("1\td1\td{n}\n", "1\td1\n"),
    "margins": ("1\td1\td{n}\t{n}.5\n", "1\td1\td2\n"),
}
PLACES = pytest.mark.parametrize("place", [0, 2])


def _check(folder, content, place, name, **settings):
    """The bad record is left out under skip, and else an error with its line."""
    assert folder.rows(content, name, on_bad_row="skip", **settings)
    bad = {reason: n for reason, n in folder.left_out.items() if "repeat a document" not in reason}
    assert sum(bad.values()) == 1
    with pytest.raises(DataError, match=rf"row {place} \(line {place + 1}\)"):
        folder.rows(content, name, **settings)


@PLACES
@pytest.mark.parametrize("format", RECORDS)
def test_records(folder, format, place):
    good, spoilt = RECORDS[format]
    records = [good(n) for n in range(4)]
    records[place] = spoilt(records[place])
    _check(folder, records, place, "rows.jsonl")


@PLACES
@pytest.mark.parametrize("format", RECORDS_OF_IDS)
def test_records_of_ids(folder, beside, format, place):
    good, spoilt = RECORDS_OF_IDS[format]
    records = [good(n) for n in range(4)]
    records[place] = spoilt(records[place])
    _check(folder, records, place, "rows.jsonl", **beside)


@PLACES
@pytest.mark.parametrize("format", LINES)
def test_lines_of_cells(folder, beside, format, place):
    good, bad = LINES[format]
    lines = [good.format(n=n) for n in (2, 3, 2, 3)]
    lines[place] = bad
    _check(folder, "".join(lines), place, "rows.tsv", **({} if format == "triples" else beside))


def test_a_file_of_no_format_says_how_many_cells_its_lines_have(folder):
    with pytest.raises(DataError, match="its lines have 7 or 5 cells"):
        folder.rows("a\tb\tc\td\te\tf\tg\n" * 3 + "a\tb\tc\td\te\n", "a.tsv")
    with pytest.raises(DataError, match="single cells, such as 'first passage here'"):
        folder.rows("first passage here\nsecond passage here\n", "lines.txt")


def test_a_score_that_is_no_number_is_found_at_its_line(folder):
    lines = [
        {"query_id": n, "query": f"query {n}", "doc_id": n, "text": "a text", "rank": 1, "score": 2}
        for n in range(4)
    ]
    lines[1]["score"] = "high"
    _check(folder, lines, 1, "run.jsonl")


@pytest.mark.parametrize("whole", ["18", "18.0"])
def test_margins_that_are_whole_are_no_grades(folder, beside, whole):
    rows = folder.rows(
        f"1\td1\td2\t{whole}\n1\td2\td3\t{whole}\n2\td2\td3\t1.5\n", "m.tsv", **beside
    )
    assert [row["teacher_scores"] for row in rows] == [[18, 0], [18, 0], [1.5, 0]]
