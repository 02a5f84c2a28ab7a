"""Token ids from a table: instruction, special tokens and truncation are put in at collate time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.token_cache.table import TokenTable
from llm_embedder_data.batches.tokens.instruction_boundary import begins_at_last_space
from llm_embedder_data.batches.tokens.layouts import Part, Tokens
from llm_embedder_data.batches.tokens.own_call import (
    has_code_of_its_own,
    probe_texts,
    settings_kept,
)
from llm_embedder_data.batches.tokens.plain_tokens import PlainTokens
from llm_embedder_data.batches.tokens.text_tokenizer import TextTokenizer
from llm_embedder_data.batches.tokens.tokenizer_digest import is_random
from llm_embedder_data.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CachedTexts:
    """Texts of a table's column by number; what a collator takes in place of strings.

    Attributes:
        table: that has their tokens.
        column: of the table.
        numbers: ``[n]`` int64.
    """

    table: TokenTable
    column: str
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, places: slice | NDArray[np.int64]) -> CachedTexts:
        """Some of the texts, in any order."""
        return CachedTexts(self.table, self.column, self.numbers[places])

    @classmethod
    def joined(cls, several: Sequence[CachedTexts]) -> CachedTexts:
        """Texts of one column, one after the other."""
        first = several[0]
        return cls(first.table, first.column, np.concatenate([one.numbers for one in several]))


class Splicing:
    """How a tokenizer's tokens of an instruction and a text are put together from those of each.

    A text is tokenized alone, or behind the space that ends its instruction, where it is proved
    that the tokens of the whole string are those of the two parts; else behind the whole
    instruction.

    Args:
        tokenizer: from transformers, fast or slow.
        plain: of the same tokenizer.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, plain: PlainTokens | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self.ids = plain or PlainTokens(tokenizer)

    def prefix(self, instruction: str) -> str:
        """What is to stand before a text when it is tokenized: nothing, a space, or all of it."""
        if not instruction:
            return ""
        prefix = instruction
        if self.ids.words is not None and re.search(r"\S +$", instruction):
            prefix = ""
        elif self.ids.backend is not None and begins_at_last_space(self.ids.backend, instruction):
            prefix = " "
        # Proved, and tried out all the same: a proof rests on what tokenizers are known to do.
        return prefix if self._is_exact(instruction, prefix) else instruction

    def head(self, instruction: str, prefix: str) -> list[int]:
        """The tokens that go before those of a text that was tokenized behind ``prefix``."""
        if prefix == instruction:
            return []
        return list(self.ids([instruction.removesuffix(prefix)])[0])

    def _is_exact(self, instruction: str, prefix: str) -> bool:
        if prefix == instruction:
            return True
        head, texts = self.head(instruction, prefix), probe_texts(self._tokenizer)
        parts = self.ids([prefix + text for text in texts])
        whole = self.ids([instruction + text for text in texts])
        return list(map(list, whole)) == [head + list(ids) for ids in parts]


