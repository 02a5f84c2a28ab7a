"""Teachers that are cross-encoders: query and key go through one model, which gives one logit."""

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
    """The pairs of some rows as tokens.

    Attributes:
        n_keys: of each row.
        features: what the tokenizer gives for each pair, by name.
        n_cut: pairs that were cut.
    """

    n_keys: list[int]
    features: dict[str, list[list[int]]]
    n_cut: int


class CrossEncoderTeacher:
    """Scores a key by the logit of a cross-encoder, behind its activation.

    The scores are those of ``CrossEncoder.predict`` of sentence-transformers: of a pair that is too
    long, the longer text loses its end, token by token.

    Args:
        model: from AutoModelForSequenceClassification, with one label.
        tokenizer: of the model.
        max_length: most tokens of a pair, special tokens included.
        batch_tokens: most tokens of a batch, padding included.
        activation: applied to the logit.

    Raises:
        ConfigError: the model has several labels.
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
        """Return all that scores depend on beside weights and rows, as plain JSON."""
        return {
            "kind": "cross-encoder",
            "model": facts_of_model(self.model),
            "tokenizer": tokenizer_digest(self._tokenizer),
            "max_length": self._max_length,
            "batch_tokens": self._batch_tokens,
            "activation": repr(self._activation),
        }

    def said(self, tasks: Sequence[str]) -> str:
        """Return the settings in force, for one line on a terminal."""
        return f"max_length={self._max_length}, activation {type(self._activation).__name__}"

    def prepare(self, rows: Sequence[ScoredRow]) -> PreparedPairs:
        """Return the pairs of rows as tokens."""
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
        return [one.tolist() for one in np.split(score, stops[:-1])]


def activation_of(teacher: str, config: Any, given: str) -> nn.Module:
    """Return the activation that a cross-encoder's files name, as sentence-transformers reads them.

    Args:
        teacher: a folder, or a name on the Hugging Face hub.
        config: its transformers configuration.
        given: ``auto``; or the name of a class of torch.nn, in place of what the files say.

    Raises:
        ConfigError: it is not in torch.nn; or the model puts a prompt before its queries.
    """
    if given != "auto":
        return _activation(given, "activation")
    try:
        own = read_model_json(teacher, PROMPT_FILE) or {}
    except UnknownFile:
        own = {}
    if own.get("default_prompt_name") is not None:
        raise ConfigError(
            f"teacher={teacher!r}: its {PROMPT_FILE} names a default prompt, and prompts of "
            "cross-encoders are not supported (take default_prompt_name out)"
        )
    ours = getattr(config, "sentence_transformers", None) or {}
    older = getattr(config, "sbert_ce_default_activation_function", None)
    name = own.get("activation_fn") or ours.get("activation_fn") or older
    return _activation(name, f"teacher={teacher!r}, activation_fn") if name else nn.Sigmoid()


def _activation(name: str, where: str) -> nn.Module:
    found = getattr(nn, name.rpartition(".")[2], None)
    if (name.count(".") and not name.startswith("torch.nn.")) or not isinstance(found, type):
        raise ConfigError(
            f"{where}={name!r}: expected the name of a class of torch.nn, such as Identity or "
            "Sigmoid (activation=Identity gives logits)"
        )
    return found()  # type: ignore[no-any-return]
