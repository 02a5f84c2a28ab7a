"""Token ids from a table: instruction, special tokens and truncation are put in at collate time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.layouts import Part, Tokens
from llm_embedder_data.batches.plain_tokens import PlainTokens
from llm_embedder_data.batches.token_table import TokenTable
from llm_embedder_data.batches.tokens import TextTokenizer


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

    A text is tokenized alone; or behind the white space that ends the instruction, which
    byte-level tokenizers join to a text's first word; or, where neither gives the tokens of the
    whole string, behind the whole instruction.

    Args:
        tokenizer: from transformers, fast or slow.
        plain: of the same tokenizer.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, plain: PlainTokens | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self.ids = plain or PlainTokens(tokenizer)

    def fingerprint(self) -> str:
        """128 bits of all that a text's tokens depend on, in hexadecimal."""
        backend = self.ids.backend
        if backend is None:
            return str(datasets.fingerprint.Hasher.hash(self._tokenizer))
        backend.no_truncation()
        said = orjson.dumps([orjson.loads(backend.to_str()), backend.encode_special_tokens])
        return xxhash.xxh3_128_hexdigest(said)

    def prefixes(self, instruction: str) -> list[str]:
        """What may stand before a text when it is tokenized, the first choice first."""
        space = instruction[len(instruction.rstrip()) :]
        return list(dict.fromkeys(["", space, instruction]))

    def head(self, instruction: str, prefix: str) -> list[int]:
        """The tokens that go before those of a text that was tokenized behind ``prefix``."""
        return [] if prefix == instruction else list(self.ids([instruction.rstrip()])[0])

    def is_exact(self, instruction: str, prefix: str, texts: Sequence[str]) -> bool:
        """Whether texts behind the instruction have the tokens that are put together for them."""
        if prefix == instruction or not texts:
            return True
        head = self.head(instruction, prefix)
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
