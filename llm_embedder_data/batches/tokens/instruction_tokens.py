"""Tokenizes instructions separately from the texts after them, where that is exact."""

from __future__ import annotations

import re

from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.custom_tokenizers import probe_texts
from llm_embedder_data.batches.tokens.instruction_boundary import begins_at_last_space


class InstructionTokens:
    """Splits the string "instruction + text" into a head and a rest that are tokenized separately.

    If it is proved that the tokens of the two parts make the tokens of the whole string, the rest
    is the text alone, or the text with the space that ends the instruction. Otherwise the rest is
    the whole string, and the head is empty.

    Args:
        tokenizer: a transformers tokenizer, fast or slow.
        plain: a BareTokenizer of the same tokenizer; None makes a new one.

    Attributes:
        plain: tokenizes without special tokens.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, plain: BareTokenizer | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self.plain = plain or BareTokenizer(tokenizer)

    def text_prefix(self, instruction: str) -> str:
        """Return the string to put before a text: nothing, a space, or the whole instruction."""
        if not instruction:
            return ""
        prefix = instruction
        backend = self.plain.backend
        if self.plain.words is not None and re.search(r"\S +$", instruction):
            prefix = ""
        elif backend is not None and begins_at_last_space(backend, instruction):
            prefix = " "
        # The proof assumes how tokenizers behave, so check it on the probe texts as well.
        return prefix if self._is_exact(instruction, prefix) else instruction

    def head(self, instruction: str, prefix: str) -> list[int]:
        """Return the ids of the head: the part of the instruction that ``prefix`` leaves out."""
        if prefix == instruction:
            return []
        return list(self.plain([instruction.removesuffix(prefix)])[0])

    def _is_exact(self, instruction: str, prefix: str) -> bool:
        if prefix == instruction:
            return True
        head, texts = self.head(instruction, prefix), probe_texts(self._tokenizer)
        parts = self.plain([prefix + text for text in texts])
        whole = self.plain([instruction + text for text in texts])
        return list(map(list, whole)) == [head + list(ids) for ids in parts]
