"""Batches of rows that name documents by id are those of the same rows written out as texts."""

import json
import pickle
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from datamodule_cases import RECIPE, Recorder, make_datamodule, make_trainer, opened, write
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from id_cases import (
    FORMATS,
    N_PASSAGES,
    SCORED_ONLY,
    beir,
    passage_text,
    plain,
    rows_of,
    two_corpora,
)
from processes import returned, run_on_ranks

from llm_embedder_data import DataError, read_rows
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.written_rows import write_rows


def as_texts(folder, source):
    """The same rows with texts in place of ids, in a file that names no corpus."""
    path = folder / "texts" / "a.jsonl"
    path.parent.mkdir(exist_ok=True)
    settings = dict(source) if isinstance(source, dict) else {"path": source}
    write_rows(read_rows(settings.pop("path"), **settings), path, "train")
    return str(path)


def read_lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def batches(folder, source, epochs=1, **arguments):
    datamodule = opened(make_datamodule(folder, train_data={"a": source}, **arguments))
    loader = datamodule.train_dataloader()
    found = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        found += list(loader)
    return found, datamodule


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])


def assert_same(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one.nan_to_num(nan=-1), other.nan_to_num(nan=-1))
    elif isinstance(one, list) and one and isinstance(one[0], torch.Tensor | dict):
        assert len(one) == len(other)
        for part, same in zip(one, other, strict=True):
            assert_same(part, same)
    else:
        assert one == other


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
@pytest.mark.parametrize("name", FORMATS)
def test_batches_of_every_format_of_ids_are_those_of_texts(tmp_path, name, tokenize):
    source = FORMATS[name](tmp_path, rows_of(scored=name in SCORED_ONLY))
    arguments = {"tokenize": tokenize, "recipe": RECIPE, "epochs": 2}

    found, by_id = batches(tmp_path, source, **arguments)
    expected, by_text = batches(tmp_path, as_texts(tmp_path, source), **arguments)

    assert by_id.train_sets()["a"].passages is not None
    assert by_text.train_sets()["a"].passages is None
    assert_equal(found, expected)


