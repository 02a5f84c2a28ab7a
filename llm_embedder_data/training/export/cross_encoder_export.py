"""Exports a cross-encoder for sentence-transformers' CrossEncoder, and checks the folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.training.data_module_protocols import GivesLongestInputs
from llm_embedder_data.training.encoder.position_limits import check_positions
from llm_embedder_data.training.export.encoder_export import (
    longest_of_model,
    new_folder,
    prompts_to_export,
    save_weights,
)
from llm_embedder_data.training.export.export_check import probe_texts, tolerance, without_padding
from llm_embedder_data.training.export.exported_files import (
    IDENTITY,
    save_tokenizer,
    write_cross_encoder_files,
)
from llm_embedder_data.training.export.model_card import ModelCard
from llm_embedder_data.training.export.run_record import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEncoderExport:
    """A classifier with a single label, and everything that its exported folder says about it.

    Attributes:
        encoder: the classifier. If it is a PeftModel, a merged copy is saved.
        tokenizer: the tokenizer to save beside the classifier.
        model_name: folder or hub name of the model that was trained; None if unknown.
        score: scores a padded batch of N pairs; returns logits ``[N]``.
        datamodule: the run's data module, the source of prompts and maximum lengths. None: there
            are no prompts, and the maximum length comes from the model's files.
        max_length: maximum number of tokens of a pair; None takes the data module's, or the model's
            if there is no data module.
        run: facts about the training for the model card.
    """

    encoder: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    model_name: str | None
    score: Callable[[Mapping[str, Any]], Tensor]
    datamodule: Any
    max_length: int | None
    run: RunRecord

    def write(self, path: str | os.PathLike[str], *, overwrite: bool, check: bool) -> None:
        """Write the folder; see :meth:`CrossEncoder.export`."""
        # Without a data module there are no prompts. The files of a classifier that was made from a
        # bi-encoder may name prompts, but those belong to the bi-encoder.
        has_data = self.datamodule is not None
        prompts = prompts_to_export(self.datamodule, self.model_name) if has_data else {}
        query_prompt, key_prompt = prompts.get("query", ""), prompts.get("document", "")
        length, origin = self._max_length()
        check_positions(self.encoder, {origin: (length, length)})
        notes = _notes(prompts)
        with new_folder(path, overwrite=overwrite) as folder:
            # Versions of sentence-transformers before 6 read this entry.
            self.encoder.config.sentence_transformers = {
                "activation_fn": IDENTITY,
                "version": _version_of_sentence_transformers(),
            }
            save_weights(self.encoder, folder)
            save_tokenizer(self.tokenizer, folder, length)
            write_cross_encoder_files(folder, query_prompt=query_prompt)
            checked = "Not compared with the trained model."
            if check:
                checked = self._check(folder, length, query_prompt, key_prompt)
            card = ModelCard(
                kind="cross-encoder",
                base_model=self.model_name,
                facts=[
                    ("scores", "logits: higher is better, any real number"),
                    ("longest pair, in tokens", f"{length} ({origin})"),
                ],
                prompts=prompts,
                run=self.run,
                checked=checked,
                notes=notes,
            )
            card.write(folder)
        card.log_notes(path)

    def _max_length(self) -> tuple[int, str]:
        """Return the maximum number of tokens of a pair, and the source of this limit."""
        if self.max_length is not None:
            return self.max_length, "max_length"
        if isinstance(self.datamodule, GivesLongestInputs):
            longest = self.datamodule.longest_inputs()
            if len(longest) == 1:  # with cross=True there is one limit, that of pairs
                ((origin, (length, _)),) = longest.items()
                return length, origin
        return longest_of_model(self.model_name, self.encoder, self.tokenizer)

    def _check(self, folder: Path, length: int, query_prompt: str, key_prompt: str) -> str:
        """Compare the folder with the model; return a sentence that says what was compared.

        Raises:
            ConfigError: token ids or scores differ, or the folder cannot be loaded.
        """
        texts = probe_texts(length)
        if (query_prompt or key_prompt) and self.tokenizer.truncation_side == "left":
            texts = texts[:-1]  # sentence-transformers would cut the prompt off the longest text
        queries, keys = texts, [*texts[3:], *texts[:3]]
        batch = RetrievalDataCollator(
            self.tokenizer,
            query_max_length=length // 2,
            key_max_length=length - length // 2,
            cross=True,
        )(
            {
                "query": queries,
                "key": [[key] for key in keys],
                "query_instruction": query_prompt,
                "key_instruction": key_prompt,
            }
        )["cross"]
        pairs = [(query, key_prompt + key) for query, key in zip(queries, keys, strict=True)]
        reader = _reader(folder, query_prompt)
        expected_ids, found_ids = without_padding(batch), reader.ids(pairs)
        for pair, expected, found in zip(pairs, expected_ids, found_ids, strict=True):
            if expected != found:
                raise ConfigError(
                    f"{reader.name} reads the exported folder in another way: for the pair "
                    f"{tuple(text[:30] for text in pair)!r} it makes {len(found)} token ids "
                    f"{found[:12]}, but training batches have {len(expected)}, {expected[:12]} "
                    "(nothing was written; check=false writes the folder anyway)"
                )
        expected_scores = self.score(batch)
        found_scores = reader.scores(pairs)
        difference = float((expected_scores.cpu() - found_scores).abs().max())
        allowed = tolerance(expected_scores, folder) * max(1.0, float(expected_scores.abs().max()))
        if not difference <= allowed:
            raise ConfigError(
                f"{reader.name} computes other scores from the exported folder: they differ by up "
                f"to {difference:.1e}, but only {allowed:.0e} is allowed "
                "(nothing was written; check=false writes the folder anyway)"
            )
        return (
            f"Compared with {reader.name} on {len(pairs)} pairs: the token ids are equal, and the "
            f"scores differ by at most {difference:.0e}."
        )


class _SentenceTransformersReader:
    """The folder as sentence-transformers loads it."""

    def __init__(self, folder: Path, query_prompt: str) -> None:
        from sentence_transformers import CrossEncoder, __version__

        self.name = f"sentence-transformers {__version__}"
        self._model: Any = CrossEncoder(str(folder), device="cpu")
        self._prompt = query_prompt

    def ids(self, pairs: list[tuple[str, str]]) -> list[list[int]]:
        """Return the token ids of each pair."""
        given = [(self._prompt + query, key) for query, key in pairs]
        if hasattr(self._model, "preprocess"):
            return without_padding(self._model.preprocess(given))
        return without_padding(_tokenized(self._model.tokenizer, given, None))

    def scores(self, pairs: list[tuple[str, str]]) -> Tensor:
        """Return the score of each pair, with the folder's prompt put before the query."""
        if not hasattr(self._model, "preprocess"):  # versions before 6 have no prompts
            pairs = [(self._prompt + query, key) for query, key in pairs]
        found = self._model.predict(pairs, convert_to_tensor=True, show_progress_bar=False)
        return found.float().cpu()  # type: ignore[no-any-return]


