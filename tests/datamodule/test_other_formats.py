"""Data of other people's formats, and in memory, give the batches of the same rows of our own."""

import csv
import json
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datamodule_cases import Recorder, make_tokenizer, make_trainer, write

from llm_embedder_data import ConfigError, DataError, RetrievalDataModule, read_rows
from llm_embedder_data.mining.retrieval_metrics import retrieval_metrics

N_ROWS = 9


def rows_of(n_neg=2, *, scores=False):
    """Canonical rows as our own JSON Lines have them."""
    rows = []
    for i in range(N_ROWS):
        row = {
            "query": f"what is the thing number {i}",
            "pos": [f"the thing number {i} is one of these"],
            "neg": [f"a thing {n} that is not number {i}" for n in range(n_neg)],
        }
        if scores:
            row["teacher_scores"] = [float(i + 5 - k) for k in range(1 + n_neg)]
        rows.append(row)
    return rows


def batches(folder, train_data, n_steps=3, **settings):
    datamodule = make(folder, train_data=train_data, **settings)
    loader = datamodule.train_dataloader()
    return [batch for _, batch in zip(range(n_steps), loader, strict=False)], datamodule


def make(folder, **settings):
    arguments = {
        **{"tokenizer": make_tokenizer(), "batch_size": 3, "train_group_size": 3},
        **{"num_workers": 0, "on_no_negatives": "keep", "cache_dir": folder / "cache"},
        **{"query_max_length": 64, "key_max_length": 64, "use_train_config": False},
        **settings,
    }
    datamodule = RetrievalDataModule(**arguments)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def assert_equal(found, expected, ignored=("query_id", "dataset")):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert set(one) == set(other)
        for name in set(one) - set(ignored):
            if isinstance(one[name], torch.Tensor):
                torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, equal_nan=True)
            elif isinstance(one[name], dict):
                for part in one[name]:
                    assert torch.equal(one[name][part], other[name][part])
            else:
                assert one[name] == other[name]


def native(folder, rows):
    return {"a": str(write(folder / "native" / "rows.jsonl", rows))}


def beir(folder, rows):
    documents, queries, judgments = [], [], ["query-id\tcorpus-id\tscore"]
    for i, row in enumerate(rows):
        queries.append({"_id": f"q{i}", "text": row["query"]})
        for grade, name in ((1, "pos"), (0, "neg")):
            for text in row[name]:
                documents.append({"_id": f"d{len(documents)}", "title": "", "text": text})
                judgments.append(f"q{i}\t{documents[-1]['_id']}\t{grade}")
    write(folder / "beir" / "corpus.jsonl", documents)
    write(folder / "beir" / "queries.jsonl", queries)
    (folder / "beir" / "qrels").mkdir()
    for split in ("train", "test"):
        (folder / "beir" / "qrels" / f"{split}.tsv").write_text("\n".join(judgments) + "\n")
    return str(folder / "beir")


def flagembedding(folder, rows):
    records = [
        {
            **{name: row[name] for name in ("query", "pos", "neg")},
            "pos_scores": row["teacher_scores"][:1],
            "neg_scores": row["teacher_scores"][1:],
        }
        for row in rows
    ]
    return str(write(folder / "flag" / "rows.jsonl", records))


def sentence_transformers_csv(folder, rows):
    path = folder / "rows.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["anchor", "positive", "negative_1", "negative_2"])
        writer.writerows([row["query"], *row["pos"], *row["neg"]] for row in rows)
    return str(path)


def tevatron(folder, rows):
    records = [
        {
            "query_id": str(i),
            "query": row["query"],
            "positive_passages": [{"docid": f"p{i}", "title": "", "text": row["pos"][0]}],
            "negative_passages": [{"docid": f"n{i}", "text": text} for text in row["neg"]],
        }
        for i, row in enumerate(rows)
    ]
    return str(write(folder / "tevatron" / "rows.jsonl", records))


