"""Cross-encoder teachers: the model reads query and key together, and gives a logit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.tokenizer_digest import tokenizer_digest
from llm_embedder_data.config.model_files import PROMPT_FILE, UnknownFile, read_model_json
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.batching import length_sorted_batches
from llm_embedder_data.mining.scoring.scored_rows import ScoredRow
from llm_embedder_data.mining.scoring.teacher import RowScore, facts_of_model


@dataclass(frozen=True, slots=True)
class PreparedPairs:
    """The tokenized (query, key) pairs of some rows.

    Attributes:
        n_keys: number of keys of each row.
        features: the tokenizer's output by name, such as ``input_ids``, without padding.
        n_cut: number of pairs that were truncated.
    """

    n_keys: list[int]
    features: dict[str, list[list[int]]]
    n_cut: int


class CrossEncoderTeacher:
    """Scores a key by a cross-encoder's logit, after an activation.

    The scores equal those of ``CrossEncoder.predict`` of sentence-transformers. A pair that is too
    long is truncated token by token, each time at the end of the longer text.

    Args:
        model: from AutoModelForSequenceClassification, with a single label.
        tokenizer: the model's tokenizer.
        max_length: limit of a pair in tokens, special tokens included.
        batch_tokens: limit of a batch in tokens, padding included.
        activation: applied to the logit.

    Raises:
        ConfigError: the model does not have exactly one label.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        batch_tokens: int,
        activation: nn.Module,
    ) -> None:
        if model.config.num_labels != 1:
            raise ConfigError(
                f"the teacher {type(model).__name__} has {model.config.num_labels} labels, and a "
                "score is one number (give a cross-encoder that was trained with one label)"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        self.model, self.counts = model, Counter[str]()
        self._tokenizer, self._activation = tokenizer, activation
        self._max_length, self._batch_tokens = max_length, batch_tokens

    def facts(self) -> dict[str, Any]:
        """Return what scores depend on, except weights and rows, as plain JSON."""
        return {
            "kind": "cross-encoder",
            "model": facts_of_model(self.model),
            "tokenizer": tokenizer_digest(self._tokenizer),
            "max_length": self._max_length,
            "batch_tokens": self._batch_tokens,
            "activation": repr(self._activation),
        }

    def described(self, tasks: Sequence[str]) -> str:
        """Return the settings in force, as a line for a terminal."""
        return f"max_length={self._max_length}, activation {type(self._activation).__name__}"

    def prepare(self, rows: Sequence[ScoredRow]) -> PreparedPairs:
        """Tokenize the pairs of rows."""
        queries = [row.query for row in rows for _ in row.keys]
        keys = [key for row in rows for key in row.keys]
        features = dict(self._tokenizer(queries, keys, verbose=False))
        lengths = list(map(len, features["input_ids"]))
        too_long = [pair for pair, length in enumerate(lengths) if length > self._max_length]
        if too_long:
            cut = self._tokenizer(
                [queries[pair] for pair in too_long],
                [keys[pair] for pair in too_long],
                truncation="longest_first",
                max_length=self._max_length,
            )
            for name, values in features.items():
                for pair, value in zip(too_long, cut[name], strict=True):
                    values[pair] = value
        return PreparedPairs([len(row.keys) for row in rows], features, len(too_long))

    @torch.inference_mode()
    def scores(self, prepared: PreparedPairs, progress: Callable[[int], None]) -> list[RowScore]:
        """Return the scores of rows."""
        self.counts["pairs cut"] += prepared.n_cut
        device = next(self.model.parameters()).device
        lengths = list(map(len, prepared.features["input_ids"]))
        order, parts = list[int](), list[torch.Tensor]()
        for batch in length_sorted_batches(lengths, self._batch_tokens):
            inputs = self._tokenizer.pad(
                {
                    name: [values[pair] for pair in batch]
                    for name, values in prepared.features.items()
                },
                return_tensors="pt",
            ).to(device)
            parts.append(self._activation(self.model(**inputs).logits[:, 0].float()))
            order += batch
            progress(len(batch))
        score = np.empty(len(lengths))
        score[order] = torch.cat(parts).double().cpu().numpy() if parts else []
        stops = np.cumsum(prepared.n_keys)
        return [of_row.tolist() for of_row in np.split(score, stops[:-1])]


def activation_of(teacher: str, config: Any, given: str) -> nn.Module:
    """Return a cross-encoder's activation.

    Args:
        teacher: a folder, or a name on the Hugging Face hub.
        config: its transformers configuration.
        given: the name of a class of torch.nn; or ``auto`` for the activation that the model's
            files name, which are searched as sentence-transformers does, else a sigmoid.

    Raises:
        ConfigError: the activation is not in torch.nn; or it is ``auto``, and the model's files
            name a default prompt, which is not supported.
    """
    if given != "auto":
        return _activation(given, "activation")
    try:
        file = read_model_json(teacher, PROMPT_FILE) or {}
    except UnknownFile:
        file = {}
    if file.get("default_prompt_name") is not None:
        raise ConfigError(
            f"teacher={teacher!r}: its {PROMPT_FILE} names a default prompt, and prompts of "
            "cross-encoders are not supported (take default_prompt_name out)"
        )
    # Older versions of sentence-transformers wrote the activation to the model's configuration.
    entry = getattr(config, "sentence_transformers", None) or {}
    oldest = getattr(config, "sbert_ce_default_activation_function", None)
    name = file.get("activation_fn") or entry.get("activation_fn") or oldest
    return _activation(name, f"teacher={teacher!r}, activation_fn") if name else nn.Sigmoid()


def _activation(name: str, where: str) -> nn.Module:
    found = getattr(nn, name.rpartition(".")[2], None)
    if (name.count(".") and not name.startswith("torch.nn.")) or not isinstance(found, type):
        raise ConfigError(
            f"{where}={name!r}: expected the name of a class of torch.nn, such as Identity or "
            "Sigmoid (activation=Identity gives logits)"
        )
    return found()  # type: ignore[no-any-return]
