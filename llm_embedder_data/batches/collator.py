"""The collator: turns training groups, eval queries or passages into the tensors of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.encoded_texts import EncodedTexts
from llm_embedder_data.batches.tokens.model_inputs import Layout, ModelInputs
from llm_embedder_data.batches.tokens.prompt_lengths import prompt_length
from llm_embedder_data.batches.tokens.row_instructions import (
    Instructions,
    RowInstructions,
    joined,
)
from llm_embedder_data.batches.tokens.side_tokenizer import SideTokenizer
from llm_embedder_data.batches.tokens.tensor_layout import TensorLayout
from llm_embedder_data.batches.tokens.token_slices import Tokens
from llm_embedder_data.config.recipe_rules import COUNT, LARGEST_BATCH, check_value
from llm_embedder_data.core.errors import ConfigError, DataError

Batch = dict[str, Any]
Texts = Sequence[str] | EncodedTexts

# The most encoded tokens of one side (query or key) to look up at once: enough for a few steps with
# a small batch. More would cost memory, because each dataset of a run may hold this many.
_TOKENS_AT_ONCE = 1 << 19


@dataclass
class RetrievalDataCollator:
    """Makes the tensors of a batch of training groups, eval queries or corpus passages.

    The input is a mapping that holds a whole batch, as this package's datasets return it, or a list
    of elements, as a DataLoader passes it. An element is one row, such as ``{"query": str, "key":
    [str, ...], ...}``, or a whole batch, such as ``{"query": [str, ...], "key": [[str, ...], ...],
    ...}``.

    ``query_instruction`` and ``key_instruction`` are put before the texts. Each is one text for the
    whole batch, or :class:`RowInstructions` with one instruction per query; a row's key instruction
    then applies to all keys of the row.

    The keys of query i are the rows ``i*G`` to ``i*G + G - 1`` of ``key``, the positive first. If
    queries have different numbers of keys, as in reranking, shorter groups are filled with empty
    texts, and ``key_mask`` [B, G] int64 is 0 there.

    Args:
        tokenizer: a transformers tokenizer; its padding and truncation sides are used.
        query_max_length: maximum number of tokens in a query, special tokens included.
        key_max_length: maximum number of tokens in a key, special tokens included.
        inbatch_same_dataset: ignored; kept for users of LLM-Embedder. Each element shows whether
            it is a row or a whole batch.
        cross: make (query, key) pairs for a cross-encoder: ``cross`` [B*G, L] and ``batch_size`` =
            B, in place of ``query`` and ``key``.
        pad_to_multiple_of: pad to a multiple of this many tokens.
        layout: ``padded``, ``chunked`` or ``packed``: see :class:`TensorLayout`.
        chunk_size: maximum number of texts in a chunk.
        unique_keys: tokenize equal keys of a batch once; ``key`` then has one row per distinct
            text.
        prompt_lengths: add the number of instruction tokens, as ``query_prompt_length`` (int, or
            int64 [B] where rows have instructions of their own) and so on, for encoders that leave
            the instruction out of their pooling.

    If chunks or unique keys reorder texts, ``query_inverse`` [B], ``key_inverse`` [B*G],
    ``content_inverse`` or ``cross_inverse``, int64, holds the row of each text, so that
    ``torch.cat(embeddings_of_chunks)[key_inverse]`` restores the order of the keys.

    Raises:
        DataError: a batch holds rows of different tasks.
        ConfigError: there is no tokenizer; the tokenizer has no padding token and the layout needs
            one; special tokens fill a maximum length, so that no text fits; the layout is unknown;
            or ``unique_keys`` is combined with ``cross``.
    """

    tokenizer: PreTrainedTokenizerBase | None = None
    query_max_length: int = 256
    key_max_length: int = 256
    inbatch_same_dataset: bool | str | None = False
    cross: bool = False
    pad_to_multiple_of: int | None = None
    layout: Layout = "padded"
    chunk_size: int = 32
    unique_keys: bool = False
    prompt_lengths: bool = False

    def __post_init__(self) -> None:
        if self.tokenizer is None:
            raise ConfigError("RetrievalDataCollator needs a tokenizer")
        if isinstance(self.tokenizer, str):
            raise ConfigError(
                f"tokenizer={self.tokenizer!r}: expected a tokenizer (give "
                f"AutoTokenizer.from_pretrained({self.tokenizer!r}))"
            )
        if self.unique_keys and self.cross:
            raise ConfigError(
                "data.unique_keys=True with data.cross=True: a pair holds one query's key (set one "
                "of them to false)"
            )
        check_value(self.chunk_size, COUNT, "data.chunk_size")
        if self.pad_to_multiple_of is not None:
            check_value(self.pad_to_multiple_of, COUNT, "data.pad_to_multiple_of", "or None")
        self._take_layout(self.layout)
        for name in ("query_max_length", "key_max_length"):
            value = getattr(self, name)
            if type(value) is not int or value > LARGEST_BATCH:
                raise ConfigError(
                    f"data.{name}={value!r}: expected a whole number of at most {LARGEST_BATCH:,}"
                )
        plain = BareTokenizer(self.tokenizer)
        self.query_tokenizer = SideTokenizer(self.tokenizer, self.query_max_length, plain)
        self.key_tokenizer = SideTokenizer(self.tokenizer, self.key_max_length, plain)
        self.pair_tokenizer = SideTokenizer(
            self.tokenizer, self.query_max_length + self.key_max_length, plain
        )
        self.check_room()

    def _take_layout(self, layout: Layout) -> None:
        self.layout = layout
        # Several batches can be laid out together and split afterwards only if row i of a tensor is
        # always text i.
        self._can_split = layout == "padded" and not self.cross and not self.unique_keys
        assert self.tokenizer is not None
        self._layout = TensorLayout(
            self.tokenizer, layout, self.pad_to_multiple_of, self.chunk_size
        )

    def with_layout(self, layout: Layout) -> RetrievalDataCollator:
        """Return a collator that produces the same tokens in another layout.

        The two collators share their tokenizers, which are slow to build.

        Raises:
            ConfigError: as for a new collator.
        """
        other = copy(self)
        other._take_layout(layout)
        return other

    def check_room(self, query_instruction: str = "", key_instruction: str = "") -> None:
        """Check that special tokens and instructions leave room for a text.

        Raises:
            ConfigError: no room is left; the message names the setting, its value and the smallest
                value that would do.
        """
        self.query_tokenizer.check_room(query_instruction, "data.query_max_length")
        self.key_tokenizer.check_room(key_instruction, "data.key_max_length")
        if self.cross:
            self.pair_tokenizer.check_room_of_pairs(
                query_instruction, key_instruction, "data.query_max_length + data.key_max_length"
            )

    def __call__(self, batch_elem: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Batch:
        if isinstance(batch_elem, Mapping):
            return self._collate(dict(batch_elem))
        columns = _columns(batch_elem)
        batch = self._collate(columns)
        ids = batch.get("query_id")
        if ids and all(type(query_id) is int for query_id in ids):
            batch["query_id"] = torch.tensor(ids)  # as LLM-Embedder's collator does
        return batch

    def several(
        self,
        groups: Iterable[Mapping[str, Any]],
        after_reading: Callable[[], None] = lambda: None,
    ) -> Iterator[Batch]:
        """Yield a batch for each element of ``groups``, all of one dataset.

        Each batch equals what calling the collator on the element returns. This method is faster,
        because it looks up encoded texts for several batches at once.

        Args:
            groups: one mapping per batch; read lazily, as batches are requested.
            after_reading: called just before a batch is yielded, provided that elements of
                ``groups`` or token ids of encoded texts were read since the previous call.
        """
        groups = iter(groups)
        for group in groups:
            if self._can_split and isinstance(group["key"], EncodedTexts):
                n_tokens = max(
                    len(group["query"]) * self.query_max_length,
                    len(group["key"]) * self.key_max_length,
                )
                n_more = max(_TOKENS_AT_ONCE // n_tokens - 1, 0)
                yield from self._together([group, *islice(groups, n_more)], after_reading)
            else:
                batch = [self._collate(dict(group))]
                after_reading()
                yield batch.pop()  # a variable would keep its memory until the next batch

    def _together(
        self, groups: Sequence[Mapping[str, Any]], after_reading: Callable[[], None]
    ) -> Iterator[Batch]:
        """Yield one batch per element of ``groups``; their encoded texts are looked up together."""
        laid_out = {}
        for side, tokenizer in ("query", self.query_tokenizer), ("key", self.key_tokenizer):
            texts = [group[side] for group in groups]
            given = [group[f"{side}_instruction"] for group in groups]
            instruction: Instructions = given[0]
            if not isinstance(instruction, str) or given.count(instruction) < len(given):
                instruction = joined(
                    (_instruction_of(group, side), len(group[side])) for group in groups
                )
            tokens = tokenizer(texts[0].joined(texts[1:]), instruction)
            laid_out[side] = self._layout.padded(tokens, list(map(len, texts)))
        for position, group in enumerate(groups):
            inputs_of_group = {side: next(inputs) for side, inputs in laid_out.items()}
            if position == 0:  # the first batch reads the token ids of all the others as well
                after_reading()
            yield self._collate(dict(group), inputs_of_group)

    def _collate(
        self, columns: dict[str, Any], laid_out: Mapping[str, ModelInputs] | None = None
    ) -> Batch:
        """Return the batch made of some columns.

        Args:
            columns: the values of a batch, by name; the dict is emptied of its texts.
            laid_out: finished tensors, by side ("query" or "key"); other sides are tokenized here.
        """
        query, key = columns.pop("query", None), columns.pop("key", None)
        query_instruction = columns.pop("query_instruction", "")
        key_instruction = columns.pop("key_instruction", "")
        mask, content = columns.pop("key_mask", None), columns.pop("content", None)
        others: Batch = {name: _value(name, values) for name, values in columns.items()}
        batch: Batch = {}
        laid_out = laid_out or {}
        if "query" in laid_out:
            batch["query"] = laid_out["query"]
        elif query is not None and not self.cross:
            self._lay_out(batch, "query", self.query_tokenizer(query, query_instruction))
        if key is not None:
            if mask is None:
                key, mask = _filled_up(key)
            batch["key_mask"] = torch.from_numpy(mask)
            flat: Texts = key if isinstance(key, EncodedTexts) else list(chain.from_iterable(key))
            if isinstance(key_instruction, RowInstructions):
                key_instruction = key_instruction.of_keys(mask == 1)
            if "key" in laid_out:
                batch["key"] = laid_out["key"]
            elif self.cross:
                queries = _repeated(query, mask.shape[1])
                if isinstance(query_instruction, RowInstructions):
                    repeats = np.repeat(np.arange(len(query)), mask.shape[1])
                    query_instruction = query_instruction.take(repeats)
                tokens = self.pair_tokenizer.pairs(
                    queries, flat, query_instruction, key_instruction
                )
                self._lay_out(batch, "cross", tokens)
                batch["batch_size"] = len(query)
            else:
                inverse, instruction = None, key_instruction
                if self.unique_keys:
                    flat, instruction, inverse = _unique(flat, key_instruction)
                self._lay_out(batch, "key", self.key_tokenizer(flat, instruction), inverse)
        if content is not None:
            self._lay_out(batch, "content", self.key_tokenizer(content, key_instruction))
        if self.prompt_lengths:
            others |= self._prompt_lengths(batch, query_instruction, key_instruction)
        # Lightning infers the batch size from the first tensor of a batch. The first dimension of a
        # chunked or packed text is not the batch size, so the other tensors come first there.
        return batch | others if self.layout == "padded" else others | batch

    def _prompt_lengths(
        self, batch: Batch, query_instruction: Instructions, key_instruction: Instructions
    ) -> dict[str, int | Tensor]:
        """Return the ``..._prompt_length`` entries of a batch, one for each kind of text in it."""
        assert self.tokenizer is not None
        instructions = {
            "query": query_instruction,
            "key": key_instruction,
            "content": key_instruction,
        }
        return {
            f"{name}_prompt_length": prompt_length(self.tokenizer, instruction)
            for name, instruction in instructions.items()
            if name in batch
        }

    def _lay_out(
        self, batch: Batch, name: str, tokens: Tokens, inverse: NDArray[np.int64] | None = None
    ) -> None:
        batch[name], inverse = self._layout(tokens, inverse)
        if inverse is not None:
            batch[f"{name}_inverse"] = torch.from_numpy(inverse)


def _columns(elements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge a list of rows, or of whole batches, into one mapping of column names to values."""
    element = elements[0]
    whole = isinstance(element.get("query", element.get("content")), list)
    if whole and len(elements) == 1:
        columns = dict(element)
    elif whole:
        columns = {
            name: [value for batch in elements for value in _each(batch, name)] for name in element
        }
    else:
        columns = {name: [row[name] for row in elements] for name in element}
    if isinstance(columns.get("task"), list):
        tasks = sorted(set(columns["task"]))
        if len(tasks) > 1:
            raise DataError(
                f"a batch holds rows of the tasks {', '.join(tasks)}: all rows of a batch need "
                "one task (use RetrievalDataModule or SameDatasetTrainDataset, which ensure that)"
            )
        columns["task"] = tasks[0]
    return columns