def id_triples(folder, rows):
    corpus, queries, triples = [], [], []
    for i, row in enumerate(rows):
        queries.append(f"{100 + i}\t{row['query']}")
        first = len(corpus)
        corpus += [f"{7000 + first + k}\t{text}" for k, text in enumerate(row["pos"] + row["neg"])]
        triples += [
            f"{100 + i}\t{7000 + first}\t{7001 + first + k}" for k in range(len(row["neg"]))
        ]
    for name, lines in (("collection", corpus), ("queries", queries), ("triples", triples)):
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return {
        "path": str(folder / "triples.tsv"),
        "format": "msmarco_id_triples",
        "corpus": str(folder / "collection.tsv"),
        "queries": str(folder / "queries.tsv"),
    }


def read_lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def data_frame(folder, rows):
    return pd.DataFrame(
        [
            {"anchor": row["query"], "positive": row["pos"][0]}
            | {f"negative_{n + 1}": text for n, text in enumerate(row["neg"])}
            for row in rows
        ]
    )


@pytest.mark.parametrize(
    ("make_source", "format"),
    [
        (beir, "beir"),
        (flagembedding, "flagembedding"),
        (sentence_transformers_csv, "columns"),
        (tevatron, "tevatron"),
        (id_triples, "msmarco_id_triples"),
        (data_frame, "columns"),
        (lambda folder, rows: pa.Table.from_pylist(rows), "llm_embedder"),
        (lambda folder, rows: datasets.Dataset.from_list(rows), "llm_embedder"),
        (
            lambda folder, rows: datasets.DatasetDict(
                train=datasets.Dataset.from_list(rows), test=datasets.Dataset.from_list(rows[:1])
            ),
            "llm_embedder",
        ),
        (lambda folder, rows: rows, "llm_embedder"),
    ],
    ids=[
        *("beir", "flagembedding", "csv", "tevatron", "id triples", "data frame"),
        *("arrow table", "dataset", "dataset dict", "list of dicts"),
    ],
)
def test_batches_equal_those_of_the_same_rows_of_our_own(tmp_path, make_source, format):
    rows = rows_of(scores=make_source is flagembedding)
    expected, own = batches(tmp_path, native(tmp_path, rows))

    found, datamodule = batches(tmp_path, {"a": make_source(tmp_path, rows)})

    assert_equal(found, expected)
    report = datamodule.report()["train"]["a"]
    assert (report["format"], report["rows_read"], report["rows_kept"]) == (format, N_ROWS, N_ROWS)
    assert own.report()["train"]["a"]["format"] == "llm_embedder"


def test_a_source_in_memory_has_settings_as_a_file_has(tmp_path):
    rows = rows_of()
    path = native(tmp_path, rows)["a"]
    expected, _ = batches(tmp_path, {"a": {"path": path, "task": "nli", "max_sample_num": 6}}, 2)

    source = {"path": data_frame(tmp_path, rows), "task": "nli", "max_sample_num": 6}
    found, _ = batches(tmp_path, {"a": source}, 2)

    assert_equal(found, expected)


def test_data_in_memory_without_a_mapping_are_named_after_their_setting(tmp_path):
    datamodule = make(tmp_path, train_data=data_frame(tmp_path, rows_of()))

    assert list(datamodule.report()["train"]) == ["train_data"]


def test_a_second_reading_comes_from_the_cache_and_a_changed_corpus_is_read_again(tmp_path):
    rows = rows_of()
    source = {"a": id_triples(tmp_path, rows)}
    make(tmp_path, train_data=source)
    cached = set((tmp_path / "cache").glob("rows-*.arrow"))
    again, _ = batches(tmp_path, source)
    assert set((tmp_path / "cache").glob("rows-*.arrow")) == cached

    path = tmp_path / "collection.tsv"
    path.write_text(path.read_text().replace("is one of these", "is among these"))
    changed, datamodule = batches(tmp_path, source)

    assert (
        "is among these" in datamodule.train_sets()["a"].tables(["key"]).columns([0])["key"][0][0]
    )
    assert any(
        not torch.equal(x["key_id"], y["key_id"]) for x, y in zip(again, changed, strict=True)
    )


