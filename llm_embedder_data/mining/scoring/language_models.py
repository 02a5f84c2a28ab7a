"""Causal language models as teachers: by the likelihood of the answer, or by "yes" against "no"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.tokenizer_digest import tokenizer_digest
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.batching import length_sorted_batches, padded_on_the_right
from llm_embedder_data.mining.scoring.picked_logits import PickedLogits
from llm_embedder_data.mining.scoring.prompts import LengthLimits, PromptTokenizer, TokenizedPrompt
from llm_embedder_data.mining.scoring.scored_rows import ScoredRow
from llm_embedder_data.mining.scoring.teacher import RowScore, facts_of_model
from llm_embedder_data.mining.scoring.templates import TaskTemplates

# Limit of a batch in logits, 256 MB in float32. An input with more logits makes a batch by itself.
_MOST_LOGITS = 1 << 26

# Number of positions whose logits are converted to float32 at a time, to save memory.
_IN_FLOAT32 = 512

# Text for PickedLogits.check.
_PROBE = "Is the sky blue? Yes, on a clear day the sky is blue. 1 2 3 4 5 6 7 8"


@dataclass(frozen=True, slots=True)
class PreparedPrompts:
    """The tokenized prompts of some rows.

    Attributes:
        n_keys: number of keys of each row.
        n_each: for each row, the number of prompts per key. For kind=likelihood this is the number
            of the row's answers, which may be 0; for kind=yes-no it is 1.
        prompts: the prompts of all rows, key by key; None for a prompt that is too long.
        counts: how many prompts were cut, by a description for users.
    """

    n_keys: list[int]
    n_each: list[int]
    prompts: list[TokenizedPrompt | None]
    counts: Counter[str]


class _LanguageModelTeacher(ABC):
    """Base class of the two kinds: makes prompts from rows, and batches from prompts.

    The model gives each prompt one or more values, such as the log-likelihoods of the answer's
    tokens. A prompt's score is the mean of its values, and a key's score is the mean over its
    prompts.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        templates: TaskTemplates,
        limits: LengthLimits,
        batch_tokens: int,
    ) -> None:
        self.model = model
        self.counts: Counter[str] = Counter()
        self._tokenizer, self._templates = tokenizer, templates
        self._limits, self._batch_tokens = limits, batch_tokens
        self._logits = PickedLogits(model)
        pad = tokenizer.pad_token_id
        self._pad_id = 0 if pad is None else int(pad)
        self._is_checked = False

    def facts(self) -> dict[str, Any]:
        """Return what scores depend on, except weights and rows, as plain JSON."""
        every = self._templates.every
        by_task = self._templates.by_task
        return {
            "model": facts_of_model(self.model),
            "tokenizer": tokenizer_digest(self._tokenizer),
            "templates": {task: template.text for task, template in by_task.items()},
            "template": None if every is None else every.text,
            "limits": asdict(self._limits),
            "batch_tokens": self._batch_tokens,
        }

    def described(self, tasks: Sequence[str]) -> str:
        """Return the settings in force for some tasks, as a line for a terminal."""
        limits = self._limits
        templates = {task: self._templates.of(task).text for task in tasks}
        shown = ", ".join(f"{task}: {text!r}" for task, text in templates.items())
        if len({*templates.values()}) == 1:
            shown = repr(next(iter(templates.values())))
        return (
            f"max_length={limits.max_length}, key_max_length={limits.key_max_length}, "
            f"query_max_length={limits.query_max_length}, template {shown}"
        )

    def prepare(self, rows: Sequence[ScoredRow]) -> PreparedPrompts:
        """Fill the templates with the texts of rows, and tokenize the prompts."""
        tokenize = PromptTokenizer(self._tokenizer, self._limits)
        filled, n_each = [], []
        for row in rows:
            of_key = self._values(row)
            n_each.append(len(of_key))
            template = self._templates.of(row.task)
            filled += [(template, {"key": key, **values}) for key in row.keys for values in of_key]
        prompts = tokenize(filled)
        return PreparedPrompts([len(row.keys) for row in rows], n_each, prompts, tokenize.counts)

    @torch.inference_mode()
    def scores(self, prepared: PreparedPrompts, progress: Callable[[int], None]) -> list[RowScore]:
        """Return the scores of rows; None for a row without answers or with too long a prompt."""
        self._check_once()
        self.counts += prepared.counts
        found = [prompt for prompt in prepared.prompts if prompt is not None]
        score = np.full(len(prepared.prompts), np.nan)
        fits = np.array([prompt is not None for prompt in prepared.prompts], bool)
        score[fits] = self._score(found, progress)
        rows: list[RowScore] = []
        start = 0
        for n_keys, n_each in zip(prepared.n_keys, prepared.n_each, strict=True):
            stop = start + n_keys * n_each
            if n_each and fits[start:stop].all():
                rows.append(score[start:stop].reshape(n_keys, n_each).mean(1).tolist())
            else:
                self.counts["rows without scores: " + ("too long" if n_each else "no answers")] += 1
                rows.append(None)
            start = stop
        return rows

    def _score(
        self, prompts: Sequence[TokenizedPrompt], progress: Callable[[int], None]
    ) -> NDArray[np.float64]:
        """Return the score of each prompt, ``[N]`` float64: the mean of its values."""
        device = next(self.model.parameters()).device
        n_values = [self._n_values(prompt) for prompt in prompts]
        n_logits = [n * self._logits.n_logits for n in n_values]
        lengths = [len(prompt.ids) for prompt in prompts]
        order, parts = list[int](), list[Tensor]()
        for batch in length_sorted_batches(lengths, self._batch_tokens, n_logits, _MOST_LOGITS):
            of_batch = [prompts[number] for number in batch]
            ids = padded_on_the_right([prompt.ids for prompt in of_batch], self._pad_id)
            parts.append(self._values_of(ids.to(device, non_blocking=True), of_batch))
            order += batch
            progress(len(batch))
        score = np.empty(len(prompts))
        if parts:
            values = torch.cat(parts).double().cpu().numpy()  # waits for a GPU, once
            n_sorted = np.array(n_values)[order]
            starts = np.cumsum(n_sorted) - n_sorted
            score[order] = np.add.reduceat(values, starts) / n_sorted
        return score

    def _check_once(self) -> None:
        if not self._is_checked:
            self._logits.check(self._tokenizer(_PROBE)["input_ids"])
            self._is_checked = True

    @abstractmethod
    def _values(self, row: ScoredRow) -> list[dict[str, str]]:
        """Return the fields of a key's prompts, except the key: a dict for each prompt."""

    @abstractmethod
    def _n_values(self, prompt: TokenizedPrompt) -> int:
        """Return the number of a prompt's values, at least 1."""

    @abstractmethod
    def _values_of(self, ids: Tensor, prompts: Sequence[TokenizedPrompt]) -> Tensor:
        """Return the values of all prompts in a single dimension, float32.

        Args:
            ids: token ids ``[B, L]`` of the prompts, padded on the right.
            prompts: B prompts.
        """