def _each(batch: Mapping[str, Any], name: str) -> list[Any]:
    """Return a column as one value per row; a value that all rows share is repeated."""
    values = batch[name]
    n_rows = len(batch.get("query", batch.get("content", [])))
    return values if isinstance(values, list) else [values] * n_rows


def _filled_up(lists: Sequence[Sequence[str]]) -> tuple[list[list[str]], NDArray[np.int64]]:
    """Pad all lists with empty texts to one length G.

    Returns:
        The padded lists, and a mask ``[B, G]`` int64 that is 1 where a text is real.
    """
    width = max(map(len, lists), default=1)
    sizes = np.fromiter(map(len, lists), np.int64, len(lists))
    filled = [[*texts, *[""] * (width - len(texts))] for texts in lists]
    return filled, (np.arange(width) < sizes[:, None]).astype(np.int64)


def _repeated(texts: Texts, times: int) -> Texts:
    """Return each text ``times`` times in a row."""
    if isinstance(texts, EncodedTexts):
        return texts.repeated(times)
    return [text for text in texts for _ in range(times)]


def _instruction_of(group: Mapping[str, Any], side: str) -> Instructions:
    """Return the instruction for the texts of one side: one for all, or one for each text."""
    instruction: Instructions = group[f"{side}_instruction"]
    if side == "key" and isinstance(instruction, RowInstructions):
        return instruction.of_keys(group["key_mask"] == 1)
    return instruction


