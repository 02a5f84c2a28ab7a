"""One side's tokenizer for strings and for texts whose ids are known; both give the same tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.encoded_texts import EncodedTexts
from llm_embedder_data.batches.tokens.instruction_tokens import InstructionTokens
from llm_embedder_data.batches.tokens.text_tokenizer import TextTokenizer
from llm_embedder_data.batches.tokens.token_slices import Tokens, TokenSlices


class SideTokenizer(TextTokenizer):
    """A :class:`TextTokenizer` that takes :class:`EncodedTexts` too.

    The ids of encoded texts have no special tokens, are not truncated, and may lack the
    instruction. The tokenizer adds what is missing and truncates.

    Args:
        tokenizer: from transformers, fast or slow.
        max_length: tokens, special tokens included.
        plain: a BareTokenizer of the same tokenizer, which several sides may share; None to make
            one.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        plain: BareTokenizer | None = None,
    ) -> None:
        super().__init__(tokenizer, max_length, plain)
        self._instructions = InstructionTokens(tokenizer, self.plain)
        self._heads: dict[tuple[str, str], NDArray[np.int64]] = {}

    def __call__(self, texts: Sequence[str] | EncodedTexts, instruction: str = "") -> Tokens:
        """Return the tokens of texts, each behind ``instruction``."""
        if not isinstance(texts, EncodedTexts):
            return super().__call__(texts, instruction)
        template = self.template(1)
        room = np.full(len(texts), template.room(self.max_length))
        parts = self._cut(texts, instruction, room, template.types[0])
        return template.around(len(texts), texts.ids.dtype, parts)

    def pairs(
        self,
        queries: Sequence[str] | EncodedTexts,
        keys: Sequence[str] | EncodedTexts,
        query_instruction: str = "",
        key_instruction: str = "",
    ) -> Tokens:
        """Return the tokens of (query, key) pairs; the longer text is cut first.

        Both sides are strings, or both are encoded.
        """
        if not isinstance(queries, EncodedTexts):
            assert not isinstance(keys, EncodedTexts)
            return super().pairs(queries, keys, query_instruction, key_instruction)
        assert isinstance(keys, EncodedTexts)
        template = self.template(2)
        rooms = longest_first(
            self._lengths_of(queries, query_instruction),
            self._lengths_of(keys, key_instruction),
            template.room(self.max_length),
        )
        return template.around(
            len(keys),
            keys.ids.dtype,
            self._cut(queries, query_instruction, rooms[0], template.types[0]),
            self._cut(keys, key_instruction, rooms[1], template.types[1]),
        )

    def _lengths_of(self, texts: EncodedTexts, instruction: str) -> NDArray[np.int64]:
        """Return the tokens of each text with its instruction, ``[N]`` int64."""
        head = len(self._head(instruction, texts.prefix))
        bounds, numbers = texts.bounds, texts.numbers
        lengths: NDArray[np.int64] = bounds[numbers + 1] - bounds[numbers] + head
        return lengths

    def _head(self, instruction: str, prefix: str) -> NDArray[np.int64]:
        """Return the ids of the instruction that texts encoded behind ``prefix`` lack."""
        if (instruction, prefix) not in self._heads:
            head = self._instructions.head(instruction, prefix)
            self._heads[instruction, prefix] = np.array(head, np.int64)
        return self._heads[instruction, prefix]

    def _cut(
        self, texts: EncodedTexts, instruction: str, room: NDArray[np.int64], type: int
    ) -> tuple[TokenSlices, ...]:
        """Return at most ``room`` tokens of instruction and text, ``[N]`` int64.

        When the left end is cut, the instruction stays, and the text loses its first tokens.
        """
        ids, bounds, numbers = texts.ids, texts.bounds, texts.numbers
        starts = bounds[numbers]
        lengths = bounds[numbers + 1] - starts
        head = self._head(instruction, texts.prefix).astype(ids.dtype)
        n_head = np.minimum(len(head), room)
        if (n_head == len(head)).all():
            instructed = TokenSlices.constant(head, len(texts), type)
        else:
            instructed = TokenSlices(head, np.zeros(len(texts), np.int64), n_head, type)
        room = room - n_head
        kept = np.minimum(lengths, room)
        if not self._left:
            return instructed, TokenSlices(ids, starts, kept, type)
        # A text that was tokenized behind its instruction begins with the instruction's tokens.
        n_instruction = 0
        if instruction and not len(head):
            n_instruction = self._left_truncation.n_tokens(instruction)
        n_first = np.where(lengths > room, np.minimum(n_instruction, room), 0)
        n_last = kept - n_first
        return (
            instructed,
            TokenSlices(ids, starts, n_first, type),
            TokenSlices(ids, starts + lengths - n_last, n_last, type),
        )


def longest_first(
    first: NDArray[np.int64], second: NDArray[np.int64], room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many tokens each text of a pair keeps under tokenizers' rule LongestFirst.

    Args:
        first: ``[N]`` int64, tokens of the first texts.
        second: ``[N]`` int64, tokens of the second texts.
        room: tokens that both may have together.
    """
    shorter = np.minimum(np.minimum(first, second), room // 2)
    longer = np.minimum(np.maximum(first, second), room - shorter)
    swapped = second < first
    return np.where(swapped, longer, shorter), np.where(swapped, shorter, longer)
