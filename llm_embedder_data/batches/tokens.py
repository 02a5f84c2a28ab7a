"""Texts to token ids, as the tokenizer's own call, but with the instruction kept whole."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.layouts import Part, Tokens
from llm_embedder_data.config import ConfigError

Ids = list[list[int]]


class InstructedText(str):
    """A text with its instruction already in front, which remembers how long that is."""

    __slots__ = ("instruction",)
    instruction: str

    def __new__(cls, instruction: str, text: str) -> InstructedText:
        joined = super().__new__(cls, instruction + text)
        joined.instruction = instruction
        return joined

    def __reduce__(self) -> tuple[Any, ...]:
        return InstructedText, (self.instruction, str(self)[len(self.instruction) :])


class TextTokenizer:
    """One side's tokenizer: texts to at most ``max_length`` token ids each.

    The ids equal ``tokenizer(texts, truncation=True, max_length=...)``. One thing differs: a
    tokenizer that truncates on the left would cut the instruction off first; here the text loses
    tokens and the instruction stays, on either side (pairs of a slow tokenizer excepted). A fast
    tokenizer is called without the wrapper, on a copy of its own, so no setting of the caller's
    tokenizer changes.

    Args:
        tokenizer: from transformers, fast or slow.
        max_length: tokens, special tokens included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self._tokenizer = tokenizer
        self.max_length = max_length
        self._wants_types = "token_type_ids" in tokenizer.model_input_names
        self._left = tokenizer.truncation_side == "left"
        self._lengths: dict[str, int] = {}  # tokens of each instruction
        self._backend: Any = None
        if tokenizer.is_fast:
            self._backend = deepcopy(tokenizer.backend_tokenizer)
            self._backend.encode_special_tokens = tokenizer.split_special_tokens
            self._backend.no_padding()
            self._truncate(True)

    def __call__(self, texts: Sequence[str], instruction: str = "") -> Tokens:
        """Tokens of texts, each behind ``instruction``."""
        if self._left:
            if instruction:
                texts = [InstructedText(instruction, text) for text in texts]
            if any(isinstance(text, InstructedText) for text in texts):
                return _tokens(*self._cut_behind_instruction(texts))
        if self._backend is None:
            return _tokens(*self._slow([instruction + text for text in texts], None))
        encodings = self._backend.encode_batch_fast([instruction + text for text in texts])
        return _tokens([e.ids for e in encodings], self._types(encodings))

    def pairs(
        self,
        queries: Sequence[str],
        keys: Sequence[str],
        query_instruction: str = "",
        key_instruction: str = "",
    ) -> Tokens:
        """Tokens of (query, key) pairs; the longer text is cut first."""
        if query_instruction:
            queries = [InstructedText(query_instruction, text) for text in queries]
        if key_instruction:
            keys = [InstructedText(key_instruction, text) for text in keys]
        if self._backend is None:
            return _tokens(*self._slow(queries, keys))
        pairs = list(zip(queries, keys, strict=True))
        if self._left and any(_instruction_of(one) for pair in pairs for one in pair):
            return _tokens(*self._pairs_cut_behind_instruction(pairs))
        encodings = self._backend.encode_batch_fast([(str(one), str(two)) for one, two in pairs])
        return _tokens([e.ids for e in encodings], [e.type_ids for e in encodings])

    def check_room(self, instruction: str, setting: str) -> None:
        """Refuse an instruction that leaves no room for a text.

        Raises:
            ConfigError: naming the setting, its value and the tokens that the instruction takes.
        """
        ids = self._tokenizer(instruction)["input_ids"]
        if instruction and len(ids) >= self.max_length:
            raise ConfigError(
                f"{setting}={self.max_length}: the instruction {instruction!r} takes {len(ids)} "
                "tokens, special tokens included, and leaves none for the text (give at least "
                f"{len(ids) + 1}, or set data.add_instruction=false)"
            )

    def _truncate(self, on: bool) -> None:
        if on:
            side = "left" if self._left else "right"
            self._backend.enable_truncation(
                self.max_length, direction=side, strategy="longest_first"
            )
        else:
            self._backend.no_truncation()

    def _slow(self, texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[Ids, Ids | None]:
        encoded = self._tokenizer(
            [str(text) for text in texts],
            None if pairs is None else [str(text) for text in pairs],
            truncation=True,
            max_length=self.max_length,
        )
        return encoded["input_ids"], encoded.get("token_type_ids")

    def _types(self, encodings: Sequence[Any]) -> Ids | None:
        """Token types where one is not 0; a template gives one text the same types as the next."""
        if self._wants_types and encodings and any(encodings[0].type_ids):
            return [e.type_ids for e in encodings]
        return None

    def _cut_behind_instruction(self, texts: Sequence[str]) -> tuple[Ids, Ids | None]:
        """Tokens of texts, those too long cut on the left, but behind their instruction."""
        plain = [str(text) for text in texts]
        ids: Ids
        types: Ids | None
        if self._backend is None:
            encoded = self._tokenizer(plain, return_special_tokens_mask=True, verbose=False)
            ids, types = encoded["input_ids"], encoded.get("token_type_ids")
            special = encoded["special_tokens_mask"]
        else:
            self._truncate(False)
            encodings = self._backend.encode_batch_fast(plain)
            self._truncate(True)
            ids, types = [e.ids for e in encodings], self._types(encodings)
            special = [e.special_tokens_mask for e in encodings]
        for i, text in enumerate(texts):
            if len(ids[i]) > self.max_length:
                places = self._kept_places(special[i], _instruction_of(text))
                ids[i] = [ids[i][place] for place in places]
                if types is not None:
                    types[i] = [types[i][place] for place in places]
        return ids, types

    def _kept_places(self, special: Sequence[int], instruction: str) -> list[int]:
        """The tokens that a text keeps: special ones, the instruction's, and those of its end."""
        is_special = np.array(special, bool)
        first = int(np.argmin(is_special))
        last = len(special) - int(np.argmin(is_special[::-1]))
        room = max(self.max_length - first - (len(special) - last), 0)
        own = self._head_and_tail(range(first, last), instruction, room)
        return [*range(first), *own, *range(last, len(special))]

    def _head_and_tail(self, places: Sequence[int], instruction: str, n_kept: int) -> list[int]:
        """``n_kept`` of a text's places: the first, which are the instruction's, and the last."""
        if len(places) <= n_kept:
            return list(places)
        head = min(self._n_tokens(instruction), n_kept)
        return [*places[:head], *places[len(places) - (n_kept - head) :]]

    def _n_tokens(self, instruction: str) -> int:
        if instruction not in self._lengths:
            # Without its last space, which a tokenizer may join to the first word of the text.
            ids = self._tokenizer(instruction.rstrip(), add_special_tokens=False)["input_ids"]
            self._lengths[instruction] = len(ids)
        return self._lengths[instruction]

    def _pairs_cut_behind_instruction(
        self, pairs: Sequence[tuple[str, str]]
    ) -> tuple[Ids, Ids | None]:
        """Tokens of pairs, both texts cut on the left, but behind their instructions."""
        self._truncate(False)
        encodings = self._backend.encode_batch([(str(query), str(key)) for query, key in pairs])
        self._truncate(True)
        ids, types = [], []
        for encoding, pair in zip(encodings, pairs, strict=True):
            own_ids, own_types = encoding.ids, encoding.type_ids
            places = self._kept_places_of_pair(encoding.sequence_ids, pair)
            ids.append([own_ids[place] for place in places])
            types.append([own_types[place] for place in places])
        return ids, types

    def _kept_places_of_pair(
        self, text_of_token: Sequence[int | None], pair: tuple[str, str]
    ) -> list[int]:
        """The tokens that a pair keeps; how many of each text is tokenizers' rule LongestFirst."""
        if len(text_of_token) <= self.max_length:
            return list(range(len(text_of_token)))
        kept = [i for i, text in enumerate(text_of_token) if text is None]
        room = max(self.max_length - len(kept), 0)
        own = [[i for i, text in enumerate(text_of_token) if text == which] for which in (0, 1)]
        shorter, longer = sorted((0, 1), key=lambda which: len(own[which]))
        n_kept = min(len(own[shorter]), room // 2)
        kept += self._head_and_tail(own[shorter], _instruction_of(pair[shorter]), n_kept)
        kept += self._head_and_tail(own[longer], _instruction_of(pair[longer]), room - n_kept)
        return sorted(kept)


def _tokens(ids: Ids, types: Ids | None) -> Tokens:
    return Tokens((Part.of_lists(ids, types),))


def _instruction_of(text: str) -> str:
    return text.instruction if isinstance(text, InstructedText) else ""