def _unique(
    texts: Texts, instruction: Instructions
) -> tuple[Texts, Instructions, NDArray[np.int64]]:
    """Remove repeated texts. Equal texts with different instructions count as different.

    Returns:
        The distinct texts in order of appearance; their instructions; and, for each of the n input
        texts, its index among the distinct ones, ``[n]`` int64.
    """
    names: Sequence[Any] = texts.numbers.tolist() if isinstance(texts, EncodedTexts) else texts
    if isinstance(instruction, RowInstructions):
        names = list(zip(names, instruction.own, strict=True))
    number: dict[Any, int] = {}
    inverse = np.array([number.setdefault(name, len(number)) for name in names], np.int64)
    if isinstance(instruction, RowInstructions):
        _, first = np.unique(inverse, return_index=True)
        distinct = (
            texts[first]
            if isinstance(texts, EncodedTexts)
            else [texts[index] for index in first.tolist()]
        )
        return distinct, instruction.take(first), inverse
    if isinstance(texts, EncodedTexts):
        return texts.with_numbers(np.array(list(number), np.int64)), instruction, inverse
    return list(number), instruction, inverse


def _value(name: str, values: Any) -> Any:
    """Convert a column other than the texts: numbers become a tensor, other values stay as is.

    Lists of different lengths are padded with -1.
    """
    if isinstance(values, np.ndarray):
        return torch.from_numpy(values)
    if not isinstance(values, list) or name == "query_id":
        return values
    if all(value is None for value in values):
        return None
    if name == "teacher_scores":
        return _scores(values)
    if isinstance(values[0], list):
        width = max(map(len, values))
        return torch.tensor([[*row, *[-1] * (width - len(row))] for row in values])
    if isinstance(values[0], str):
        return values
    return torch.tensor(values)


def _scores(values: Sequence[Sequence[float] | None]) -> Tensor:
    """Return teacher scores as ``[B, G]`` float32; a row without scores is all NaN."""
    width = max(len(scores) for scores in values if scores is not None)
    return torch.tensor(
        [[float("nan")] * width if scores is None else list(scores) for scores in values],
        dtype=torch.float32,
    )
