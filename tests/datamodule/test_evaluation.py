"""Eval sets find their corpus, and every query and passage comes once."""

import pytest
import torch
from datamodule_cases import (
    Recorder,
    eval_arguments,
    make_datamodule,
    make_tokenizer,
    make_trainer,
    opened,
    write,
    write_corpus,
    write_eval,
)
from lightning.pytorch.trainer.states import TrainerFn

from llm_embedder_data import ConfigError


def loaders(datamodule, stage="validate"):
    found = opened(datamodule, stage).val_dataloader()
    return found if isinstance(found, dict) else {"": found}


def texts(tokens):
    decode = make_tokenizer().decode
    return [decode(ids).replace("[PAD]", "").replace(" ", "") for ids in tokens["input_ids"]]


def test_eval_sets_and_corpora_go_together_by_name(folder):
    found = loaders(make_datamodule(folder, **eval_arguments(folder)))

    assert list(found) == ["qa", "tool", "corpus/qa", "corpus/tool"]
    for name, n_rows, n_passages in (("qa", 7, 17), ("tool", 4, 5)):
        queries, passages = list(found[name]), list(found[f"corpus/{name}"])
        assert [row for batch in queries for row in batch["row"].tolist()] == list(range(n_rows))
        assert [i for batch in passages for i in batch["index"].tolist()] == list(range(n_passages))
        assert {batch["corpus"] for batch in queries} == {name}
        assert {batch["dataset"] for batch in passages} == {name}
        ids = [one for batch in queries for one in batch["query_id"]]
        assert ids == [i if name == "qa" else f"q{i}" for i in range(n_rows)]


def test_eval_and_corpus_batches_have_exactly_these_values(folder):
    found = loaders(make_datamodule(folder, **eval_arguments(folder), eval_batch_size=20))
    queries, passages = next(iter(found["qa"])), next(iter(found["corpus/qa"]))

    assert set(queries) == {
        "query",
        "query_id",
        "task",
        "dataset",
        "corpus",
        "row",
        "pos_index",
    }
    assert set(passages) == {"content", "index", "dataset"}
    assert type(queries) is type(passages) is type(queries["query"]) is dict
    for one, n_rows in ((queries["row"], 7), (queries["pos_index"], 7), (passages["index"], 17)):
        assert one.dtype == torch.int64
        assert len(one) == n_rows
    assert queries["task"] == "qa"
    assert texts(queries["query"])[:2] == ["askquery0", "askquery1"]
    assert texts(passages["content"])[16] == "findt16text16"
    assert queries["pos_index"].tolist()[:2] == [[0, 1], [3, 4]]


def test_the_only_corpus_serves_every_eval_set_behind_each_tasks_instruction(folder):
    arguments = eval_arguments(folder) | {"corpus": str(folder / "qa" / "corpus.jsonl")}
    found = loaders(make_datamodule(folder, **arguments))

    assert list(found) == ["qa", "tool", "corpus/qa@qa", "corpus/qa@tool"]
    assert next(iter(found["tool"]))["corpus"] == "qa@tool"
    assert next(iter(found["corpus/qa@tool"]))["dataset"] == "qa@tool"
    assert texts(next(iter(found["corpus/qa@qa"]))["content"])[0] == "findt0text0"
    assert texts(next(iter(found["corpus/qa@tool"]))["content"])[0] == "toolt0text0"


def test_tasks_of_one_instruction_share_a_corpus_loader(folder):
    arguments = eval_arguments(folder) | {"corpus": str(folder / "qa" / "corpus.jsonl")}
    found = loaders(make_datamodule(folder, **arguments, add_instruction=False))

    assert list(found) == ["qa", "tool", "corpus"]
    assert next(iter(found["tool"]))["corpus"] == next(iter(found["corpus"]))["dataset"] == "qa"


