"""The tokenizer of one side (queries or keys), for strings and for texts encoded already.

Both give the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.encoded_texts import EncodedTexts
from llm_embedder_data.batches.tokens.instruction_tokens import InstructionTokens
from llm_embedder_data.batches.tokens.row_instructions import Instructions
from llm_embedder_data.batches.tokens.text_tokenizer import TextTokenizer
from llm_embedder_data.batches.tokens.token_slices import Tokens, TokenSlices


class SideTokenizer(TextTokenizer):
    """A :class:`TextTokenizer` that takes :class:`EncodedTexts` too.

    The ids of encoded texts have no special tokens, are not truncated, and may lack the
    instruction. The tokenizer adds what is missing and truncates.

    Args:
        tokenizer: a transformers tokenizer, fast or slow.
        max_length: maximum number of tokens of a text, special tokens included.
        plain: a BareTokenizer of the same tokenizer, which several sides may share; None makes a
            new one.
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

    def __call__(
        self, texts: Sequence[str] | EncodedTexts, instruction: Instructions = ""
    ) -> Tokens:
        """Return the tokens of texts, each preceded by its instruction."""
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
        query_instruction: Instructions = "",
        key_instruction: Instructions = "",
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

    def _lengths_of(self, texts: EncodedTexts, instruction: Instructions) -> NDArray[np.int64]:
        """Return the number of tokens of each text with its instruction, ``[N]`` int64."""
        head = self._head_lengths(texts, instruction)
        bounds, numbers = texts.bounds, texts.numbers
        lengths: NDArray[np.int64] = bounds[numbers + 1] - bounds[numbers] + head
        return lengths

    def _head_lengths(
        self, texts: EncodedTexts, instruction: Instructions
    ) -> NDArray[np.int64] | int:
        """Return the number of instruction tokens missing from the ids of each text.

        The result is ``[N]`` int64, or one number for all texts.
        """
        if isinstance(instruction, str):
            return len(self._head(instruction, texts.prefix))
        # A text with an instruction of its own was tokenized with it, so nothing is missing.
        is_common = np.array([own is None for own in instruction.own], bool)
        return np.where(is_common, len(self._head(instruction.common, texts.prefix)), 0)

    def _inner_lengths(
        self, texts: EncodedTexts, instruction: Instructions
    ) -> NDArray[np.int64] | int:
        """Return how many of the first ids of each text belong to its instruction.

        The result is ``[N]`` int64, or one number for all texts.
        """
        common = instruction if isinstance(instruction, str) else instruction.common
        has_head = len(self._head(common, texts.prefix)) > 0
        n_common = 0 if has_head or not common else self._left_truncation.n_tokens(common)
        if isinstance(instruction, str):
            return n_common
        lengths = [
            n_common if own is None else self._left_truncation.n_tokens(own) if own else 0
            for own in instruction.own
        ]
        return np.array(lengths, np.int64)

    def _head(self, instruction: str, prefix: str) -> NDArray[np.int64]:
        """Return the instruction's ids that are missing from texts encoded with ``prefix``."""
        if (instruction, prefix) not in self._heads:
            head = self._instructions.head(instruction, prefix)
            self._heads[instruction, prefix] = np.array(head, np.int64)
        return self._heads[instruction, prefix]

    def _cut(
        self, texts: EncodedTexts, instruction: Instructions, room: NDArray[np.int64], type: int
    ) -> tuple[TokenSlices, ...]:
        """Return the tokens of instruction and text, truncated to ``room`` tokens.

        If the tokenizer truncates on the left, the instruction stays, and the text loses its first
        tokens.

        Args:
            texts: N texts.
            instruction: put before each text.
            room: ``[N]`` int64, maximum number of tokens of each text with its instruction.
            type: the token type of all tokens.
        """
        ids, bounds, numbers = texts.ids, texts.bounds, texts.numbers
        starts = bounds[numbers]
        lengths = bounds[numbers + 1] - starts
        common = instruction if isinstance(instruction, str) else instruction.common
        head = self._head(common, texts.prefix).astype(ids.dtype)
        n_head = np.minimum(self._head_lengths(texts, instruction), room)
        if (n_head == len(head)).all():
            instructed = TokenSlices.constant(head, len(texts), type)
        else:
            instructed = TokenSlices(head, np.zeros(len(texts), np.int64), n_head, type)
        room = room - n_head
        kept = np.minimum(lengths, room)
        if not self._left:
            return instructed, TokenSlices(ids, starts, kept, type)
        # The ids of a text that was tokenized with its instruction begin with the instruction.
        n_instruction = self._inner_lengths(texts, instruction)
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
    """Return how many tokens each text of a pair keeps with tokenizers' LongestFirst strategy.

    Args:
        first: ``[N]`` int64, lengths of the first texts in tokens.
        second: ``[N]`` int64, lengths of the second texts in tokens.
        room: maximum number of tokens of both texts together.
    """
    shorter = np.minimum(np.minimum(first, second), room // 2)
    longer = np.minimum(np.maximum(first, second), room - shorter)
    swapped = second < first
    return np.where(swapped, longer, shorter), np.where(swapped, shorter, longer)
