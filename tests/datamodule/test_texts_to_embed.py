"""A data module gives the texts of its corpora and queries, with the prompts of its batches."""

import numpy as np
import pytest
from datamodule_cases import RECIPE, make_tokenizer, write, write_corpus, write_eval, write_train

from llm_embedder_data import ConfigError, RetrievalDataModule


@pytest.fixture
def module(tmp_path):
    made = RetrievalDataModule(
        make_tokenizer(),
        train_data={"t": str(write_train(tmp_path / "t/train.jsonl", "tool", 9, ids="t{}".format))},
        eval_data={"e": str(write_eval(tmp_path / "e/eval.jsonl", "chat", 5, 12, ids="str"))},
        corpus={"e": str(write_corpus(tmp_path / "e/corpus.jsonl", 12))},
        recipe=RECIPE,
        query_max_length=30,
        key_max_length=40,
        batch_size=2,
        cache_dir=tmp_path / "cache",
    )
    made.prepare_data()
    made.setup()
    return made


@pytest.mark.parametrize(
    ("kind", "name", "prompt", "length", "text", "id"),
    [
        ("corpus", "e", "said ", 40, "t3 text 3", "3"),
        ("eval_data", "e", "say ", 30, "query 3", "q3"),
        ("train_data", "t", "do ", 30, "tool query 3", "t3"),
    ],
)
def test_texts_come_with_their_prompt_length_and_ids(module, kind, name, prompt, length, text, id):
    [(found, prompted)] = module.texts_to_embed(kind).items()

    assert (found, prompted.prompt, prompted.max_length) == (name, prompt, length)
    assert prompted.texts.at(np.array([3, 0, 3]))[0][::2] == [text, text]
    assert prompted.texts.ids()[3].as_py() == id
    assert len(prompted.texts) == len(prompted.texts.ids())


def test_rows_that_are_dropped_are_not_embedded(tmp_path):
    rows = [{"id": "a", "text": "one"}, {"id": "b", "text": [5]}, {"id": "c", "text": "three"}]
    path = write(tmp_path / "c/corpus.jsonl", rows)
    made = RetrievalDataModule(
        make_tokenizer(), corpus=str(path), cache_dir=tmp_path / "cache", on_bad_row="skip"
    )
    made.prepare_data()
    made.setup("predict")
    [passages] = made.texts_to_embed("corpus").values()

    assert passages.texts.ids().to_pylist() == ["a", "c"]
    assert passages.texts.at(np.array([0, 1])) == (["one", "three"], None)


def test_queries_keep_instructions_of_their_own(tmp_path):
    rows = [
        {"query": "who", "pos": ["a text"], "neg": ["b text"], "instruction": {"query": own}}
        for own in ("ask: ", None, "")
    ]
    path = write(tmp_path / "i/train.jsonl", rows)
    made = RetrievalDataModule(
        make_tokenizer(), str(path), recipe=RECIPE, batch_size=1, cache_dir=tmp_path / "cache"
    )
    made.prepare_data()
    made.setup("fit")
    [queries] = made.texts_to_embed("train_data").values()

    assert queries.texts.at(np.arange(3)) == (["who"] * 3, ["ask: ", None, ""])


def test_an_unknown_kind_is_refused(module):
    with pytest.raises(ConfigError, match="texts='queries': expected one of corpus, eval_data"):
        module.texts_to_embed("queries")