def test_a_corpus_is_embedded_once_for_each_instruction_not_for_each_task(folder):
    rows = [{"query": f"q{i}", "task": ["a", "b", "c"][i % 3], "pos_index": [0]} for i in range(6)]
    recipe = {"instruction": {"a": {"key": "one "}, "b": {"key": "two "}, "c": {"key": "one "}}}
    file = write(folder / "three" / "eval.jsonl", rows)
    corpus = str(folder / "qa" / "corpus.jsonl")
    arguments = {"recipe": recipe, "eval_data": str(file), "corpus": corpus, "default_task": "a"}
    found = loaders(make_datamodule(folder, **arguments, train_data=None))

    names = {name: next(iter(found[f"three:{name}"]))["corpus"] for name in "abc"}
    assert names == {"a": "qa@a", "b": "qa@b", "c": "qa@a"}
    assert list(found)[3:] == ["corpus/qa@a", "corpus/qa@b"]


def test_the_tasks_of_one_file_share_the_corpus_of_its_name(folder, tmp_path):
    rows = [{"query": f"q{i}", "task": ["qa", "tool"][i % 2], "pos_index": [0]} for i in range(6)]
    arguments = {
        "eval_data": {"mixed": str(write(tmp_path / "eval.jsonl", rows))},
        "corpus": {
            "mixed": str(write_corpus(tmp_path / "corpus.jsonl", 3)),
            "other": str(folder / "qa" / "corpus.jsonl"),
        },
    }
    datamodule = make_datamodule(folder, **arguments)
    found = loaders(datamodule)

    # Nothing is asked of "other": it is predicted, not evaluated on.
    assert list(found) == [
        "mixed:qa",
        "mixed:tool",
        "corpus/mixed@qa",
        "corpus/mixed@tool",
    ]
    assert list(datamodule.predict_dataloader()) == [
        "corpus/mixed@qa",
        "corpus/mixed@tool",
        "corpus/other",
    ]


def test_predicting_alone_gives_the_loaders_that_predicting_after_a_fit_gives(folder):
    arguments = {
        "eval_data": {"tool": str(folder / "tool" / "eval.jsonl")},
        "corpus": {"tool": str(folder / "tool" / "corpus.jsonl")},
    }
    first = [
        texts(
            next(iter(opened(make_datamodule(folder, **arguments), stage).predict_dataloader()))[
                "content"
            ]
        )
        for stage in ("predict", "fit")
    ]

    assert first[0] == first[1] == ["toolt0text0"]


def test_without_a_corpus_queries_come_alone_to_who_asks_for_no_evaluation(folder):
    found = loaders(make_datamodule(folder, eval_data=str(folder / "qa" / "eval.jsonl")), None)

    assert list(found) == [""]
    assert next(iter(found[""]))["corpus"] is None


def test_without_eval_data_a_corpus_is_not_embedded_at_each_validation(folder):
    datamodule = opened(make_datamodule(folder, corpus=str(folder / "qa" / "corpus.jsonl")))

    assert datamodule.val_dataloader() == {}
    assert len(list(datamodule.predict_dataloader())) == 9


def test_reranking_has_the_candidates_of_each_query(folder, tmp_path):
    rows = [
        {
            "query": f"query {i}",
            "task": "qa",
            "query_id": f"q{i}",
            "key": [f"key {i} {k}" for k in range(2 + i % 2)],
            "key_index": [10 * i + k for k in range(2 + i % 2)],
            "pos_index": [10 * i],
        }
        for i in range(5)
    ]
    path = write(tmp_path / "rerank" / "eval.jsonl", rows)
    arguments = {"eval_data": str(path), "eval_method": "rerank", "eval_batch_size": 5}
    (loader,) = loaders(make_datamodule(folder, **arguments)).values()
    seen = list(loader)

    assert [row for batch in seen for row in batch["row"].tolist()] == list(range(5))
    first = seen[0]
    assert set(first) == {
        "query",
        "key",
        "key_mask",
        "key_index",
        "query_id",
        "task",
        "dataset",
        "corpus",
        "row",
        "pos_index",
    }
    assert first["key_mask"].tolist() == [[1, 1, 0], [1, 1, 1]] * 2 + [[1, 1, 0]]
    assert first["key_index"].tolist()[:2] == [[0, 1, -1], [10, 11, 12]]
    assert first["key"]["input_ids"].shape[0] == 15
    assert texts(first["key"])[3:6] == ["findkey10", "findkey11", "findkey12"]

    crossed = make_datamodule(folder, **arguments, cross=True)
    (batch, *_) = next(iter(loaders(crossed).values()))
    assert batch["cross"]["input_ids"].shape[0] == 15
    assert "query" not in batch


