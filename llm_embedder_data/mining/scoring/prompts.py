"""Tokenizing filled templates within length limits, and finding the tokens of the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.templates import Template

# Number of prompts that are tokenized in one call.
_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """Limits in tokens, at least 1 each.

    Attributes:
        max_length: limit of the whole input, special tokens included.
        key_max_length: limit of a key.
        query_max_length: limit of a query, and of a context.
    """

    max_length: int
    key_max_length: int
    query_max_length: int


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """A tokenized prompt.

    Attributes:
        ids: token ids, with the special tokens before the text, but without those after it.
        answer_start: position of the answer's first token; ``len(ids)`` if there is no answer.
    """

    ids: list[int]
    answer_start: int

    @property
    def n_answer(self) -> int:
        """The number of tokens of the answer."""
        return len(self.ids) - self.answer_start


class PromptTokenizer:
    """Tokenizes filled templates.

    A prompt is tokenized as a whole. The answer's tokens are those that contain any of its
    characters, so a space that shares a token with the answer's first word belongs to it. Special
    tokens before the text are kept; those after it, such as an EOS, are removed.

    Prompts that are too long are cut, except for the answer. A key loses its end; a query and a
    context lose their beginning, because the text next to the answer matters most. Each field is
    cut to its limit. If the prompt is still too long, the key is cut further, down to nothing, then
    the context, then the query.

    Args:
        tokenizer: a fast tokenizer.
        limits: limits in tokens.

    Attributes:
        counts: how many prompts were cut, by field.

    Raises:
        ConfigError: the tokenizer is not a fast tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limits: LengthLimits) -> None:
        if not tokenizer.is_fast:
            raise ConfigError(
                f"the teacher's tokenizer {type(tokenizer).__name__} does not say which characters "
                "a token stands for (give a teacher with a fast tokenizer: tokenizer.json)"
            )
        self._tokenizer, self._limits = tokenizer, limits
        self.counts: Counter[str] = Counter()

    def __call__(
        self, prompts: Sequence[tuple[Template, Mapping[str, str]]]
    ) -> list[TokenizedPrompt | None]:
        """Tokenize prompts.

        Args:
            prompts: for each prompt, a template and the values of its fields.

        Returns:
            The tokenized prompts; None for a prompt that is too long even without the fields that
            may be cut, or whose answer has no tokens.
        """
        found: list[TokenizedPrompt | None] = []
        for start in range(0, len(prompts), _AT_ONCE):
            found += self._tokenized(prompts[start : start + _AT_ONCE])
        return found

    def _tokenized(
        self, prompts: Sequence[tuple[Template, Mapping[str, str]]]
    ) -> list[TokenizedPrompt | None]:
        found: list[TokenizedPrompt | None] = [None] * len(prompts)
        values = [
            {name: given[name].strip() for _, name in template.pieces if name is not None}
            for template, given in prompts
        ]
        cut: list[set[str]] = [set() for _ in prompts]
        left = list(range(len(prompts)))
        while left:
            filled = [prompts[i][0].filled(values[i]) for i in left]
            encoded = self._tokenizer([text for text, _ in filled], verbose=False)
            again = []
            for number, (i, (text, spans)) in enumerate(zip(left, filled, strict=True)):
                prompt = _Encoded(encoded.encodings[number], text, spans)
                shorter = self._cut(prompt, values[i])
                if shorter is None:
                    found[i] = prompt.tokenized()
                elif shorter:
                    values[i].update(shorter)
                    cut[i].update(shorter)
                    again.append(i)
            left = again
        for i, names in enumerate(cut):
            if found[i] is not None:
                self.counts.update({_NAMES[name]: 1 for name in names})
        return found

    def _cut(self, prompt: _Encoded, values: Mapping[str, str]) -> dict[str, str] | None:
        """Return shorter values; None if the prompt fits; ``{}`` if no value can be cut."""
        limits = self._limits
        of_field = {
            "key": limits.key_max_length,
            "context": limits.query_max_length,
            "query": limits.query_max_length,
        }
        shorter = {}
        for name, most in of_field.items():
            if values.get(name) and prompt.n_tokens(name) > most:
                shorter[name] = prompt.cut(name, most)
        if shorter:
            return shorter
        excess = prompt.end - limits.max_length
        if excess <= 0:
            return None
        for name in of_field:
            if values.get(name):
                return {name: prompt.cut(name, max(prompt.n_tokens(name) - excess, 0))}
        return {}


# --------------------------------------------------------------------------------------------------

_NAMES = {"key": "keys cut", "query": "queries cut", "context": "contexts cut"}


class _Encoded:
    """A tokenized prompt, with the positions of its fields.

    Args:
        encoding: the encoding of the library tokenizers.
        text: the filled template.
        spans: start and end of the characters of each field.
    """

    def __init__(self, encoding: Any, text: str, spans: Mapping[str, tuple[int, int]]) -> None:
        self._encoding, self._text, self._spans = encoding, text, spans
        added = encoding.special_tokens_mask
        self.end = len(added)  # number of tokens, without the special tokens after the text
        while self.end and added[self.end - 1]:
            self.end -= 1

    def tokenized(self) -> TokenizedPrompt | None:
        """Return the tokens; None if the answer has no tokens, or no token comes before it."""
        ids = self._encoding.ids[: self.end]
        if "answer" not in self._spans:
            return TokenizedPrompt(ids, self.end)
        start = self._tokens("answer")[0]
        return TokenizedPrompt(ids, start) if 0 < start < self.end else None

    def n_tokens(self, name: str) -> int:
        """Return the number of tokens that contain any of a field's characters."""
        begin, stop = self._tokens(name)
        return stop - begin

    def cut(self, name: str, n_tokens: int) -> str:
        """Return the part of a field that fits: a key's beginning, another field's end."""
        begin, stop = self._tokens(name)
        start, end = self._spans[name]
        if n_tokens < 1:
            return ""
        if name == "key":
            cut_at = self._encoding.token_to_chars(begin + n_tokens - 1)[1]
            return self._text[start : min(cut_at, end - 1)].strip()
        cut_at = self._encoding.token_to_chars(stop - n_tokens)[0]
        return self._text[max(cut_at, start + 1) : end].strip()

    def _tokens(self, name: str) -> tuple[int, int]:
        """Return the positions of a field's tokens, start and stop.

        A character that the tokenizer drops, such as a control character, belongs to no token.
        """
        start, end = self._spans[name]
        for char in range(start, end):
            if (begin := self._encoding.char_to_token(char)) is not None:
                break
        else:
            return self.end, self.end
        for char in range(end - 1, start - 1, -1):
            if (last := self._encoding.char_to_token(char)) is not None:
                break
        return begin, self._last_of_character(last) + 1

    def _last_of_character(self, token: int) -> int:
        """Return the last token of the same character: its bytes may be several tokens."""
        chars = self._encoding.token_to_chars(token)
        while token + 1 < self.end and self._encoding.token_to_chars(token + 1) == chars:
            token += 1
        return token
