"""What is mined is what a search of all passages gives, without those that answer the query."""

import tempfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.core.answer_strings import holds_answer, words_of
from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.mining.mining import mine, write_mined
from llm_embedder_data.mining.mining_data import ROW_COLUMNS, MiningData
from llm_embedder_data.mining.store_filling import Share
from llm_embedder_data.rows.columns.records import columns_of_records
from llm_embedder_data.rows.schema.canonical_rows import train_record, train_row
from llm_embedder_data.rows.schema.train import TRAIN_ROWS
from llm_embedder_data.rows.side_cars.scores_beside import path_beside
from llm_embedder_data.rows.source_rows.row_tables import RowTables

WORDS = st.sampled_from(["sun", "Sun", "moon", "tide", " tide", "reef"])
TEXTS = st.lists(WORDS, min_size=1, max_size=3).map(" ".join).filter(str.strip)
QUERIES = st.sampled_from(["what is it", "What  is it", "and that"])
ROWS = st.lists(
    st.tuples(QUERIES, st.lists(TEXTS, min_size=1, max_size=2), st.lists(TEXTS, max_size=2)),
    min_size=1,
    max_size=5,
)


class Drawn:
    """Scores passages by a number that is drawn for each pair."""

    def __init__(self, passages, n_queries, seed):
        n_passages = len(passages.ids)
        self.of_all = np.random.default_rng(seed).permutation(n_queries * n_passages)
        self.of_all = self.of_all.reshape(n_queries, n_passages).astype(np.float32)
        self.passages, self.digest = passages, str(seed)
        self.searched = []  # the queries of each search

    def search(self, queries, k):
        self.searched.append(queries.tolist())
        found = np.where(self.passages.usable, self.of_all[:, : self.passages.n_searched], -np.inf)
        found = found[queries]
        order = np.argsort(-found, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(found, order, 1).astype(np.float32)
        index = np.where(np.isfinite(scores), order, -1)
        missing = [(0, 0), (0, k - index.shape[1])]
        return (
            np.pad(scores, missing, constant_values=-np.inf),
            np.pad(index, missing, constant_values=-1),
        )

    def scores(self, query, positions):
        return self.of_all[query][positions]


def table(rows):
    records = [train_record(train_row(q, p, n, query_id=f"q{i}")) for i, (q, p, n) in rows]
    faults = [None] * len(records)
    columns = columns_of_records(records, TRAIN_ROWS.file_columns, faults)
    rows = datasets.Dataset(pa.Table.from_batches([TRAIN_ROWS.build(columns, faults)]))
    return RowTables(rows, ROW_COLUMNS)


@tried(60)
@given(
    rows=ROWS,
    answer=st.none() | st.sampled_from(["moon", "tide reef"]),
    depth=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_a_run_holds_the_best_passages_that_are_no_positive_and_hold_no_answer(
    rows, answer, depth, seed
):
    answers = {} if answer is None else {"what is it": [answer]}
    data = MiningData(
        name="qa",
        rows=table(list(enumerate(rows))),
        numbers=np.arange(len(rows)),
        corpora=[],
        answers=answers,
    )
    made = []

    def make(data, passages, queries):
        made.append((passages, Drawn(passages, len(queries), seed)))
        return made[-1][1]

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run.tsv"
        mined = mine(data, make, Path(folder) / "blocks", depth=depth)
        write_mined(run, [mined], Path(folder) / "cache")
        lines = [line.split("\t") for line in run.read_text().splitlines()]
        beside = [line.split("\t") for line in path_beside(run).read_text().splitlines()[1:]]

    [(passages, drawn)] = made
    texts = passages.texts(np.arange(passages.n_searched))
    for i, (query, _, _) in enumerate(rows):
        form = normal_form(query)
        positives = {
            normal_form(text) for q, pos, _ in rows if normal_form(q) == form for text in pos
        }
        wanted = [words_of(found) for found in answers.get(form, [])]
        best = sorted(range(len(texts)), key=lambda p, i=i: -drawn.of_all[i, p])
        best = [
            passages.ids[p]
            for p in best
            if normal_form(texts[p]) not in positives and not holds_answer(texts[p], wanted)
        ]
        assert [document for q, document, _ in lines if q == f"q{i}"] == best[:depth]
    scores = {(q, d): float(s) for q, d, s in beside}
    for i, (_, pos, _) in enumerate(rows):
        for text in pos:
            [at] = [p for p in range(len(texts)) if normal_form(texts[p]) == normal_form(text)]
            assert scores[f"q{i}", passages.ids[at]] == drawn.of_all[i, at]


def asking_what(rows):
    """Rows of (query, pos, neg), of which the query "what is it" has the answer "moon"."""
    return MiningData(
        name="qa",
        rows=table(list(enumerate(rows))),
        numbers=np.arange(len(rows)),
        corpora=[],
        answers={"what is it": ["moon"]},
    )


def test_only_queries_with_too_few_negatives_are_searched_again(tmp_path):
    moons = [f"moon {i}" for i in range(20)]
    rows = [("where", ["sea"], ["reef"]), ("what is it", ["sun"], moons), ("who", ["fig"], ["elk"])]
    data = asking_what(rows)
    made = []

    def make(data, passages, queries):
        drawn = Drawn(passages, len(queries), 0)
        texts = passages.texts(np.arange(passages.n_searched))
        drawn.of_all[:, [text in moons for text in texts]] += 1000
        made.append(drawn)
        return drawn

    mined = mine(data, make, tmp_path / "blocks", depth=2)

    [drawn] = made
    assert drawn.searched[0] == [0, 1, 2]
    assert len(drawn.searched) > 1
    assert all(again == [1] for again in drawn.searched[1:])
    [block] = mined.blocks
    assert (block.index[[0, 2]] >= 0).all()
    assert (block.scores[[0, 2]] > 1000).all()


def test_each_process_that_shares_the_queries_reports_its_progress_to_the_end(tmp_path):
    rows = [(f"query {i}", ["sun"], ["moon"]) for i in range(2100)]
    numbers = np.arange(len(rows))
    data = MiningData(
        name="qa", rows=table(list(enumerate(rows))), numbers=numbers, corpora=[], answers={}
    )
    ends = []
    for index in range(2):
        told = []
        mine(
            data,
            lambda data, passages, queries: Drawn(passages, len(queries), 0),
            tmp_path / "blocks",
            depth=1,
            share=Share(index, 2),
            progress=lambda what, done, of, told=told: told.append((done, of)),
        )
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert len({of for _, of in told}) == 1
        ends.append(told[-1])

    assert all(done == of for done, of in ends)
    assert sum(of for _, of in ends) == len(rows)


def test_a_run_that_is_written_again_counts_the_same(tmp_path):
    rows = [("what is it", ["sun"], ["moon"]), ("what is it", ["tide"], ["tide reef", "reef"])]
    data = asking_what(rows)
    mined = mine(
        data,
        lambda data, passages, queries: Drawn(passages, len(queries), 0),
        tmp_path / "blocks",
        depth=4,
    )

    write_mined(tmp_path / "run.tsv", [mined], tmp_path / "cache")
    once = mined.counts()
    write_mined(tmp_path / "again.tsv", [mined], tmp_path / "cache")

    assert once["negatives"] == len((tmp_path / "run.tsv").read_text().splitlines())
    assert once["queries with fewer negatives than asked for"] > 0
    assert mined.counts() == once


def test_a_depth_beyond_all_passages_takes_no_memory(tmp_path):
    data = MiningData(
        name="qa",
        rows=table([(0, ("what is it", ["sun"], ["moon"]))]),
        numbers=np.arange(1),
        corpora=[],
        answers={},
    )
    mined = mine(
        data,
        lambda data, passages, queries: Drawn(passages, len(queries), 0),
        tmp_path / "blocks",
        depth=10**15,
    )
    write_mined(tmp_path / "run.tsv", [mined], tmp_path / "cache")

    assert mined.counts()["negatives"] == 1
    assert mined.counts()["queries with fewer negatives than asked for"] == 1