MORE = [
    {},
    {"length_window": 2},
    {"no_duplicates": True},
    {"on_no_negatives": "keep", "max_sample_num": 14},
    {"add_instruction": False, "unique_keys": True},
]
SCORED_MORE = [
    {"teacher_scores_margin": 1.0, "stable_distill": True},
    {"relative_margin": 0.1, "range_max": 4},
]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Rows by id and as texts, without scores and with them."""
    found = {}
    for scored in (False, True):
        folder = tmp_path_factory.mktemp("both")
        source = plain(folder, rows_of(scored=scored))
        found[scored] = folder, source, as_texts(folder, source)
    return found


@tried(20)
@given(data=st.data())
def test_batches_of_ids_are_those_of_texts(both, data):
    def drawn(*values):
        return data.draw(st.sampled_from(values))

    scored, cross = drawn(False, True), drawn(False, True)
    folder, source, texts = both[scored]
    by_score = ("teacher", "teacher-pos"), ("teacher+", "teacher-")
    arguments = {
        "tokenize": drawn("on-the-fly", "cached"),
        "layout": drawn("padded", "chunked", *(["packed"] if not cross else [])),
        "cross": cross,
        "select_positive": drawn("first", "random", *(by_score[0] if scored else ())),
        "select_negative": drawn("first", "random", *(by_score[1] if scored else ())),
        "train_group_size": drawn(2, 5, 9),
        "seed": drawn(1, 2),
        **drawn(*MORE, *(SCORED_MORE if scored else ())),
    }
    if cross:
        arguments.pop("unique_keys", None)

    found, _ = batches(folder, source, **arguments)
    expected, _ = batches(folder, texts, **arguments)

    assert_equal(found, expected)


def test_passages_of_several_corpora_are_numbered_together(tmp_path):
    source = two_corpora(tmp_path, rows_of())

    found, by_id = batches(tmp_path, source)
    expected, _ = batches(tmp_path, as_texts(tmp_path, source))

    assert len(by_id.train_sets()["a"].passages.corpora) == 2
    assert_equal(found, expected)


def mixed(folder, rows=None):
    """A file of ids, and one of texts of which one is a passage of the corpus."""
    source = plain(folder, rows or rows_of())
    texts = [f"own text {n}" for n in range(12)]
    records = [
        {"query": f"own {n}", "pos": [texts[n]], "neg": [texts[n - 1], passage_text(n), texts[n]]}
        for n in range(12)
    ]
    write(folder / "x.jsonl", records)
    return {**source, "path": [source["path"], str(folder / "x.jsonl")]}


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
@pytest.mark.parametrize("first", ["ids", "texts"])
def test_files_of_ids_and_of_texts_in_a_source_keep_ids(tmp_path, tokenize, first):
    source = mixed(tmp_path)
    if first == "texts":
        source["path"] = source["path"][::-1]
    arguments = {"tokenize": tokenize, "recipe": RECIPE, "train_group_size": 5}

    found, datamodule = batches(tmp_path, source, **arguments)
    expected, _ = batches(tmp_path, as_texts(tmp_path, source), **arguments)

    passages = datamodule.train_sets()["a"].passages
    assert sorted(map(len, passages.corpora)) == [N_PASSAGES, 48]
    assert_equal(found, expected)


def test_files_of_ids_and_of_texts_have_side_cars(tmp_path):
    source = mixed(tmp_path)
    negatives = tmp_path / "run.tsv"
    negatives.write_text("".join(f"q{i}\td{(3 * i) % N_PASSAGES}\t1\n" for i in range(23)))
    texts = {"path": as_texts(tmp_path, source), "corpus": source["corpus"]}

    found, datamodule = batches(tmp_path, {**source, "negatives": str(negatives)})
    expected, _ = batches(tmp_path, {**texts, "negatives": str(negatives)})

    assert datamodule.train_sets()["a"].passages is not None
    assert_equal(found, expected)


def test_rows_of_ids_and_of_texts_are_written_again_without_their_texts(tmp_path):
    source = mixed(tmp_path)
    expected, _ = batches(tmp_path, source)
    [rows] = (tmp_path / "cache").glob("rows-*.arrow")
    rows.unlink()

    found, _ = batches(tmp_path, source)

    assert_equal(found, expected)


def test_bad_texts_beside_ids_are_errors_or_counted(tmp_path):
    source = mixed(tmp_path)
    path = tmp_path / "x.jsonl"
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("own text 2", "own \\ud800 text")
    path.write_text("\n".join(lines))

    with pytest.raises(DataError, match=r"x\.jsonl.*line 4.*lone surrogate"):
        batches(tmp_path, source)
    found, datamodule = batches(tmp_path, source, on_bad_row="skip")
    del lines[3]
    path.write_text("\n".join(lines))
    expected, _ = batches(tmp_path, source)

    assert sum(datamodule.report()["train"]["a"]["dropped"].values()) == 1
    assert_equal(
        [{**batch, "row": None} for batch in found], [{**batch, "row": None} for batch in expected]
    )


def test_ids_without_a_corpus_beside_ids_with_one_are_refused(tmp_path):
    source = {"path": [beir(tmp_path, rows_of()), str(tmp_path / "x.jsonl")]}
    write(tmp_path / "x.jsonl", [{"query": "q", "pos": ["some text"], "neg": ["other text"]}])
    batches(tmp_path, source, train_group_size=2)
    write(tmp_path / "x.jsonl", [{"query": "q", "pos": ["e1", "e2"], "neg": ["e3"]}])

    with pytest.raises(DataError, match=r"ids"):
        batches(tmp_path, source, train_group_size=2)


def test_own_instructions_of_keys_are_cached_with_them(tmp_path):
    source = plain(tmp_path, rows_of())
    records = read_lines(source["path"])
    for i, record in enumerate(records):
        record["instruction"] = {"query": f"q {i % 3} ", "key": f"k {i % 2} "} if i % 4 else None
    write(tmp_path / "ids.jsonl", records)
    for tokenize in ("on-the-fly", "cached"):
        found, datamodule = batches(tmp_path, source, tokenize=tokenize)
        expected, _ = batches(tmp_path, as_texts(tmp_path, source), tokenize=tokenize)

        assert datamodule.train_sets()["a"].passages is not None
        assert_equal(found, expected)


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_workers_make_the_same_batches(tmp_path, tokenize):
    source = plain(tmp_path, rows_of())
    expected, _ = batches(tmp_path, source, tokenize=tokenize)

    found, _ = batches(tmp_path, source, tokenize=tokenize, num_workers=1)

    assert_equal(found, expected)


def test_a_dataset_of_ids_pickles_without_its_passages(tmp_path):
    _, datamodule = batches(tmp_path, plain(tmp_path, rows_of()))
    passages = datamodule.train_sets()["a"].passages

    pickled = pickle.dumps(passages)

    assert passage_text(3).encode() not in pickled
    numbers = np.arange(N_PASSAGES)
    assert pickle.loads(pickled).texts(numbers) == passages.texts(numbers)


def test_passages_that_were_deleted_are_written_again(tmp_path):
    source = plain(tmp_path, rows_of())
    expected, _ = batches(tmp_path, source)
    [passages] = (tmp_path / "cache").glob("passages-*.bin")
    passages.unlink()

    found, _ = batches(tmp_path, source)

    assert passages.exists()
    assert_equal(found, expected)


def examples_of_rank(rank, folder, source):
    """What a rank of two trains on: its batches' row numbers and key hashes."""
    datamodule = opened(make_datamodule(folder, train_data={"a": source}, batch_size=2))
    return [
        (batch["row"].tolist(), batch["key_id"].tolist(), batch["key"]["input_ids"].tolist())
        for batch in datamodule.train_dataloader()
    ]


