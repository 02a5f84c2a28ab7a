"""``evaluate(store=...)``: embeddings that a store holds are read, the others are computed once."""

import logging

import numpy as np
import pytest
import torch
from processes import returned, run_on_ranks
from tiny_models import ONE_LAYER, tiny_bert
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder, ConfigError, DataError, RetrievalDataModule, evaluate
from llm_embedder_data.mining.store_filling import fill_store
from llm_embedder_data.mining.text_embedder import TextEmbedder

WORDS = ["abbot", "bell", "ferry", "storm", "oats", "salt", "harbour", "lamp"]


def text(number):
    return " ".join(WORDS[number * step % 8] for step in range(1, 2 + number % 5))


# The last passages have the texts of the first ones, and a row of the eval set has an instruction.
CORPUS = [{"id": f"d{number}", "text": text(number % 35)} for number in range(40)]
EVAL = [{"query": text(3 * n), "query_id": f"q{n}", "relevant": {f"d{n}": 1}} for n in range(11)]
EVAL[4]["instruction"] = {"query": "harbour: "}


@pytest.fixture(scope="module")
def tokenizer(minilm):
    return AutoTokenizer.from_pretrained(minilm)


def tiny_model(tokenizer, seed=0):
    encoder = tiny_bert(len(tokenizer), seed=seed, max_position_embeddings=512, **ONE_LAYER)
    return BiEncoder(encoder, cutoffs=[10])


def make_datamodule(tokenizer, **settings):
    arguments = {"eval_data": {"bells": EVAL}, "corpus": CORPUS, "eval_batch_size": 7}
    return RetrievalDataModule(tokenizer, recipe="e5", **arguments | settings)


def measured(model, datamodule, **settings):
    """The metrics, and the ids and scores of all passages that were found."""
    found = evaluate(model, datamodule, show_progress=False, **settings)
    return found.metrics, [
        (query, list(documents)) for query, documents in found.rankings["bells"].run()
    ]


def said_of_stores(caplog):
    return [message for message in caplog.messages if "shards" in message]


def no_encoding(*arguments):
    raise AssertionError("a text was encoded")


def test_it_finds_what_an_evaluation_without_a_store_finds(tokenizer, tmp_path):
    model, datamodule = tiny_model(tokenizer), make_datamodule(tokenizer)

    metrics, run = measured(model, datamodule)
    from_store, run_from_store = measured(model, datamodule, store=tmp_path)

    assert from_store == metrics
    for (query, found), (same_query, expected) in zip(run_from_store, run, strict=True):
        assert query == same_query
        scores, expected_scores = ([score for _, score in ranked] for ranked in (found, expected))
        np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


def test_what_a_store_holds_is_read_and_not_encoded(tokenizer, tmp_path):
    first = measured(tiny_model(tokenizer), make_datamodule(tokenizer), store=tmp_path)
    model = tiny_model(tokenizer)
    model.encode = no_encoding

    assert measured(model, make_datamodule(tokenizer), store=tmp_path) == first


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_a_store_that_embed_filled_is_read(tokenizer, tmp_path, tokenize):
    model = tiny_model(tokenizer)
    settings = {"tokenize": tokenize, "cache_dir": tmp_path / "cache"}
    datamodule = make_datamodule(tokenizer, **settings)
    datamodule.prepare_data()
    datamodule.setup("validate")
    for kind in ("corpus", "eval_data"):
        [prompted] = datamodule.texts_to_embed(kind).values()
        embedder = TextEmbedder(
            model, tokenizer, prompt=prompted.prompt, max_length=prompted.max_length
        )
        fill_store(tmp_path / "store", prompted.texts, embedder)
    model.encode = no_encoding

    metrics, _ = measured(model, make_datamodule(tokenizer, **settings), store=tmp_path / "store")

    assert metrics["bells"]["recall@10"] > 0


def test_other_weights_are_embedded_anew_and_the_difference_is_said(tokenizer, tmp_path, caplog):
    caplog.set_level(logging.INFO, "llm_embedder_data.training.evaluate")
    datamodule = make_datamodule(tokenizer)
    measured(tiny_model(tokenizer), datamodule, store=tmp_path)
    of_queries, of_corpus = said_of_stores(caplog)
    caplog.clear()

    found = measured(tiny_model(tokenizer, seed=1), datamodule, store=tmp_path)

    assert of_queries.startswith("eval_data bells: 11 texts; of 2 shards 2 written, 0 found: ")
    assert of_corpus.startswith("corpus corpus: 40 texts, 35 different ones; of 4 shards 4 written")
    assert "has the same texts" not in of_queries + of_corpus
    for message in said_of_stores(caplog):
        assert "has the same texts, but was not read because it differs in weights" in message
    assert found[0] == measured(tiny_model(tokenizer, seed=1), datamodule)[0]


def test_autocast_is_part_of_what_a_store_depends_on(tokenizer, tmp_path):
    with torch.autocast("cpu", torch.bfloat16):
        measured(tiny_model(tokenizer), make_datamodule(tokenizer), store=tmp_path)
    model = tiny_model(tokenizer)
    model.encode = no_encoding

    with pytest.raises(AssertionError, match="a text was encoded"):
        measured(model, make_datamodule(tokenizer), store=tmp_path)


def measured_on_rank(rank, tokenizer, store):
    return measured(tiny_model(tokenizer), make_datamodule(tokenizer), store=store)


@pytest.mark.slow
@pytest.mark.ranks
def test_ranks_share_the_work_and_find_the_same_bits(tokenizer, tmp_path):
    alone = measured_on_rank(0, tokenizer, tmp_path / "alone")

    for found in returned(
        run_on_ranks(measured_on_rank, 2, tmp_path, tokenizer, tmp_path / "shared")
    ):
        assert found == alone


def test_candidates_to_rerank_have_no_store(tokenizer, tmp_path):
    rows = [{"query": "bell", "pos": ["bell"], "neg": ["oats", "salt"]}]
    datamodule = make_datamodule(tokenizer, eval_data={"b": rows}, eval_method="rerank")

    with pytest.raises(ConfigError, match="candidates to rerank, which no store holds"):
        evaluate(tiny_model(tokenizer), datamodule, store=tmp_path, show_progress=False)


def test_ids_that_no_run_can_hold_are_refused_before_a_store_is_filled(tokenizer, tmp_path):
    datamodule = make_datamodule(tokenizer, eval_data={"bells": [{**EVAL[0], "query_id": "a b"}]})
    files = {"run_file": tmp_path / "run.trec", "store": tmp_path / "store"}

    with pytest.raises(DataError, match="query id 'a b'"):
        evaluate(tiny_model(tokenizer), datamodule, show_progress=False, **files)

    assert not (tmp_path / "store").exists()
