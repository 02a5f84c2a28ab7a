"""A file of scores is the same from one process, several, or one that was killed and taken up."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from torch import nn

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.mining.scoring.scored_rows import RowsToScore
from llm_embedder_data.mining.scoring.scoring import parts_of_scores, plan_parts, score_parts
from llm_embedder_data.mining.store_filling import Share


class LengthTeacher:
    """Scores a key by its length; ``seconds`` is how long that takes for a part."""

    def __init__(self, seconds=0.0, unit=1.0):
        self.model, self.counts = nn.Module(), Counter()
        self.seconds, self.unit = seconds, unit
        self.n_scored = 0

    def facts(self):
        return {"unit": self.unit}

    def said(self, tasks):
        return ""

    def prepare(self, rows):
        return list(rows)

    def scores(self, rows, progress):
        time.sleep(self.seconds)
        self.counts["keys cut"] += len(rows)
        self.n_scored += len(rows)
        return [[self.unit * len(key) for key in row.keys] for row in rows]


ROWS = [
    {"query": f"q {i}", "query_id": i, "pos": ["p" * i or "p"], "neg": ["n"] * (i % 3)}
    for i in range(20)
]


def score(out, teacher=None, rows=ROWS, share=None, join=True):
    """Score rows in parts of 4 inputs or a few more; return the parts."""
    teacher = teacher or LengthTeacher()
    to_score = RowsToScore(rows)
    plan = plan_parts(to_score, 4)
    parts = parts_of_scores(teacher, plan, out)
    share = share or Share()
    missing = [part for part in share.of(parts.n_parts) if part in parts.missing()]
    score_parts(missing, to_score, teacher, plan, parts)
    if join:
        parts.joined = parts.join()
    return parts


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_each_row_in_the_order_of_the_keys(tmp_path):
    parts = score(tmp_path / "scores.jsonl")

    found = lines(tmp_path / "scores.jsonl")
    assert [line["query_id"] for line in found] == list(range(20))
    assert [line["scores"] for line in found] == [
        [float(len(key)) for key in [*row["pos"], *row["neg"]]] for row in ROWS
    ]
    assert parts.joined == {"rows": 20, "inputs": sum(len(line["scores"]) for line in found)} | {
        "keys cut": 20
    }
    assert [path.name for path in tmp_path.iterdir()] == ["scores.jsonl"]


def test_rows_without_ids_get_their_number(tmp_path):
    rows = [{"query": "a", "pos": ["b"]}, {"query": "c", "pos": ["d"], "query_id": "x"}] * 2

    score(tmp_path / "scores.jsonl", rows=rows)

    assert [line["query_id"] for line in lines(tmp_path / "scores.jsonl")] == [0, "x", 2, "x"]


@pytest.mark.parametrize("n_shards", [2, 3])
def test_shards_write_the_same_file_in_any_order(n_shards, tmp_path):
    score(tmp_path / "alone.jsonl")

    for index in reversed(range(n_shards)):
        assert not (tmp_path / "shared.jsonl").exists()
        score(tmp_path / "shared.jsonl", share=Share(index, n_shards))

    assert (tmp_path / "shared.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


def test_parts_of_other_settings_or_rows_are_not_read(tmp_path):
    out = tmp_path / "scores.jsonl"
    score(out, share=Share(0, 2))

    other = LengthTeacher(unit=2.0)
    score(out, other)

    assert other.n_scored == 20
    assert lines(out)[3]["scores"][0] == 2.0 * len(ROWS[3]["pos"][0])
    other_rows = [{**ROWS[0], "pos": ["another"]}, *ROWS[1:]]
    parts = score(out, rows=other_rows)
    assert lines(out)[0]["scores"][0] == 7.0
    [left] = parts.others()
    assert left.name.startswith("scores.jsonl.")


def test_a_row_without_scores_is_refused_unless_bad_rows_are_skipped(tmp_path):
    class Silent(LengthTeacher):
        def scores(self, rows, progress):
            return [None for _ in rows]

    out = tmp_path / "scores.jsonl"
    with pytest.raises(DataError, match="an answer is still longer than max_length"):
        score(out, Silent())
    assert not out.exists()

    to_score = RowsToScore(ROWS, settings={"on_bad_row": "skip"})
    plan = plan_parts(to_score)
    parts = parts_of_scores(Silent(), plan, out)
    score_parts([0], to_score, Silent(), plan, parts)
    parts.join()
    assert [line["scores"] for line in lines(out)] == [None] * 20


def test_a_score_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(DataError, match="query id 0: the teacher gives a score that is not finite"):
        score(tmp_path / "scores.jsonl", LengthTeacher(unit=float("nan")))


def test_no_rows_are_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"query": "q", "pos": []}\n')

    with pytest.raises(DataError, match="there are no rows to score"):
        score(tmp_path / "scores.jsonl", rows=str(tmp_path / "rows.jsonl"))


SLOW_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_scoring import LengthTeacher, score
score(Path({out!r}), LengthTeacher(seconds=0.2))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_behind_its_last_part(tmp_path):
    score(tmp_path / "alone.jsonl")
    out = tmp_path / "scores.jsonl"
    script = SLOW_RUN.format(here=str(Path(__file__).parent), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.parts/*.jsonl"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    n_parts = len(list(tmp_path.glob("*.parts/*.jsonl")))
    assert n_parts >= 2
    assert not out.exists()

    teacher = LengthTeacher()
    score(out, teacher)

    assert 0 < teacher.n_scored < 20
    assert out.read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.jsonl", "scores.jsonl"]