def test_a_name_that_ends_in_no_in_batch_neg_turns_in_batch_negatives_off(tmp_path):
    rows = rows_of(scores=True)
    path = flagembedding(tmp_path / "x_no_in_batch_neg", rows)
    plain = write(tmp_path / "other_no_in_batch_neg.jsonl", rows)
    sources = {"a": path, "b": str(plain), "c": {"path": path, "in_batch_negatives": True}}

    report = make(tmp_path, train_data=sources).report()["train"]

    # The folder of the first is called flag, so only the file of the second says it.
    assert [report[name]["in_batch_negatives"] for name in "abc"] == [True, False, True]


def test_what_was_left_out_is_counted_by_reason(tmp_path):
    records = read_lines(tevatron(tmp_path, rows_of()))
    records[2]["positive_passages"] = []
    path = write(tmp_path / "fewer.jsonl", records)

    report = make(tmp_path, train_data={"a": str(path)}).report()["train"]["a"]

    assert (report["rows_read"], report["rows_kept"]) == (N_ROWS, N_ROWS - 1)
    assert list(report["dropped"].values()) == [1]


def test_a_bad_row_is_named_by_file_and_line(tmp_path):
    records = read_lines(tevatron(tmp_path, rows_of()))
    records[4]["query"] = 5
    path = write(tmp_path / "bad.jsonl", records)

    with pytest.raises(DataError) as error:
        make(tmp_path, train_data={"a": str(path)})

    assert str(error.value).startswith(f"{path}, row 4 (line 5): query")


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("format", "tevatorn", "did you mean 'tevatron'"),
        ("split", 3, "data.train_data.a.split=3: expected a string"),
        ("threshold", "high", "data.train_data.a.threshold='high': expected a number"),
        ("corpus", 3, "data.train_data.a.corpus=3: expected a path"),
        ("minor", "bm25", "did you mean 'miner'"),
    ],
)
def test_a_wrong_setting_of_a_source_is_one_clear_error(tmp_path, setting, value, sentence):
    source = {"path": flagembedding(tmp_path, rows_of(scores=True)), setting: value}

    with pytest.raises(ConfigError) as error:
        make(tmp_path, train_data={"a": source})

    assert sentence in str(error.value)


def test_nested_fields_and_several_columns_are_read(tmp_path):
    rows = rows_of()
    records = [
        {
            "q": {"text": row["query"]},
            "good": row["pos"][0],
            "b1": row["neg"][0],
            "b2": row["neg"][1],
        }
        for row in rows
    ]
    path = write(tmp_path / "named.jsonl", records)
    source = {"path": str(path), "query": "q.text", "pos": "good", "neg": ["b1", "b2"]}
    expected, _ = batches(tmp_path, native(tmp_path, rows))

    found, _ = batches(tmp_path, {"a": source})

    assert_equal(found, expected)


def test_eval_data_and_corpus_of_a_beir_folder_are_joined_by_id(tmp_path):
    rows = rows_of()
    path = beir(tmp_path, rows)
    judged = tmp_path / "beir" / "qrels" / "test.tsv"
    judged.write_text(judged.read_text().replace("q1\td3\t1", "q1\td3\t2\nq1\td0\t1"))

    datamodule = make(tmp_path, eval_data=path, corpus=path)
    loaders = datamodule.val_dataloader()
    queries = next(iter(loaders["beir"]))

    assert queries["query_id"][:2] == ["q0", "q1"]
    assert queries["pos_index"][:2].tolist() == [[0, -1], [3, 0]]
    assert queries["grades"][:2].tolist() == [[1.0, 0.0], [2.0, 1.0]]
    assert datamodule.report()["corpus"]["beir"]["rows_kept"] == 27


