"""Loads an exported folder again, and compares its token ids and embeddings with the model's.

sentence-transformers loads the folder. If it is not installed, transformers loads the weights, and
the other files are read as sentence-transformers documents them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.config.model_files import PROMPT_FILE, TRANSFORMER_FILE, read_model_json
from llm_embedder_data.config.model_pooling import pooled
from llm_embedder_data.config.pretrained import load_encoder_model
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.training.encoder.dense_layers import load_dense_layers
from llm_embedder_data.training.encoder.pooling import pool

# Embeds a padded batch: maps (tokenizer's output, number of prompt tokens) to ``[N, D]`` float32.
Encode = Callable[[Mapping[str, Any], int], Tensor]

# Embeddings of longer texts are not compared: on a CPU each would take minutes.
_MOST_TOKENS = 1024

# Largest allowed distance of two vectors, as a fraction of the length of the model's vector.
_TOLERANCE = 1e-4
_TOLERANCE_OF_LOW_PRECISION = 2e-2


class _Reader(Protocol):
    """An exported folder, loaded by another library."""

    name: str

    def ids(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        """Return the token ids of each text with the prompt before it."""

    def vectors(self, texts: Sequence[str], prompt: str) -> Tensor:
        """Return the embedding of each text with the prompt before it, ``[N, D]`` float32."""


def probe_texts(max_length: int) -> list[str]:
    """Return texts on which tokenizers tend to differ: short, long, other scripts, white space."""
    return [
        "Where do otters sleep?",
        "In kelp, hand in hand; the current takes the others.",
        "日本語の文章、中文的句子。한국어 문장.",
        "Crème brûlée & naïve <b>mark-up</b> — 3,14 € \n\tand a second line",
        "a",
        " ",
        "",
        "word and another " * (max_length // 2 + 4),
    ]


def check_encoder(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompts: Mapping[str, str],
    max_length: int,
    include_prompt: bool,
    encode: Encode,
) -> str:
    """Compare an exported folder with the encoder in memory, on probe texts.

    Args:
        folder: the exported folder.
        tokenizer: the tokenizer of the training batches.
        prompts: the prompts that the folder must apply, by name.
        max_length: maximum number of tokens of a text.
        include_prompt: whether mean pooling includes the prompt's tokens.
        encode: embeds a padded batch with the encoder in memory.

    Returns:
        A sentence that says what was compared.

    Raises:
        ConfigError: token ids or vectors differ, vectors are not finite, or the folder cannot be
            loaded.
    """
    collator = RetrievalDataCollator(
        tokenizer, key_max_length=max_length, query_max_length=max_length, prompt_lengths=True
    )
    reader = _reader(folder)
    given = list(dict.fromkeys(["", *prompts.values()]))
    n_texts, largest = 0, 0.0
    for prompt in given:
        texts = probe_texts(max_length)
        if prompt and tokenizer.truncation_side == "left":
            texts = texts[:-1]  # sentence-transformers would cut the prompt off the longest text
        batch = collator({"content": texts, "key_instruction": prompt})
        ours = without_padding(batch["content"])
        theirs = reader.ids(texts, prompt)
        for text, expected, found in zip(texts, ours, theirs, strict=True):
            if expected != found:
                raise ConfigError(
                    f"{reader.name} reads the exported folder in another way: for the text "
                    f"{text[:40]!r} with the prompt {prompt!r} it makes the token ids "
                    f"{_shown(found)}, but training batches have {_shown(expected)} "
                    "(nothing was written; check=false writes the folder anyway)"
                )
        # A text without tokens has no embedding.
        compared = [i for i, text_ids in enumerate(ours) if 0 < len(text_ids) <= _MOST_TOKENS]
        some = {name: values[compared] for name, values in batch["content"].items()}
        n_prompt = 0 if include_prompt else batch["content_prompt_length"]
        expected_vectors = encode(some, n_prompt)
        if not expected_vectors.isfinite().all():
            raise ConfigError(
                "the encoder gives vectors that are not finite, so it ranks nothing: has its "
                "training diverged? (nothing was written; lower model.learning_rate, or "
                "check=false writes the folder anyway)"
            )
        found_vectors = reader.vectors([texts[i] for i in compared], prompt)
        largest = max(largest, _difference(expected_vectors.float().cpu(), found_vectors))
        n_texts += len(compared)
    allowed = tolerance(expected_vectors, folder)
    if not largest <= allowed:
        raise ConfigError(
            f"{reader.name} computes other vectors from the exported folder: they differ by up to "
            f"{largest:.1e} of their length, but only {allowed:.0e} is allowed "
            "(nothing was written; check=false writes the folder anyway)"
        )
    return (
        f"Compared with {reader.name} on {n_texts} texts with {len(given)} prompts: the token ids "
        f"are equal, and the vectors differ by at most {largest:.0e} of their length."
    )


def without_padding(inputs: Mapping[str, Any]) -> list[list[int]]:
    """Return the token ids of each text of a padded batch."""
    return [
        ids[mask.bool()].tolist()
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]


def tolerance(vectors: Tensor, folder: Path) -> float:
    """Return the allowed difference: higher on an accelerator, or if weights are not float32."""
    config = read_model_json(str(folder), "config.json")
    is_float32 = config.get("dtype", config.get("torch_dtype", "float32")) == "float32"
    on_cpu = vectors.device.type == "cpu"
    return _TOLERANCE if is_float32 and on_cpu else _TOLERANCE_OF_LOW_PRECISION


# --------------------------------------------------------------------------------------------------


class _SentenceTransformersReader:
    """The folder as sentence-transformers loads it."""

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer, __version__

        self.name = f"sentence-transformers {__version__}"
        self._model = SentenceTransformer(str(folder), device="cpu")
        # Versions before 6 call it tokenize.
        self._tokens: Any = getattr(self._model, "preprocess", None) or self._model.tokenize

    def ids(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        return without_padding(self._tokens([prompt + text for text in texts]))

    def vectors(self, texts: Sequence[str], prompt: str) -> Tensor:
        found = self._model.encode(
            list(texts), prompt=prompt or None, convert_to_tensor=True, show_progress_bar=False
        )
        return found.float().cpu()


class _TransformersReader:
    """The folder as transformers loads it, with pooling and length from its other files."""

    name = "transformers (sentence-transformers is not installed)"

    def __init__(self, folder: Path) -> None:
        self._model = load_encoder_model(str(folder))[0]
        self._model.train(False)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._pooled = pooled(str(folder), self._model.config)
        hidden_size = self._model.config.hidden_size
        self._dense_layers = load_dense_layers(str(folder), self._pooled.dense, hidden_size)
        self._max_length = read_model_json(str(folder), TRANSFORMER_FILE)["max_seq_length"]
        assert read_model_json(str(folder), PROMPT_FILE) is not None

    def _inputs(self, texts: Sequence[str]) -> Any:
        return self._tokenizer(
            list(texts),
            truncation=True,
            max_length=self._max_length,
            padding=True,
            return_tensors="pt",
        )

    def ids(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        return without_padding(self._inputs([prompt + text for text in texts]))

    @torch.no_grad()
    def vectors(self, texts: Sequence[str], prompt: str) -> Tensor:
        inputs = self._inputs([prompt + text for text in texts])
        n_prompt = 0
        if prompt and not self._pooled.include_prompt:
            ids = self._tokenizer(prompt)["input_ids"]
            n_prompt = len(ids) - (ids[-1] in self._tokenizer.all_special_ids)
        hidden = self._model(**inputs).last_hidden_state.float()
        vectors = pool(hidden, inputs["attention_mask"], self._pooled.pooling, n_prompt)
        vectors = self._dense_layers(vectors)
        return F.normalize(vectors, dim=1) if self._pooled.similarity == "cos" else vectors


def _reader(folder: Path) -> _Reader:
    try:
        return _SentenceTransformersReader(folder)
    except ImportError:
        return _TransformersReader(folder)


def _difference(expected: Tensor, found: Tensor) -> float:
    """Return the largest distance of two vectors, as a fraction of the expected one's length."""
    if expected.shape != found.shape:
        return float("inf")
    lengths = expected.norm(dim=1).clamp(min=1e-12)
    return float(((expected - found).norm(dim=1) / lengths).max())


def _shown(ids: Sequence[int]) -> str:
    return f"{list(ids[:12])}{' ...' if len(ids) > 12 else ''} ({len(ids)} in all)"
