"""Bi-encoder teachers: the score is the similarity of the query's and the key's embeddings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.tokenizer_digest import tokenizer_digest
from llm_embedder_data.config.recipes import Recipe
from llm_embedder_data.mining.embeddable_texts import ListedTexts
from llm_embedder_data.mining.scoring.scored_rows import ScoredRow
from llm_embedder_data.mining.scoring.teacher import RowScore
from llm_embedder_data.mining.store_filling import Share, fill_store
from llm_embedder_data.mining.store_fingerprint import StoreFingerprint
from llm_embedder_data.mining.text_embedder import Precision, TextEmbedder
from llm_embedder_data.mining.text_inventory import take_inventory
from llm_embedder_data.mining.vectors_of_texts import FoundVectors, find_vectors

# Texts are padded to a multiple of this many tokens.
_MULTIPLE = 8


@dataclass(frozen=True, slots=True)
class PreparedEmbeddings:
    """The embeddings of some rows.

    Attributes:
        pairs: for each row, the embedding of its query, ``[1, D]``, and of its n keys, ``[n, D]``.
        counts: how many texts were cut to their limit, by a description for users.
    """

    pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
    counts: Counter[str]


class BiEncoderTeacher:
    """Scores a key by its similarity to the query: the cosine, or the inner product.

    Call :meth:`embed` before any row is scored. It embeds each distinct text with its prompt once,
    into embedding stores.

    Args:
        encoder: a BiEncoder or another :class:`~llm_embedder_data.mining.text_embedder.Encoder`.
        tokenizer: the encoder's tokenizer.
        recipe: gives the prompts of queries and keys by task.
        query_max_length: limit of a query in tokens, prompt and special tokens included.
        key_max_length: limit of a key in tokens, prompt and special tokens included.
        length_origin: where the limits come from, for users; empty if a user gave them.
        batch_tokens: limit of a batch in tokens, padding included.
        precision: precision that the encoder computes in.

    Attributes:
        model: the encoder.
        counts: how many texts were cut, by a description for users.
    """

    def __init__(
        self,
        encoder: Any,
        tokenizer: PreTrainedTokenizerBase,
        recipe: Recipe,
        *,
        query_max_length: int,
        key_max_length: int,
        length_origin: str = "",
        batch_tokens: int,
        precision: Precision = "32-true",
    ) -> None:
        self.model: nn.Module = encoder
        self.counts: Counter[str] = Counter()
        self._tokenizer, self._recipe = tokenizer, recipe
        self._max_length = {"query": query_max_length, "key": key_max_length}
        self._length_origin = length_origin
        self._batch_tokens, self._precision = batch_tokens, precision
        self._sides: dict[str, _EmbeddedSide] = {}

    def facts(self) -> dict[str, Any]:
        """Return what scores depend on, except weights and rows, as plain JSON."""
        prompts = {task: [both.query, both.key] for task, both in self._recipe.instructions.items()}
        encoder: Any = self.model
        return {
            "kind": "bi-encoder",
            "encoder": json.loads(json.dumps(encoder.embedding_facts(), default=str)),
            "tokenizer": tokenizer_digest(self._tokenizer),
            "prompts": prompts,
            "task_descriptions": dict(self._recipe.task_descriptions),
            "max_length": self._max_length,
            "precision": self._precision,
        }

    def embed(
        self,
        rows: Iterable[ScoredRow],
        folder: Path,
        share: Share,
        *,
        say: Callable[[str], None] | None = None,
        show_progress: bool = False,
    ) -> None:
        """Embed all distinct texts of rows that no store in the folder has yet.

        If several jobs share the work, a job embeds its share first, and then the texts that are
        still missing. All ranks of a torch.distributed group must call this; they divide the work.

        Args:
            rows: all rows of the source.
            folder: the folder that holds the embedding stores. Stores of other sets of texts, such
                as a corpus that contains the keys, are read too.
            share: the share of this job.
            say: called twice, for queries and for keys, with a sentence on what was read and what
                was embedded; None to say nothing.
            show_progress: whether to show a progress bar on a terminal.
        """
        numbers: dict[str, dict[tuple[str, str], int]] = {"query": {}, "key": {}}
        for row in rows:
            for side, texts in (("query", [row.query]), ("key", row.keys)):
                prompt = self._prompt(row, side)
                for text in texts:
                    numbers[side].setdefault((prompt, text), len(numbers[side]))
        for side, number in numbers.items():
            max_length = self._max_length[side]
            embedder = TextEmbedder(
                self.model,  # type: ignore[arg-type]
                self._tokenizer,
                max_length=max_length,
                # Padding beyond the limit could need more positions than the encoder has.
                pad_to_multiple_of=None if max_length % _MULTIPLE else _MULTIPLE,
                batch_tokens=self._batch_tokens,
                precision=self._precision,
            )
            name = "queries" if side == "query" else "keys"
            found = _filled(folder, list(number), name, embedder, share, say, show_progress)
            is_cut = _are_cut(list(number), self._tokenizer, max_length)
            self._sides[side] = _EmbeddedSide(number, found, is_cut)

    def described(self, tasks: Sequence[str]) -> str:
        """Return the settings in force for some tasks, as a line for a terminal."""
        prompts = {task: self._recipe.instruction(task) for task in tasks}
        shown = ", ".join(
            f"{task}: {both.query!r} / {both.key!r}" for task, both in prompts.items()
        )
        origin = f" ({self._length_origin})" if self._length_origin else ""
        return (
            f"query_max_length={self._max_length['query']}, key_max_length="
            f"{self._max_length['key']}{origin}, prompts of query / key {shown} "
            f"({self._recipe.origin})"
        )

    def prepare(self, rows: Sequence[ScoredRow]) -> PreparedEmbeddings:
        """Return the embeddings of rows."""
        query, key = self._sides["query"], self._sides["key"]
        counts: Counter[str] = Counter()
        pairs = []
        for row in rows:
            of_query = query.numbers_of(self._prompt(row, "query"), [row.query])
            of_keys = key.numbers_of(self._prompt(row, "key"), row.keys)
            counts["queries cut"] += len(row.keys) * int(query.is_cut[of_query].sum())
            counts["keys cut"] += int(key.is_cut[of_keys].sum())
            pairs.append((query.vectors.at(of_query), key.vectors.at(of_keys)))
        return PreparedEmbeddings(pairs, counts)

    def scores(
        self, prepared: PreparedEmbeddings, progress: Callable[[int], None]
    ) -> list[RowScore]:
        """Return the scores of rows."""
        self.counts += prepared.counts
        scores: list[RowScore] = []
        for query, keys in prepared.pairs:
            scores.append((keys * query).sum(axis=1, dtype=np.float64).tolist())
            progress(len(keys))
        return scores

    def _prompt(self, row: ScoredRow, side: str) -> str:
        """Return the row's instruction, else the recipe's for the row's task."""
        of_row = (row.instruction or {}).get(side)
        if of_row is not None:
            return of_row
        instruction = self._recipe.instruction(row.task)
        return instruction.query if side == "query" else instruction.key