@pytest.mark.parametrize("shape", ["relevant", "beir"])
def test_a_relevant_document_that_the_corpus_lacks_counts_as_not_found(tmp_path, shape):
    """As in trec_eval: with a known and an unknown positive, recall is at most 1/2."""
    if shape == "beir":
        path = beir(tmp_path, rows_of())
        judged = tmp_path / "beir" / "qrels" / "test.tsv"
        judged.write_text(judged.read_text().replace("q1\td3\t1", "q1\td3\t1\nq1\tx9\t3"))
        corpus = path
    else:
        queries = [{"query": f"query {i}", "relevant": {f"d{3 * i}": 1}} for i in range(9)]
        queries[1]["relevant"]["x9"] = 3
        path = str(write(tmp_path / "e" / "beir.jsonl", queries))
        records = [{"id": f"d{i}", "text": "x"} for i in range(27)]
        corpus = str(write(tmp_path / "c" / "corpus.jsonl", records))

    datamodule = make(tmp_path, eval_data={"e": path}, corpus={"e": corpus}, on_bad_row="skip")
    batch = next(iter(datamodule.val_dataloader()["e"]))

    found = retrieval_metrics(
        torch.tensor([[3]]), batch["pos_index"][1:2], [1], batch["grades"][1:2]
    )
    assert found["recall@1"] == 0.5
    assert found["ndcg@1"] == 1 / 3
    assert any(
        "1 judged document ids" in note for note in datamodule.report()["eval"]["e"]["notes"]
    )


def test_unknown_ids_follow_on_bad_row(tmp_path):
    queries = [{"query": f"query {i}", "relevant": {f"d{i}": 1}} for i in range(4)]
    corpus = write(
        tmp_path / "c" / "corpus.jsonl", [{"id": f"d{i}", "text": "x"} for i in range(3)]
    )
    path = write(tmp_path / "e" / "eval.jsonl", queries)

    with pytest.raises(DataError, match="no document of the row is in the corpus"):
        make(tmp_path, eval_data=str(path), corpus=str(corpus))
    report = make(tmp_path, eval_data=str(path), corpus=str(corpus), on_bad_row="skip").report()

    assert report["eval"]["e"]["dropped"] == {"documents unknown": 1}
    none = write(tmp_path / "n" / "eval.jsonl", [{"query": "q", "relevant": {"other": 1}}])
    with pytest.raises(DataError, match=r"none of the 1 document ids .* 'other'; .* 'd0'"):
        make(tmp_path, eval_data=str(none), corpus=str(corpus), on_bad_row="skip")


def test_a_run_on_data_in_memory_goes_on_from_a_checkpoint_if_they_are_the_same(tmp_path):
    rows = rows_of()
    frame = data_frame(tmp_path, rows)
    datamodule = make(tmp_path, train_data=frame)
    trainer = make_trainer(max_epochs=1)
    trainer.fit(Recorder(), datamodule=datamodule)
    trainer.save_checkpoint(tmp_path / "end.ckpt")

    def go_on(data):
        make_trainer(max_epochs=2).fit(
            Recorder(),
            datamodule=make(tmp_path, train_data=data),
            ckpt_path=tmp_path / "end.ckpt",
            weights_only=True,
        )

    go_on(frame.copy())
    frame.loc[0, "anchor"] = "another question"
    with pytest.raises(ConfigError, match="train_data"):
        go_on(frame)


def test_read_rows_gives_what_the_data_module_reads(tmp_path):
    rows = rows_of()
    path = tevatron(tmp_path, rows)

    assert [row["neg"] for row in read_rows(path)] == [row["neg"] for row in rows]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("query,pos\nq r,p s\n".encode("utf-16"), "it is UTF-16 text"),
        ("query,pos\nq r,p s\n".encode("utf-16-le"), "it looks like UTF-16 text"),
        (b"query,pos,pos\nq r,p s,t u\n", "its header names the column 'pos' twice"),
    ],
)
def test_a_fault_that_hides_the_format_is_named_and_not_the_ending(tmp_path, content, sentence):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)

    with pytest.raises(DataError, match=rf"rows\.csv: {sentence}"):
        make(tmp_path, train_data=str(path))