class CachedTokenizer(TextTokenizer):
    """A TextTokenizer that takes texts of a table too; the ids are the same.

    Args:
        tokenizer: from transformers, fast or slow.
        max_length: tokens, special tokens included.
        plain: of the same tokenizer; several sides may share one.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        plain: PlainTokens | None = None,
    ) -> None:
        super().__init__(tokenizer, max_length, plain)
        self._splicing = Splicing(tokenizer, self._plain)
        self._heads: dict[tuple[str, str], NDArray[np.int64]] = {}

    def __call__(self, texts: Sequence[str] | CachedTexts, instruction: str = "") -> Tokens:
        """Tokens of texts, each behind ``instruction``."""
        if not isinstance(texts, CachedTexts):
            return super().__call__(texts, instruction)
        frame = self._frame(1)
        room = np.full(len(texts), frame.room(self.max_length))
        own = self._cut(texts, instruction, room, frame.types[0])
        return frame.around(len(texts), texts.table.ids.dtype, own)

    def pairs(
        self,
        queries: Sequence[str] | CachedTexts,
        keys: Sequence[str] | CachedTexts,
        query_instruction: str = "",
        key_instruction: str = "",
    ) -> Tokens:
        """Tokens of (query, key) pairs; the longer text is cut first."""
        if not isinstance(queries, CachedTexts):
            assert not isinstance(keys, CachedTexts)
            return super().pairs(queries, keys, query_instruction, key_instruction)
        assert isinstance(keys, CachedTexts)
        frame = self._frame(2)
        rooms = _shared(
            self._lengths_of(queries, query_instruction),
            self._lengths_of(keys, key_instruction),
            frame.room(self.max_length),
        )
        return frame.around(
            len(keys),
            keys.table.ids.dtype,
            self._cut(queries, query_instruction, rooms[0], frame.types[0]),
            self._cut(keys, key_instruction, rooms[1], frame.types[1]),
        )

    def why_not_cached(self, pairs: bool) -> str | None:
        """Why tokens put together from a table may be others than the tokenizer's own.

        Args:
            pairs: whether they are to be of (query, key) pairs.

        Returns:
            A sentence's part, or None where they are the same.
        """
        tokenizer = self._tokenizer
        if is_random(tokenizer):
            return "it splits a text by chance, each time anew"
        if self._plain.backend is None and tokenizer.is_fast:
            return "its tokens come from a call of its own, which is not to be taken apart"
        if self._plain.backend is None and (has_code_of_its_own(tokenizer) or pairs):
            return "it puts tokens together by code of its own"
        return None if self._frames_fit(pairs) else "it puts other tokens around some texts"

    def _frames_fit(self, pairs: bool) -> bool:
        """Whether frame and plain tokens of some texts make what the tokenizer's call gives."""
        first = probe_texts(self._tokenizer)
        sides = [first, [*first[1:], first[0]]] if pairs else [first]
        plain = [self._plain(texts) for texts in sides]
        try:
            frame = self._frame(len(sides))
        except ConfigError:
            return False
        lengths = [np.fromiter(map(len, ids), np.int64, len(ids)) for ids in plain]
        for room in (2, 5, 512):
            with settings_kept(self._tokenizer) as tokenizer:
                wanted = tokenizer(
                    *sides, truncation=True, max_length=frame.n_special + room, verbose=False
                )
            if pairs:
                kept = [*_shared(lengths[0], lengths[1], room)]
            else:
                kept = [np.minimum(lengths[0], room)]
            parts = [
                Part.of_lists([self._end(*text) for text in zip(ids, n, strict=True)])
                for ids, n in zip(plain, kept, strict=True)
            ]
            typed = [
                (replace(part, types=kind),) for part, kind in zip(parts, frame.types, strict=True)
            ]
            tokens = frame.around(len(first), np.dtype(np.int64), *typed)
            if tokens.flat().tolist() != list(chain.from_iterable(wanted["input_ids"])):
                return False
            types = list(chain.from_iterable(wanted.get("token_type_ids", [])))
            if types and tokens.flat(of_types=True).tolist() != types:
                return False
        return True

    def _end(self, ids: Sequence[int], n_kept: int) -> Sequence[int]:
        """The ids of a text that truncation leaves."""
        return ids[len(ids) - n_kept :] if self._left else ids[:n_kept]

    def _lengths_of(self, texts: CachedTexts, instruction: str) -> NDArray[np.int64]:
        head = len(self._head(instruction, texts.table.prefixes[texts.column]))
        bounds = texts.table.bounds
        lengths: NDArray[np.int64] = bounds[texts.numbers + 1] - bounds[texts.numbers] + head
        return lengths

    def _head(self, instruction: str, prefix: str) -> NDArray[np.int64]:
        if (instruction, prefix) not in self._heads:
            head = self._splicing.head(instruction, prefix)
            self._heads[instruction, prefix] = np.array(head, np.int64)
        return self._heads[instruction, prefix]

    def _cut(
        self, texts: CachedTexts, instruction: str, room: NDArray[np.int64], type: int
    ) -> tuple[Part, ...]:
        """The tokens of instruction and text, ``room`` of them at most.

        Where the left end is cut, the instruction stays, and the text's first tokens go.
        """
        table, numbers = texts.table, texts.numbers
        starts = table.bounds[numbers]
        lengths = table.bounds[numbers + 1] - starts
        head = self._head(instruction, table.prefixes[texts.column]).astype(table.ids.dtype)
        n_head = np.minimum(len(head), room)
        if (n_head == len(head)).all():
            instructed = Part.constant(head, len(texts), type)
        else:
            instructed = Part(head, np.zeros(len(texts), np.int64), n_head, type)
        room = room - n_head
        kept = np.minimum(lengths, room)
        if not self._left:
            return instructed, Part(table.ids, starts, kept, type)
        # Tokenized behind its instruction, a text has that in front of its own tokens.
        own = 0 if len(head) or not instruction else self._n_tokens(instruction)
        n_first = np.where(lengths > room, np.minimum(own, room), 0)
        n_last = kept - n_first
        return (
            instructed,
            Part(table.ids, starts, n_first, type),
            Part(table.ids, starts + lengths - n_last, n_last, type),
        )


def _shared(
    first: NDArray[np.int64], second: NDArray[np.int64], room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tokens that each text of a pair keeps: tokenizers' rule LongestFirst."""
    shorter = np.minimum(np.minimum(first, second), room // 2)
    longer = np.minimum(np.maximum(first, second), room - shorter)
    swapped = second < first
    return np.where(swapped, longer, shorter), np.where(swapped, shorter, longer)
