"""A store with any other fact is never read, and the message names the fact."""

import copy
from dataclasses import fields, replace

import pytest
import torch
from store_cases import TEXTS, tiny_embedder, tiny_encoder
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder, ConfigError, DataError
from llm_embedder_data.mining.embeddable_texts import ListedTexts
from llm_embedder_data.mining.embedding_store import EmbeddingStore
from llm_embedder_data.mining.store_filling import fill_store
from llm_embedder_data.mining.store_fingerprint import StoreFingerprint, weights_digest
from llm_embedder_data.mining.text_embedder import TextEmbedder
from llm_embedder_data.mining.text_inventory import take_inventory


def fingerprint_of(embedder, texts, dtype="float32"):
    return StoreFingerprint.of(embedder, take_inventory(texts), dtype)


@pytest.fixture(scope="module")
def filled(minilm, tmp_path_factory):
    root, texts = tmp_path_factory.mktemp("store"), ListedTexts(TEXTS)
    embedder = tiny_embedder(minilm, prompt="find: ")
    fill_store(root, texts, embedder)
    return root, embedder, texts


def other_weights(encoder):
    with torch.no_grad():
        encoder.encoder.encoder.layer[0].output.dense.bias[3] += 1e-7


def other_pooling(encoder):
    encoder.pooling = "cls"


def other_similarity(encoder):
    encoder.similarity = "dot"


def prompt_left_out(encoder):
    encoder.include_prompt = False


def other_activation(encoder):
    encoder.encoder.config.hidden_act = "relu"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (other_weights, "weights"),
        (other_pooling, "encoder"),
        (other_similarity, "encoder"),
        (prompt_left_out, "encoder"),
        (other_activation, "encoder"),
    ],
)
def test_a_store_of_another_encoder_is_not_read(minilm, filled, change, field):
    root, embedder, texts = filled
    encoder = copy.deepcopy(embedder.encoder)
    change(encoder)
    changed = tiny_embedder(minilm, encoder, prompt="find: ")

    with pytest.raises(DataError, match=rf"differs in {field} \(fill one"):
        EmbeddingStore.open(root, fingerprint_of(changed, texts))


def test_adapters_of_the_same_weights_and_another_scale_are_another_encoder(minilm):
    peft = pytest.importorskip("peft", reason="needs the extra 'lora'")

    def facts(**settings):
        settings = {"r": 2, "lora_alpha": 4, "target_modules": ["query", "value"], **settings}
        adapted = peft.get_peft_model(tiny_encoder(minilm).encoder, peft.LoraConfig(**settings))
        return BiEncoder(adapted, pooling="mean").embedding_facts()

    assert facts() == facts(target_modules=["value", "query"], lora_dropout=0.1)
    assert facts() != facts(lora_alpha=8)
    assert facts() != facts(use_rslora=True)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"prompt": "find:"}, "prompt"),
        ({"max_length": 23}, "max_length"),
        ({"precision": "bf16-mixed"}, "precision"),
    ],
)
def test_a_store_of_other_settings_is_not_read(minilm, filled, settings, field):
    root, embedder, texts = filled
    changed = tiny_embedder(minilm, embedder.encoder, **{"prompt": "find: ", **settings})

    with pytest.raises(DataError, match=rf"differs in {field} \(fill one"):
        EmbeddingStore.open(root, fingerprint_of(changed, texts))


def test_a_store_of_another_tokenizer_is_not_read(minilm, filled):
    root, embedder, texts = filled
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    tokenizer.add_tokens(["abbot"])
    changed = TextEmbedder(embedder.encoder, tokenizer, prompt="find: ", max_length=24)

    with pytest.raises(DataError, match=r"differs in tokenizer \(fill one"):
        EmbeddingStore.open(root, fingerprint_of(changed, texts))


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (ListedTexts(TEXTS[::-1]), "texts"),
        (ListedTexts([*TEXTS[:-1], "another"]), "texts"),
        (ListedTexts(TEXTS[:-1]), "n_texts, texts, ids"),
        (ListedTexts(TEXTS, [f"d{i}" for i in range(len(TEXTS))]), "ids"),
        (ListedTexts(TEXTS, own_instructions=["", *[None] * (len(TEXTS) - 1)]), "texts"),
    ],
)
def test_a_store_of_other_texts_is_not_read(filled, texts, names):
    root, embedder, _ = filled

    with pytest.raises(DataError, match=rf"differs in {names} \(fill one"):
        EmbeddingStore.open(root, fingerprint_of(embedder, texts))


@pytest.mark.parametrize("name", [field.name for field in fields(StoreFingerprint)])
def test_every_field_counts(filled, name):
    root, embedder, texts = filled
    found = fingerprint_of(embedder, texts)
    value = getattr(found, name)
    other = {**value, "more": 1} if isinstance(value, dict) else 7 if type(value) is int else "x"

    assert len(EmbeddingStore.open(root, found)) == len(TEXTS)
    with pytest.raises(DataError, match=rf"differs in {name} \(fill one"):
        EmbeddingStore.open(root, replace(found, **{name: other}))


def test_what_changes_the_rounding_alone_is_no_part_of_it(minilm, filled):
    root, embedder, texts = filled
    encoder = copy.deepcopy(embedder.encoder).eval()
    same = tiny_embedder(
        minilm, encoder, prompt="find: ", layout="packed", batch_tokens=50, pad_to_multiple_of=None
    )
    same.embed(TEXTS[:3])

    assert len(EmbeddingStore.open(root, fingerprint_of(same, texts))) == len(TEXTS)


def test_the_digest_of_weights_is_that_of_their_values_under_their_names():
    a, b = torch.arange(6.0), torch.arange(6, 12).float()
    digests = [
        weights_digest(weights)
        for weights in (
            {"a": a, "b": b},
            {"a": b, "b": a},
            {"a": a, "c": b},
            {"a": a.view(2, 3), "b": b},
            {"a": a.half(), "b": b},
            {"a": a, "b": b.view(torch.int32)},
            {"a": a},
        )
    ]

    assert len(set(digests)) == len(digests)
    assert weights_digest({"b": b, "a": a}) == digests[0]
    assert weights_digest({"a": torch.stack([a, a], 1)[:, 0], "b": b}) == digests[0]


def test_the_digest_of_weights_is_the_same_wherever_they_come_from(minilm, tmp_path):
    encoder = tiny_encoder(minilm)
    encoder.encoder.save_pretrained(tmp_path)
    again = type(encoder)(str(tmp_path), pooling="mean")

    assert weights_digest(again.state_dict()) == weights_digest(encoder.state_dict())
    assert again.embedding_facts() == encoder.embedding_facts()


def test_an_unknown_type_of_vectors_is_refused(filled):
    _, embedder, texts = filled

    with pytest.raises(ConfigError, match="dtype='float': expected one of float32, float16"):
        fingerprint_of(embedder, texts, "float")