class LikelihoodTeacher(_LanguageModelTeacher):
    """Scores a key by the mean log-likelihood of the answer's tokens, given key and query.

    LLM-Embedder's teacher (arXiv:2310.07554, section 3.1). If a row has several answers, the score
    is the mean over them. The softmax is computed in float32, whatever the type of the weights.

    Args:
        model: from AutoModelForCausalLM.
        tokenizer: the model's tokenizer, a fast tokenizer.
        templates: templates with the fields key, query and answer, and optionally context.
        limits: limits in tokens.
        batch_tokens: limit of a batch in tokens, padding included.
    """

    def facts(self) -> dict[str, Any]:
        """Return what scores depend on, except weights and rows, as plain JSON."""
        return {"kind": "likelihood", **super().facts()}

    def _values(self, row: ScoredRow) -> list[dict[str, str]]:
        return [
            {"query": row.query, "context": row.context, "answer": answer} for answer in row.answers
        ]

    def _n_values(self, prompt: TokenizedPrompt) -> int:
        return prompt.n_answer

    def _values_of(self, ids: Tensor, prompts: Sequence[TokenizedPrompt]) -> Tensor:
        n_tokens = [prompt.n_answer for prompt in prompts]
        rows = np.repeat(np.arange(len(prompts)), n_tokens)
        targets = np.concatenate(
            [np.arange(prompt.answer_start, len(prompt.ids)) for prompt in prompts]
        )
        row, target = (torch.from_numpy(index).to(ids.device) for index in (rows, targets))
        logits = self._logits(ids, row, target - 1)  # [P, V]
        return _log_likelihoods(logits, ids[row, target])


class YesNoTeacher(_LanguageModelTeacher):
    """Scores a key by the logit of "yes" minus that of "no", after a prompt with query and key.

    This is how rerankers such as Qwen3-Reranker score (arXiv:2506.05176). The sigmoid of the score
    is the probability of "yes" against "no".

    Args:
        model: from AutoModelForCausalLM.
        tokenizer: the model's tokenizer, a fast tokenizer.
        templates: templates with the fields key and query, and optionally instruction.
        limits: limits in tokens.
        batch_tokens: limit of a batch in tokens, padding included.
        instruction: the value of the field instruction.
        yes: a text that is a single token.
        no: a text that is another single token.

    Raises:
        ConfigError: ``yes`` or ``no`` is not a single token.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        templates: TaskTemplates,
        limits: LengthLimits,
        batch_tokens: int,
        *,
        instruction: str,
        yes: str = "yes",
        no: str = "no",
    ) -> None:
        super().__init__(model, tokenizer, templates, limits, batch_tokens)
        self._instruction = instruction
        self._words = [_token_of(tokenizer, yes, "yes"), _token_of(tokenizer, no, "no")]

    def facts(self) -> dict[str, Any]:
        """Return what scores depend on, except weights and rows, as plain JSON."""
        words = {"instruction": self._instruction, "words": self._words}
        return {"kind": "yes-no", **super().facts(), **words}

    def _values(self, row: ScoredRow) -> list[dict[str, str]]:
        return [{"query": row.query, "instruction": self._instruction}]

    def _n_values(self, prompt: TokenizedPrompt) -> int:
        return 1

    def _values_of(self, ids: Tensor, prompts: Sequence[TokenizedPrompt]) -> Tensor:
        rows = torch.arange(len(prompts), device=ids.device)
        last = torch.tensor([len(prompt.ids) - 1 for prompt in prompts], device=ids.device)
        logits = self._logits(ids, rows, last)[:, self._words].float()
        return logits[:, 0] - logits[:, 1]


def _log_likelihoods(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the log-likelihood ``[P]`` float32 of each target, from logits ``[P, V]``."""
    return torch.cat(
        [
            torch.gather(block, 1, target[:, None])[:, 0] - torch.logsumexp(block, 1)
            for block, target in zip(
                (part.float() for part in torch.split(logits, _IN_FLOAT32)),
                torch.split(targets, _IN_FLOAT32),
                strict=True,
            )
        ]
    )


def _token_of(tokenizer: PreTrainedTokenizerBase, text: str, setting: str) -> int:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ConfigError(
            f"{setting}_word={text!r}: the teacher's tokenizer makes {len(ids)} tokens of it, and "
            "a logit is that of one token (give another word)"
        )
    return int(ids[0])