def test_two_ranks_get_what_they_get_of_texts(tmp_path):
    source = plain(tmp_path, rows_of())
    texts = as_texts(tmp_path, source)

    by_id = returned(run_on_ranks(examples_of_rank, 2, tmp_path / "i", tmp_path, source))
    by_text = returned(run_on_ranks(examples_of_rank, 2, tmp_path / "t", tmp_path, texts))

    assert by_id == by_text
    assert by_id[0] != by_id[1]


class SaveAfterThree(lightning.Callback):
    """Saves a checkpoint in the middle of the first epoch."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 3:
            trainer.save_checkpoint(self.path)


def test_a_resumed_run_goes_on_with_the_same_batches(tmp_path):
    source, path = {"a": plain(tmp_path, rows_of())}, tmp_path / "three.ckpt"
    whole, rest = Recorder(), Recorder()
    make_trainer(max_epochs=2, callbacks=[SaveAfterThree(path)]).fit(
        whole, datamodule=make_datamodule(tmp_path, train_data=source)
    )

    make_trainer(max_epochs=2).fit(
        rest, datamodule=make_datamodule(tmp_path, train_data=source), ckpt_path=path
    )

    assert rest.trained == dict(list(whole.trained.items())[3:])


def test_the_doctor_finds_in_ids_what_it_finds_in_texts(tmp_path):
    rows = rows_of(scored=True)
    source = plain(tmp_path, rows)
    evals = write(tmp_path / "eval.jsonl", [{"query": passage_text(7), "pos_index": [0]}])
    corpus = write(tmp_path / "eval_corpus.jsonl", [{"text": "some passage"}])
    found = []
    for own in (source, as_texts(tmp_path, source)):
        datamodule = make_datamodule(
            tmp_path, train_data={"a": own}, eval_data={"e": str(evals)}, corpus={"e": str(corpus)}
        )
        fixed = tmp_path / f"fixed{len(found)}"
        checks = opened(datamodule).diagnose(fix=fixed)["datasets"]["a"]["checks"]
        del checks["unread_columns"]  # of files, not of rows
        counts = {check: entry["count"] for check, entry in checks.items()}
        places = {
            check: [(one["line"], one["text"]) for one in entry["examples"]]
            for check, entry in checks.items()
        }
        found.append((counts, places, (fixed / "a.jsonl").read_text()))

    for by_id, by_text in zip(*found, strict=True):
        assert by_id == by_text
    assert found[0][0]["positive_among_negatives"] == 5
    assert found[0][0]["contamination"] > 0


# -- ids that are wrong ---------------------------------------------------------------------------


def test_an_unknown_id_is_an_error_at_its_line_or_counted(tmp_path):
    source = plain(tmp_path, rows_of())
    records = read_lines(source["path"])
    records[4]["neg"][1] = "d777"
    records[9] |= {"pos": ["x1"], "neg": ["x2"]}
    path = write(tmp_path / "ids.jsonl", records)

    with pytest.raises(DataError, match=r"ids\.jsonl.*line 10.*none of its document ids.*'x1'"):
        batches(tmp_path, source)
    records[9] = {**records[8], "neg": [*records[8]["neg"][1:], "x2"]}
    write(path, records)
    with pytest.raises(DataError, match=r"ids\.jsonl.*line 5.*2 of .* ids are not in.*'d777'"):
        batches(tmp_path, source)

    found, datamodule = batches(tmp_path, source, on_bad_row="skip")
    expected, _ = batches(tmp_path, as_texts(tmp_path, {**source, "on_bad_row": "skip"}))

    assert_equal(found, expected)
    report = datamodule.report()["train"]["a"]
    assert "left out: 2 document ids that the corpus does not have" in report["notes"]


def test_rows_made_of_judgments_come_from_their_first_line(tmp_path):
    rows = rows_of()
    path = beir(tmp_path, rows)
    judged = tmp_path / "beir" / "qrels" / "train.tsv"
    lines = judged.read_text().splitlines()
    third = next(at for at, line in enumerate(lines) if line.startswith("q2\t"))
    _, datamodule = batches(tmp_path, path)

    [found] = located(datamodule.train_sets()["a"], [2])
    assert (found.file, found.line) == (str(judged), third + 1)

    renamed = [line.replace("\td", "\tx") if line.startswith("q2\t") else line for line in lines]
    judged.write_text("\n".join(renamed) + "\n")
    with pytest.raises(DataError, match=rf"train\.tsv.*line {third + 1}\).*none of its"):
        batches(tmp_path, path)


@pytest.mark.parametrize("text", [passage_text(3), "another text"])
def test_an_id_that_stands_in_a_corpus_twice_is_an_error_at_its_line_or_counted(tmp_path, text):
    source = plain(tmp_path, rows_of())
    expected, _ = batches(tmp_path, source)
    with open(source["corpus"], "a") as file:
        file.write(json.dumps({"_id": "d3", "text": text}) + "\n")

    is_same = "the same text" if text == passage_text(3) else "another text"
    with pytest.raises(DataError, match=rf"line 41.*'d3'.*twice.*{is_same} as at line 4"):
        batches(tmp_path, source)
    found, datamodule = batches(tmp_path, source, on_bad_row="skip")

    assert_equal(found, expected)
    assert any("1 passages" in str(note) for note in datamodule.report()["train"]["a"]["notes"])


def test_rows_come_from_the_file_that_was_given_not_from_an_equal_one(tmp_path):
    side_car = tmp_path / "run.tsv"
    side_car.write_text("q1\td5\t1\n")
    for more in ({}, {"negatives": str(side_car)}):
        for place in ("first", "second"):
            folder = tmp_path / place
            source = {**plain(folder / "data", rows_of()), **more}
            datamodule = opened(
                make_datamodule(tmp_path, train_data={"a": source}, on_no_negatives="keep")
            )

            [found] = located(datamodule.train_sets()["a"], [2])

            assert (found.file, found.line) == (source["path"], 3)
    assert len(list((tmp_path / "cache").glob("rows-*.arrow"))) == 1