def test_reranking_asks_for_no_corpus(folder, tmp_path):
    rows = [{"query": "q", "task": "qa", "key": ["a", "b"], "key_index": [0, 1], "pos_index": [0]}]
    arguments = eval_arguments(folder) | {
        "eval_data": str(write(tmp_path / "rerank" / "eval.jsonl", rows)),
        "eval_method": "rerank",
    }

    assert list(loaders(make_datamodule(folder, **arguments))) == [""]


def test_an_eval_set_without_a_corpus_of_its_name_is_refused(folder):
    arguments = eval_arguments(folder)
    arguments["eval_data"]["news"] = arguments["eval_data"]["qa"]

    with pytest.raises(
        ConfigError, match=r"no corpus for eval set 'news': data\.corpus has qa, tool"
    ):
        opened(make_datamodule(folder, **arguments))


@pytest.mark.parametrize("name", ["corpus", "corpus/qa"])
def test_an_eval_set_cannot_take_a_corpus_loaders_name(folder, name):
    data = {name: str(folder / "qa" / "eval.jsonl")}

    with pytest.raises(ConfigError, match=f"'{name}' is reserved for the loader of a corpus"):
        opened(make_datamodule(folder, eval_data=data), "validate")


@pytest.mark.parametrize("stage", ["validate", "test"])
@pytest.mark.parametrize("given", [str, TrainerFn], ids=["text", "a Trainer's enum"])
def test_evaluating_without_eval_data_is_refused(folder, stage, given):
    with pytest.raises(ConfigError, match=rf"data\.eval_data=None: nothing to {stage} \("):
        opened(make_datamodule(folder), given(stage))


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
@pytest.mark.parametrize("corpus", [None, {}, []])
def test_retrieving_from_no_corpus_is_refused(folder, stage, corpus):
    data = {"eval_data": str(folder / "qa" / "eval.jsonl"), "corpus": corpus}
    sentence = r"data\.corpus=.*eval_method='retrieve' searches a corpus for the queries of qa, but"

    with pytest.raises(ConfigError, match=sentence):
        opened(make_datamodule(folder, **data), stage)
    opened(make_datamodule(folder, **data), "predict")


@pytest.mark.parametrize("run", ["fit", "validate", "test"])
def test_a_trainer_is_refused_too_and_before_anything_is_tokenized(folder, tmp_path, run):
    data = {"eval_data": str(folder / "qa" / "eval.jsonl"), "tokenize": "cached"}
    datamodule = make_datamodule(folder, **data, cache_dir=str(tmp_path / "cache"))

    with pytest.raises(ConfigError, match="there is none"):
        getattr(make_trainer(), run)(Recorder(), datamodule=datamodule)
    assert not (tmp_path / "cache" / "tokens").exists()


def test_predicting_without_a_corpus_is_refused(folder):
    with pytest.raises(ConfigError, match=r"data\.corpus=None: prediction encodes a corpus"):
        opened(make_datamodule(folder), "predict").predict_dataloader()


def test_a_file_of_string_ids_and_missing_positives_is_read(folder, tmp_path):
    write_eval(tmp_path / "qa" / "eval.jsonl", "qa", 3, 5, ids="str")
    arguments = eval_arguments(folder) | {"eval_data": {"qa": str(tmp_path / "qa")}}
    found = loaders(make_datamodule(folder, **arguments))

    assert [one for batch in found["qa"] for one in batch["query_id"]] == ["q0", "q1", "q2"]
