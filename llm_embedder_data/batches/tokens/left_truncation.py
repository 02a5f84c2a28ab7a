"""Left truncation that keeps the instruction: the text after it loses its first tokens.

A tokenizer that truncates on the left would cut off the instruction first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer

# Cache the lengths of at most this many instructions: each row may bring a different one.
_MAX_INSTRUCTIONS = 4096


class InstructedText(str):
    """A string that begins with an instruction, and knows which part of it the instruction is."""

    __slots__ = ("instruction",)
    instruction: str

    def __new__(cls, instruction: str, text: str) -> InstructedText:
        joined = super().__new__(cls, instruction + text)
        joined.instruction = instruction
        return joined

    def __reduce__(self) -> tuple[Any, ...]:
        return InstructedText, (self.instruction, str(self)[len(self.instruction) :])


def instruction_of(text: str) -> str:
    """Return the instruction that an :class:`InstructedText` begins with; else an empty string."""
    return text.instruction if isinstance(text, InstructedText) else ""


class LeftTruncation:
    """Chooses the tokens that a text or a pair keeps when it is cut on the left.

    Args:
        max_length: maximum number of tokens to keep, special tokens included.
        plain: tokenizes instructions to determine their lengths.
    """

    def __init__(self, max_length: int, plain: BareTokenizer) -> None:
        self._max_length, self._plain = max_length, plain
        self._lengths: dict[str, int] = {}  # tokens of each instruction

    def n_tokens(self, instruction: str) -> int:
        """Return the number of tokens of an instruction, without special tokens."""
        if instruction not in self._lengths:
            if len(self._lengths) >= _MAX_INSTRUCTIONS:
                self._lengths.clear()
            # Leave out the last space, which a tokenizer may merge with the first word of the text.
            self._lengths[instruction] = len(self._plain([instruction.rstrip()])[0])
        return self._lengths[instruction]

    def of_text(self, is_special: Sequence[int], instruction: str) -> list[int]:
        """Return the indices of the tokens that a text keeps, in order.

        Args:
            is_special: for each token of the text, 1 if it is a special token, otherwise 0.
            instruction: the instruction that the text begins with.
        """
        special = np.array(is_special, bool)
        start = int(np.argmin(special))
        end = len(special) - int(np.argmin(special[::-1]))
        room = max(self._max_length - start - (len(special) - end), 0)
        kept = self._head_and_tail(range(start, end), instruction, room)
        return [*range(start), *kept, *range(end, len(special))]

    def of_pair(self, text_of_token: Sequence[int | None], pair: tuple[str, str]) -> list[int]:
        """Return the indices of the tokens that a pair keeps, in order.

        Each text keeps as many tokens as with the LongestFirst strategy of the tokenizers library.

        Args:
            text_of_token: for each token, the text it belongs to (0 or 1), or None for a special
                token.
            pair: the two texts.
        """
        if len(text_of_token) <= self._max_length:
            return list(range(len(text_of_token)))
        special = [i for i, text in enumerate(text_of_token) if text is None]
        tokens = [[i for i, text in enumerate(text_of_token) if text == side] for side in (0, 1)]
        room = max(self._max_length - len(special), 0)
        shorter, longer = sorted((0, 1), key=lambda side: len(tokens[side]))
        n_kept = min(len(tokens[shorter]), room // 2)
        return sorted(
            [
                *special,
                *self._head_and_tail(tokens[shorter], instruction_of(pair[shorter]), n_kept),
                *self._head_and_tail(tokens[longer], instruction_of(pair[longer]), room - n_kept),
            ]
        )

    def _head_and_tail(self, indices: Sequence[int], instruction: str, n_kept: int) -> list[int]:
        """Return ``n_kept`` of a text's token indices: the instruction's, then the last ones."""
        if len(indices) <= n_kept:
            return list(indices)
        n_head = min(self.n_tokens(instruction), n_kept)
        return [*indices[:n_head], *indices[len(indices) - (n_kept - n_head) :]]
