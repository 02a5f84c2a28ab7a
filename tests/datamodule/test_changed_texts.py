"""Other texts in the same files or rows: never from a cache, and never in a resumed run."""

import json

import lightning
import pytest
from datamodule_cases import (
    Recorder,
    batches,
    make_datamodule,
    make_trainer,
    opened,
    seen_batch,
    write,
    write_train,
)

from llm_embedder_data import ConfigError

N_ROWS = 16


class Saved(lightning.Callback):
    """A checkpoint after two steps."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 2:
            trainer.save_checkpoint(self.path)


@pytest.fixture
def data(tmp_path):
    """Rows with two columns of each kind, a run of negatives, and a corpus of two columns."""
    rows = write_train(tmp_path / "rows.jsonl", "qa", N_ROWS, n_neg=3, ids=lambda i: f"q{i}")
    records = [json.loads(line) for line in rows.read_text().splitlines()]
    for record in records:
        record["question"] = f"other {record['query']}"
        record["hard"] = [f"other {text}" for text in record["neg"]]
    write(rows, records)
    mined = [(i, k) for i in range(N_ROWS) for k in range(4)]
    lines = [f"q{i}\td{i}-{k}\t{9.5 - k}\n" for i, k in mined]
    (tmp_path / "run.tsv").write_text("".join(lines))
    write_passages(tmp_path, "body")
    return tmp_path


def write_passages(folder, word):
    passages = [
        {"id": f"d{i}-{k}", "title": "t", "body": f"{word} {i} {k}", "summary": f"short {i} {k}"}
        for i in range(N_ROWS)
        for k in range(4)
    ]
    write(folder / "passages.jsonl", passages)


def rows_alone(data, **source):
    return {"train_data": {"qa": {"path": str(data / "rows.jsonl"), **source}}}


def with_negatives(data, **corpus):
    given = {"path": str(data / "passages.jsonl"), "text": "body"} | corpus
    return rows_alone(data, negatives=str(data / "run.tsv"), corpus=given)


def module(data, arguments, cache="cache"):
    return make_datamodule(
        data, **{"train_group_size": 7, "cache_dir": str(data / cache)} | arguments
    )


def fit(data, arguments, *, ckpt_path=None, saved=None):
    recorder = Recorder()
    trainer = make_trainer(max_epochs=1, callbacks=[Saved(saved)] if saved else [])
    trainer.fit(recorder, datamodule=module(data, arguments), ckpt_path=ckpt_path)
    return list(recorder.trained.values())


def seen(data, arguments, cache="cache"):
    return [seen_batch(batch) for batch in batches(opened(module(data, arguments, cache)))]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"query": "question"}, "data.train_data: no query"),
        ({"neg": "hard"}, "data.train_data: no neg"),
    ],
)
def test_a_run_that_reads_another_column_continues_no_checkpoint(data, changed, named):
    path = data / "2.ckpt"
    whole = fit(data, rows_alone(data), saved=path)
    assert fit(data, rows_alone(data), ckpt_path=path) == whole[2:]

    with pytest.raises(ConfigError, match=named):
        fit(data, rows_alone(data, **changed), ckpt_path=path)

    fit(data, rows_alone(data, **changed), saved=path)
    [(field, column)] = changed.items()
    with pytest.raises(ConfigError, match=f"set by: .*train_data: {field}: {column}"):
        fit(data, rows_alone(data), ckpt_path=path)


@pytest.mark.parametrize("of", ["files", "column", "template", "data.corpus"])
def test_a_changed_corpus_of_mined_negatives_continues_no_checkpoint(data, of):
    path = data / "2.ckpt"
    before = after = with_negatives(data)
    if of == "data.corpus":
        corpus = before["train_data"]["qa"].pop("corpus")
        before = before | {"corpus": corpus}
        after = before | {"corpus": corpus | {"text": "summary"}}
    whole = fit(data, before, saved=path)
    assert fit(data, before, ckpt_path=path) == whole[2:]

    if of == "files":
        write_passages(data, "bulk")
    elif of == "column":
        after = with_negatives(data, text="summary")
    elif of == "template":
        after = before | {"key_template": "{text}"}

    with pytest.raises(ConfigError, match=r"set by: +data\.corpus, or corpus of the source"):
        fit(data, after, ckpt_path=path)


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_negatives_are_of_the_column_that_the_corpus_names_whatever_is_cached(data, tokenize):
    bodies, summaries = (
        with_negatives(data, text=column) | {"tokenize": tokenize} for column in ("body", "summary")
    )

    of_bodies = seen(data, bodies)
    of_summaries = seen(data, summaries)

    assert of_summaries != of_bodies
    assert of_summaries == seen(data, summaries, "another cache")
    assert seen(data, bodies) == of_bodies