@dataclass(frozen=True, slots=True)
class _EmbeddedSide:
    """The embeddings of all queries, or of all keys.

    Attributes:
        numbers: the number of each (prompt, text), in ``[0, N)``.
        vectors: the embeddings, by number.
        is_cut: ``[N]`` bool, by number, whether the text is longer than its limit.
    """

    numbers: dict[tuple[str, str], int]
    vectors: FoundVectors
    is_cut: NDArray[np.bool_]

    def numbers_of(self, prompt: str, texts: Sequence[str]) -> list[int]:
        """Return the numbers of texts that have the same prompt."""
        return [self.numbers[prompt, text] for text in texts]


def _filled(
    folder: Path,
    texts: Sequence[tuple[str, str]],
    name: str,
    embedder: TextEmbedder,
    share: Share,
    say: Callable[[str], None] | None,
    show_progress: bool,
) -> FoundVectors:
    """Return the embeddings of all (prompt, text). Embed the texts that no store has."""

    def listed(numbers: Iterable[int]) -> ListedTexts:
        chosen = [texts[number] for number in numbers]
        prompts = [prompt for prompt, _ in chosen]
        return ListedTexts([text for _, text in chosen], own_instructions=prompts, name=name)

    everything = listed(range(len(texts)))
    fingerprint = StoreFingerprint.of(embedder, take_inventory(everything))
    found = find_vectors(folder, fingerprint, texts)
    left = np.flatnonzero(found.store < 0)
    n_read = f"{name}: {len(texts) - len(left):,} of {len(texts):,} texts read from stores"
    if len(left):
        missing = listed(left.tolist())
        filled = fill_store(folder, missing, embedder, share=share, show_progress=show_progress)
        if filled.n_missing:
            filled = fill_store(folder, missing, embedder, show_progress=show_progress)
        # If a killed run began this store, a note says that it is incomplete. Now it is complete.
        found.notes.pop(filled.layout.folder.name, None)
        found.add(filled.open(), left)
        n_read += f"; the others: {filled.described()}"
    if say is not None:
        say("\n".join([n_read, *found.notes.values()]))
    return found


def _are_cut(
    texts: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> NDArray[np.bool_]:
    """Return which (prompt, text) have more than ``max_length`` tokens, ``[N]`` bool.

    A text has at most as many tokens as bytes, plus special tokens. So only texts with more bytes
    than the limit allows are tokenized.
    """
    found = np.zeros(len(texts), bool)
    n_special = tokenizer.num_special_tokens_to_add()
    joined = [prompt + text for prompt, text in texts]
    long = [i for i, text in enumerate(joined) if len(text.encode()) + n_special > max_length]
    for start in range(0, len(long), 1024):
        block = long[start : start + 1024]
        ids = tokenizer([joined[i] for i in block], verbose=False)["input_ids"]
        found[block] = [len(of_text) > max_length for of_text in ids]
    return found
