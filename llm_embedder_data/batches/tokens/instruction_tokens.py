"""Instructions tokenized apart from the texts behind them, where that is exact."""

from __future__ import annotations

import re

from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.custom_tokenizers import probe_texts
from llm_embedder_data.batches.tokens.instruction_boundary import begins_at_last_space


class InstructionTokens:
    """Puts the tokens of an instructed text together from those of instruction and text.

    A text is tokenized alone, or behind the space that ends its instruction, where it is proved
    that the tokens of the whole string are those of the two parts. Otherwise it is tokenized
    behind the whole instruction.

    Args:
        tokenizer: from transformers, fast or slow.
        plain: of the same tokenizer.

    Attributes:
        plain: gives ids without special tokens.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, plain: BareTokenizer | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self.plain = plain or BareTokenizer(tokenizer)

    def text_prefix(self, instruction: str) -> str:
        """Return what a text is tokenized behind: nothing, a space, or the whole instruction."""
        if not instruction:
            return ""
        prefix = instruction
        backend = self.plain.backend
        if self.plain.words is not None and re.search(r"\S +$", instruction):
            prefix = ""
        elif backend is not None and begins_at_last_space(backend, instruction):
            prefix = " "
        # The proof rests on what is known of tokenizers, so it is tried out as well.
        return prefix if self._is_exact(instruction, prefix) else instruction

    def head(self, instruction: str, prefix: str) -> list[int]:
        """Return the ids that go before those of a text tokenized behind ``prefix``."""
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