class _TransformersReader:
    """The folder as transformers loads it."""

    name = "transformers (sentence-transformers is not installed)"

    def __init__(self, folder: Path, query_prompt: str) -> None:
        self._model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._prompt = query_prompt

    def _inputs(self, pairs: list[tuple[str, str]]) -> Any:
        given = [(self._prompt + query, key) for query, key in pairs]
        return _tokenized(self._tokenizer, given, self._tokenizer.model_max_length)

    def ids(self, pairs: list[tuple[str, str]]) -> list[list[int]]:
        """Return the token ids of each pair."""
        return without_padding(self._inputs(pairs))

    @torch.no_grad()
    def scores(self, pairs: list[tuple[str, str]]) -> Tensor:
        """Return the logit of each pair."""
        return self._model(**self._inputs(pairs)).logits[:, 0].float()  # type: ignore[no-any-return]


def _reader(folder: Path, query_prompt: str) -> _SentenceTransformersReader | _TransformersReader:
    try:
        return _SentenceTransformersReader(folder, query_prompt)
    except ImportError:
        return _TransformersReader(folder, query_prompt)


def _tokenized(tokenizer: Any, pairs: list[tuple[str, str]], max_length: int | None) -> Any:
    queries, keys = map(list, zip(*pairs, strict=True))
    return tokenizer(
        queries, keys, truncation=True, max_length=max_length, padding=True, return_tensors="pt"
    )


def _version_of_sentence_transformers() -> str:
    try:
        return version("sentence-transformers")
    except ModuleNotFoundError:
        return "4.0.0"  # the oldest version that reads the entry


def _notes(prompts: Mapping[str, str]) -> list[str]:
    notes = []
    if prompts.get("document"):
        notes.append(
            f"Put {prompts['document']!r} before each key yourself: sentence-transformers puts "
            "prompts only before queries."
        )
    of_tasks = [name for name in prompts if name not in ("query", "document")]
    if of_tasks:
        notes.append(
            f"Some tasks have prompts of their own ({', '.join(map(one_line, of_tasks))}): pass "
            "that of the query's task to predict(prompt=...)."
        )
    return notes
