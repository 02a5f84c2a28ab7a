"""Texts are embedded as training and evaluation embed them, in batches of so many tokens."""

import json

import numpy as np
import pytest
import torch
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from store_cases import TEXTS, tiny_embedder, tiny_encoder, words
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder, ConfigError, RetrievalDataModule
from llm_embedder_data.mining.text_embedder import TextEmbedder


def close(found, expected, atol=2e-6):
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


@pytest.fixture(scope="module")
def encoder(minilm):
    return tiny_encoder(minilm)


class Counting:
    """An encoder that remembers the shapes of its batches, ``[texts, columns]``."""

    def __init__(self, encoder):
        self._encoder = encoder
        self.shapes = []

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def encode(self, inputs, inverse=None, prompt_length=0):
        for call in inputs if isinstance(inputs, list) else [inputs]:
            if "cu_seq_lens_q" in call:
                self.shapes.append((len(call["cu_seq_lens_q"]) - 1, call["input_ids"].shape[1]))
            else:
                self.shapes.append(tuple(call["input_ids"].shape))
        return self._encoder.encode(inputs, inverse, prompt_length)


@tried(15)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    layout=st.sampled_from(["padded", "chunked", "packed"]),
    batch_tokens=st.integers(1, 200),
)
def test_an_embedding_depends_on_its_text_alone(minilm, encoder, lengths, layout, batch_tokens):
    texts = [words(length, i % 3) for i, length in enumerate(lengths)]
    alone = tiny_embedder(minilm, encoder)

    found = tiny_embedder(
        minilm, encoder, layout=layout, batch_tokens=batch_tokens, chunk_size=3
    ).embed(texts)

    close(found, np.concatenate([alone.embed([text]) for text in texts]))


@pytest.mark.parametrize("layout", ["padded", "chunked", "packed"])
def test_a_text_is_encoded_once_and_a_batch_keeps_to_its_tokens(minilm, encoder, layout):
    counting = Counting(encoder)
    embedder = tiny_embedder(minilm, counting, layout=layout, batch_tokens=96)

    found = embedder.embed(TEXTS)

    assert sum(n for n, _ in counting.shapes) == len(set(TEXTS)) < len(TEXTS)
    n_tokens = [n if layout == "packed" else n_texts * n for n_texts, n in counting.shapes]
    assert max(n_tokens) <= 96
    assert len(n_tokens) < 12  # sorted by length, so few are needed
    first = {text: found[i] for i, text in reversed(list(enumerate(TEXTS)))}
    assert all((first[text] == row).all() for text, row in zip(TEXTS, found, strict=True))


def test_the_tokens_of_a_block_only_are_in_memory(minilm, encoder):
    embedder, taken = tiny_embedder(minilm, encoder), []

    def blocks():
        for i in range(6):
            taken.append(i)
            yield TEXTS[i : i + 3], None

    embedded = embedder.embed_blocks(blocks())
    next(embedded)

    assert len(taken) <= 3  # the block that was asked for, and what is tokenized meanwhile
    assert len(list(embedded)) == 5


def test_instructions_of_their_own_stand_in_place_of_the_prompt(minilm, encoder):
    plain = tiny_embedder(minilm, encoder)
    prompted = tiny_embedder(minilm, encoder, prompt="find this: ")

    found = prompted.embed(["the abbot", "the bell", "the bell"], [None, "look: ", ""])

    expected = plain.embed(["find this: the abbot", "look: the bell", "the bell"])
    close(found, expected)


def test_an_encoder_is_left_as_it_was(minilm):
    encoder = tiny_encoder(minilm)
    encoder.train()
    encoder.encoder.embeddings.eval()
    modes = [module.training for module in encoder.modules()]
    embedder = tiny_embedder(minilm, encoder)

    first, again = embedder.embed(TEXTS), embedder.embed(TEXTS)

    assert (first == again).all()  # no dropout
    assert [module.training for module in encoder.modules()] == modes


def test_no_texts_have_no_embeddings(minilm, encoder):
    assert tiny_embedder(minilm, encoder).embed([]).shape == (0, 0)


def test_mixed_precision_is_close_and_another(minilm, encoder):
    exact = tiny_embedder(minilm, encoder).embed(TEXTS)
    mixed = tiny_embedder(minilm, encoder, precision="bf16-mixed").embed(TEXTS)

    assert mixed.dtype == np.float32
    assert 1e-4 < np.abs(mixed - exact).max() < 0.1


@pytest.mark.parametrize("layout", ["padded", "chunked", "packed"])
def test_embeddings_equal_those_of_the_data_modules_batches(minilm, tmp_path, encoder, layout):
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    settings = {"key_max_length": 24, "eval_batch_size": 5, "num_workers": 0, "layout": layout}
    data = RetrievalDataModule(
        minilm, corpus=str(path), recipe="e5", cache_dir=tmp_path / "cache", **settings
    )
    data.prepare_data()
    data.setup("predict")
    encoder.eval()
    with torch.no_grad():
        parts = [encoder.predict_step(batch, 0) for batch in data.predict_dataloader()]
    [passages] = data.texts_to_embed("corpus").values()

    assert passages.prompt == "passage: "
    embedder = tiny_embedder(minilm, encoder, prompt=passages.prompt, layout=layout)
    texts, own = passages.texts.at(np.arange(len(TEXTS)))
    close(embedder.embed(texts, own), torch.cat([part["embedding"] for part in parts]).numpy())


@pytest.mark.parametrize("include_prompt", [True, False])
def test_embeddings_equal_those_of_sentence_transformers(minilm_model, tmp_path, include_prompt):
    from sentence_transformers import SentenceTransformer

    source = SentenceTransformer(minilm_model, device="cpu", prompts={"document": "a text about: "})
    source.max_seq_length = 20
    source[1].include_prompt = include_prompt
    source.save(str(tmp_path / "model"))
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    ours = TextEmbedder(
        BiEncoder(str(tmp_path / "model")),
        AutoTokenizer.from_pretrained(tmp_path / "model"),
        prompt="a text about: ",
        max_length=20,
        batch_tokens=256,
    )

    close(ours.embed(TEXTS), theirs.encode_document(TEXTS, convert_to_numpy=True), atol=1e-5)
    assert ours.encoder.include_prompt is include_prompt


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"max_length": 2}, "max_length=2: the tokenizer puts 2 special tokens"),
        ({"prompt": words(30)}, "leaves none for the text"),
        ({"batch_tokens": 0}, "batch_tokens=0: expected a whole number of at least 1"),
        ({"precision": "bf16"}, "precision='bf16': expected one of 32-true, bf16-mixed"),
        ({"layout": "wide"}, "data.layout='wide': expected one of padded, chunked, packed"),
    ],
)
def test_a_wrong_setting_is_refused(minilm, encoder, setting, sentence):
    with pytest.raises(ConfigError) as refused:
        tiny_embedder(minilm, encoder, **setting)

    assert sentence in str(refused.value)
