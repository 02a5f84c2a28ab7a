"""``mine`` writes a run of hard negatives that ``negatives:`` of a source reads back."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm_embedder_data import RetrievalDataModule
from llm_embedder_data.rows.side_cars.scores_beside import path_beside

WORDS = ["apple", "river", "stone", "cloud", "tiger", "violin", "copper", "meadow"]
TEXTS = [
    f"the {WORDS[i % 8]} by the {WORDS[(i // 2) % 8]} of {WORDS[(i // 3) % 8]}" for i in range(24)
]


@pytest.fixture
def files(tmp_path):
    corpus = [{"id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)]
    corpus += [{"id": "d99", "text": TEXTS[0].upper()}]  # the positive of a, under another id
    rows = [
        {"query": "where is the apple", "query_id": "a", "pos": [TEXTS[0]], "answers": ["violin"]},
        {"query": "Where is the  apple", "query_id": "b", "pos": [TEXTS[8]]},
        {"query": "a river and a stone", "pos": [TEXTS[1], "not in the corpus"], "neg": [TEXTS[2]]},
    ]
    for name, records in (("corpus.jsonl", corpus), ("train.jsonl", rows)):
        text = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / name).write_text(text)
    return tmp_path


def lines(path):
    found = {}
    for line in Path(path).read_text().splitlines():
        if not line.startswith("#"):
            query, document, score = line.split("\t")
            found.setdefault(query, {})[document] = float(score)
    return found


def mined(run, tiny, *more, out="run.tsv"):
    return run(
        "mine",
        f"encoder={tiny}",
        "data.train_data={qa: train.jsonl}",
        "data.corpus=corpus.jsonl",
        "data.cache_dir=cache",
        f"out={out}",
        "depth=6",
        *more,
    )


def test_train_data_may_be_a_path(run, tiny, files):
    mined(run, tiny, "kind=bm25", "data.train_data=train.jsonl")

    assert len(lines("run.tsv")) == 3


@pytest.mark.parametrize("out", ["new/runs/run.tsv", "new/runs"])
def test_the_folder_of_a_run_is_made(run, tiny, files, out):
    mined(run, tiny, "kind=bm25", out=out)

    assert len(lines(out if out.endswith(".tsv") else f"{out}/qa.tsv")) == 3
    assert not [path for path in Path("new").rglob("*") if "mining" in path.name]


@pytest.mark.parametrize("kind", ["encoder", "bm25"])
def test_no_known_positive_and_no_answer_is_mined(run, tiny, files, kind):
    printed = mined(run, tiny, f"kind={kind}")

    found, beside = lines("run.tsv"), lines("run.positives.tsv")
    assert len(found) == 3
    known = {"d0", "d99", "d8"}  # by text, under another id, and of another row of the query
    holding = {f"d{i}" for i, text in enumerate(TEXTS) if "violin" in text}
    for query in ("a", "b"):
        assert not known & set(found[query])
        assert not holding & set(found[query])  # they are one query
        assert set(beside[query]) >= {"d0" if query == "a" else "d8"}
    assert {d for d, score in beside["a"].items() if score == float("inf")} <= holding
    [other] = set(found) - {"a", "b"}
    assert other.startswith("text:")
    assert set(beside[other]) > {"d1", "d2"}  # the positive and the negative that it had
    for scores in found.values():
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        assert len(scores) == 6 or kind == "bm25"
    assert "known positives, which are never mined" in printed
    assert [path.name for path in files.glob(".run*")] == []


def test_a_run_is_the_same_each_time_and_whatever_the_depth(run, tiny, files):
    mined(run, tiny)
    first = Path("run.tsv").read_bytes(), Path("run.positives.tsv").read_bytes()
    mined(run, tiny)
    assert (Path("run.tsv").read_bytes(), Path("run.positives.tsv").read_bytes()) == first

    deep = lines("run.tsv")
    mined(run, tiny, "depth=3")
    shallow = lines("run.tsv")

    assert {q: dict(list(found.items())[:3]) for q, found in deep.items()} == shallow


@pytest.mark.parametrize("corpus", [True, False])
def test_what_was_mined_is_trained_with(run, tiny, files, corpus):
    more = [] if corpus else ["data.corpus=null"]
    printed = mined(run, tiny, "exclude_answers=false", *more)
    assert ("no corpus is named" in printed) is not corpus

    shown = run(
        "fit",
        f"encoder={tiny}",
        "data.train_data={qa: {path: train.jsonl, negatives: run.tsv}}",
        "data.corpus=corpus.jsonl" if corpus else "data.corpus=null",
        "data.cache_dir=cache",
        "data.batch_size=3",
        "data.train_group_size=3",
        "data.relative_margin=0.001",
        "data.on_no_negatives=keep",
        "trainer.max_steps=1",
        "trainer.accelerator=cpu",
        "export=false",
        "output_dir=out",
    )

    assert "relative_margin" in shown
    assert "no line in the file of negatives" not in shown


def test_ids_with_spaces_are_mined_and_trained_with(run, tiny, files):
    for name in ("corpus.jsonl", "train.jsonl"):
        content = Path(name).read_text().replace('"id": "d', '"id": "doc 2 ')
        Path(name).write_text(content.replace('"query_id": "', '"query_id": "query 1 5 '))
    mined(run, tiny, "exclude_answers=false")

    found = lines("run.tsv")
    assert {"query 1 5 a", "query 1 5 b"} < set(found)
    assert {name.partition("2 ")[0] for name in found["query 1 5 a"]} == {"doc "}
    datamodule = RetrievalDataModule(
        tiny,
        {"qa": {"path": "train.jsonl", "negatives": "run.tsv"}},
        corpus="corpus.jsonl",
        cache_dir="cache",
        batch_size=3,
        train_group_size=3,
    )
    datamodule.prepare_data()
    datamodule.setup("fit")
    corpus = map(json.loads, Path("corpus.jsonl").read_text().splitlines())
    text_of = {row["id"]: row["text"] for row in corpus}
    rows = datamodule.train_sets()["qa"].rows.with_format("arrow", columns=["key", "n_pos"])
    keys = rows[0]["key"].to_pylist()
    mined_texts = [text_of[name] for name in found["query 1 5 a"]]
    assert keys[0][1:] == mined_texts


def test_the_training_data_may_be_a_path(run, tiny, files):
    printed = mined(run, tiny, "data.train_data=train.jsonl")

    assert "3 queries" in printed
    assert len(lines("run.tsv")) == 3


def test_limits_are_shown_and_mine_nothing_else(run, tiny, files):
    printed = mined(
        run, tiny, "data.absolute_margin=0.0", "data.range_min=1", "json=r.json", "html=r.html"
    )

    report = json.loads(Path("r.json").read_text())["qa"]
    assert report["left_out"]["range_min"] == 3  # the best of each query
    assert set(report["histograms"]) == {
        *("positives", "negatives", "range_min", "absolute_margin", "kept")
    }
    bins = report["histograms"]
    assert sum(bins["negatives"]) == 18
    assert sum(bins["kept"]) == 18 - sum(report["left_out"].values())
    assert "data.range_min=1 would leave out 3" in printed
    assert "<svg" in Path("r.html").read_text()


def test_runs_are_merged_by_their_ranks(run, tiny, files):
    mined(run, tiny, out="vectors.tsv")
    mined(run, tiny, "kind=bm25", out="words.tsv")

    run("mine", "merge=[vectors.tsv,words.tsv]", "out=both.tsv", "depth=4")

    vectors, words, both = lines("vectors.tsv"), lines("words.tsv"), lines("both.tsv")
    for query, scores in both.items():
        for document, score in scores.items():
            ranks = [
                list(found[query]).index(document) + 1
                for found in (vectors, words)
                if document in found[query]
            ]
            assert score == pytest.approx(sum(1 / (60 + rank) for rank in ranks))
    assert lines(path_beside("both.tsv"))["b"]["d8"] <= 2 / 61


def test_a_passage_with_the_id_of_a_positive_is_in_no_run_whatever_its_text(run, tiny, files):
    titled = [{"id": f"d{i}", "title": "A story", "text": text} for i, text in enumerate(TEXTS)]
    Path("corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in titled))
    rows = [json.loads(line) for line in Path("train.jsonl").read_text().splitlines()]
    for row, ids in zip(rows, (["d0"], ["d8"], ["d1", "gone"]), strict=True):
        row["pos_id"] = ids
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for kind in ("encoder", "bm25"):
        printed = mined(run, tiny, f"kind={kind}", "depth=24", "json=r.json", out=f"{kind}.tsv")
        counts = json.loads(Path("r.json").read_text())["qa"]["counts"]
        by_id = "passages left out as they have the id of a positive, and another text"
        assert counts[by_id] == 5
        assert f"qa: 5 {by_id}" in printed
        assert "qa: 1 positives that the corpus has neither by id nor by text" in printed
    Path("other.tsv").write_text("a\td0\t1.0\na\td3\t0.5\n")  # of a program that knows no ids

    run("mine", "merge=[encoder.tsv,bm25.tsv]", "out=both.tsv", "depth=24")
    run("mine", "merge=[encoder.tsv,other.tsv]", "out=more.tsv", "depth=24")

    for name in ("encoder", "bm25", "both", "more"):
        found, beside = lines(f"{name}.tsv"), lines(f"{name}.positives.tsv")
        for query in ("a", "b"):
            assert not {"d0", "d8"} & set(found[query])
            assert beside[query]["d0"] == beside[query]["d8"] == float("inf")
        assert "d3" in found["a"]
        [other] = set(found) - {"a", "b"}
        assert "d1" not in found[other]


def test_datasets_whose_ids_clash_need_files_of_their_own(run, refused, tiny, files):
    other = {"query": "another", "query_id": "a", "pos": [TEXTS[3]]}
    (files / "other.jsonl").write_text(json.dumps(other) + "\n")
    two = "data.train_data={qa: train.jsonl, other: other.jsonl}"

    sentence = refused(
        "mine", f"encoder={tiny}", two, "data.corpus=corpus.jsonl", "out=run.tsv", "kind=bm25"
    )
    run("mine", f"encoder={tiny}", two, "data.corpus=corpus.jsonl", "out=runs", "kind=bm25")

    assert "query id 'a' belongs to different queries in the datasets" in sentence
    assert {path.name for path in (files / "runs").iterdir()} == {
        *("qa.tsv", "qa.positives.tsv", "other.tsv", "other.positives.tsv")
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["out=run.tsv"], "there are no queries to mine for"),
        (["out=null"], "out=None: expected a file for the negatives"),
        (["out=run.csv"], "expected a file that ends in .tsv, or a folder"),
        (["out=train.jsonl/run.tsv"], "is a file, not a folder"),
        (["out=run.tsv", "depth=0"], "depth=0: expected a whole number"),
        (["out=run.tsv", "kind=words"], "kind='words'"),
        (["out=run.tsv", "exclude_answers=no"], "exclude_answers='no': expected true or false"),
        (["out=run.tsv", "merge=[a.tsv]"], "expected a list of at least two files"),
        (
            ["out=run.tsv", "data.train_data=train.jsonl", "data.absolute_margin={0: 0.1}"],
            "shows what one limit does",
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence(refused_by_verb, files, arguments, sentence):
    assert sentence in refused_by_verb("mine", *arguments)


@pytest.mark.slow  # a process of its own
def test_a_killed_run_goes_on_where_it_stood(run, tiny, files):
    """Killed when it has embedded something; what it had is not embedded again."""
    command = [
        *(sys.executable, "-m", "llm_embedder_data.cli", "mine", f"encoder={tiny}"),
        *("data.train_data={qa: train.jsonl}", "data.corpus=corpus.jsonl", "out=run.tsv"),
        *("depth=6", "data.cache_dir=cache", "store=kept"),
    ]
    process = subprocess.Popen(
        command, cwd=files, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if list(files.glob("kept/*/*.bin")):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (files / "run.tsv").exists()
    written = {path: os.stat(path).st_ino for path in files.glob("kept/*/*.bin")}

    mined(run, tiny, "store=kept")

    assert len(lines("run.tsv")) == 3
    assert written
    assert {path: os.stat(path).st_ino for path in written} == written
    assert not (files / ".run.tsv.mining").exists()
