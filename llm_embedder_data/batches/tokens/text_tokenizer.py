"""Texts to token ids as the tokenizer's own call gives them, but instructions stay whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.row_instructions import Instructions
from llm_embedder_data.batches.tokens.special_tokens import SpecialTokenTemplate
from llm_embedder_data.batches.tokens.token_slices import Tokens, TokenSlices
from llm_embedder_data.batches.tokens.word_memo import WordMemo, joined_ids
from llm_embedder_data.core.errors import ConfigError

Ids = list[list[int]]

# The first of these that has a token shows the special tokens around a text.
_EXAMPLES = ("a", "1", ".", "A", "the", "é", "。", "_")

# Instructions whose lengths are remembered; rows may have their own.
_MOST_INSTRUCTIONS = 4096


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
    tokenizer changes; one whose class changes texts or ids is called as it is.

    Args:
        tokenizer: from transformers, fast or slow.
        max_length: tokens, special tokens included.
        plain: of the same tokenizer; several sides may share one.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        plain: BareTokenizer | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.plain = plain or BareTokenizer(tokenizer)
        self._wants_types = "token_type_ids" in tokenizer.model_input_names
        self._left = tokenizer.truncation_side == "left"
        self._lengths: dict[str, int] = {}  # tokens of each instruction
        self._templates: dict[int, SpecialTokenTemplate] = {}
        self._backend: Any = self.plain.backend

    def __call__(self, texts: Sequence[str], instruction: Instructions = "") -> Tokens:
        """Return the tokens of texts, each behind ``instruction``, or behind its own."""
        if not isinstance(instruction, str):
            texts, instruction = _each_instructed(texts, instruction), ""
        if self._left:
            if instruction:
                texts = [InstructedText(instruction, text) for text in texts]
            if any(isinstance(text, InstructedText) for text in texts):
                return _tokens(*self._cut_behind_instruction(texts))
        texts = [instruction + text for text in texts]
        if self._backend is None:
            return _tokens(*self._slow(texts, None))
        if self.plain.words is not None and not self._left:
            return self._by_words(texts, self.plain.words)
        self._truncate(True)
        encodings = self._backend.encode_batch_fast(texts)
        return _tokens([e.ids for e in encodings], self._types(encodings))

    def pairs(
        self,
        queries: Sequence[str],
        keys: Sequence[str],
        query_instruction: Instructions = "",
        key_instruction: Instructions = "",
    ) -> Tokens:
        """Return the tokens of (query, key) pairs; the longer text is cut first."""
        if query_instruction:
            queries = _each_instructed(queries, query_instruction)
        if key_instruction:
            keys = _each_instructed(keys, key_instruction)
        if self._backend is None:
            return _tokens(*self._slow(queries, keys))
        pairs = list(zip(queries, keys, strict=True))
        if self._left and any(_instruction_of(one) for pair in pairs for one in pair):
            return _tokens(*self._pairs_cut_behind_instruction(pairs))
        self._truncate(True)
        encodings = self._backend.encode_batch_fast([(str(one), str(two)) for one, two in pairs])
        return _tokens([e.ids for e in encodings], [e.type_ids for e in encodings])

    def check_room(self, instruction: str, setting: str) -> None:
        """Refuse a ``max_length`` that leaves no room for a token of a text.

        Args:
            instruction: put before each text; empty if there is none.
            setting: name of the setting that gives ``max_length``.

        Raises:
            ConfigError: naming the setting, its value and the least that is allowed.
        """
        n_special = self._n_special(1)
        if self.max_length <= n_special:
            raise ConfigError(
                f"{setting}={self.max_length}: the tokenizer puts {n_special} special tokens "
                f"around each text, which leaves none for it (give at least {n_special + 1})"
            )
        if instruction and (n_taken := self._n_whole(instruction)) >= self.max_length:
            raise ConfigError(
                f"{setting}={self.max_length}: the instruction {instruction!r} takes {n_taken} "
                "tokens, special tokens included, and leaves none for the text (give at least "
                f"{n_taken + 1}, or set data.add_instruction=false)"
            )

    def check_room_of_pairs(
        self, query_instruction: str, key_instruction: str, settings: str
    ) -> None:
        """Refuse a ``max_length`` that leaves a text of a pair no token behind its instruction.

        Args:
            query_instruction: put before each query; empty if there is none.
            key_instruction: put before each key; likewise.
            settings: names of the settings whose sum is ``max_length``.

        Raises:
            ConfigError: naming the settings, their sum and the least that is allowed.
        """
        n_special = self._n_special(2)
        longest = max(
            self._n_whole(one) - self._n_special(1) if one else 0
            for one in (query_instruction, key_instruction)
        )
        least = n_special + 2 * (longest + 1)  # the longer text keeps at least half of the room
        if self.max_length < least:
            instruction = f" an instruction of {longest} tokens and" if longest else ""
            raise ConfigError(
                f"{settings}={self.max_length}: a pair takes {n_special} special tokens, and half "
                f"of the others must hold{instruction} a token of a text (give at least {least} "
                "in all)"
            )

    def _n_special(self, n_texts: int) -> int:
        if self._backend is not None:
            return int(self._backend.num_special_tokens_to_add(n_texts == 2))
        n_special = self._tokenizer.num_special_tokens_to_add(pair=n_texts == 2)
        if n_texts == 2:
            return n_special
        return max(n_special, len(self._tokenizer([""])["input_ids"][0]))  # what its class adds

    def _n_whole(self, text: str) -> int:
        """Return the number of tokens of a text, special tokens included."""
        if self._backend is None:
            return len(self._tokenizer([text])["input_ids"][0])
        self._truncate(False)
        return len(self._backend.encode(text))

    def _by_words(self, texts: Sequence[str], words: WordMemo) -> Tokens:
        template = self.template(1)
        ids, lengths = joined_ids(words.ids(texts, template.room(self.max_length)))
        own = TokenSlices(ids, np.cumsum(lengths) - lengths, lengths, template.types[0])
        return template.around(len(texts), ids.dtype, (own,))

    def template(self, n_texts: int) -> SpecialTokenTemplate:
        """Return the special tokens around one text or a pair, as seen around an example."""
        if n_texts not in self._templates:
            lengths = dict(zip(_EXAMPLES, map(len, self.plain(_EXAMPLES)), strict=True))
            example, n_own = next(((text, n) for text, n in lengths.items() if n), ("", 0))
            if not n_own:
                raise ConfigError(
                    f"the tokenizer {self._tokenizer.name_or_path!r} has no token for any of "
                    f"{', '.join(_EXAMPLES)} (give another tokenizer)"
                )
            ids, types, special = self._whole([example] * n_texts)
            own = np.flatnonzero(np.equal(special, 0)).reshape(n_texts, n_own)
            starts, ends = [0, *(own[:, -1] + 1)], [*own[:, 0], len(ids)]
            self._templates[n_texts] = SpecialTokenTemplate(
                [
                    (ids[start:end], np.array(types[start:end], np.int64))
                    for start, end in zip(starts, ends, strict=True)
                ],
                [types[place] for place in own[:, 0]],
            )
        return self._templates[n_texts]

    def kept_end(self, ids: Sequence[int], n_kept: int) -> Sequence[int]:
        """Return the ``n_kept`` ids that truncation leaves of a text without instruction."""
        return ids[len(ids) - n_kept :] if self._left else ids[:n_kept]

    def _whole(self, texts: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
        """Ids and types of one text or a pair, and 1 where a token is special."""
        if self._backend is None:
            encoded = self._tokenizer(*texts, return_special_tokens_mask=True)
            ids = encoded["input_ids"]
            types = encoded.get("token_type_ids", [0] * len(ids))
            return ids, types, encoded["special_tokens_mask"]
        self._truncate(False)
        encoding = self._backend.encode(*texts)
        types = encoding.type_ids if self._wants_types else [0] * len(encoding)
        return encoding.ids, types, encoding.special_tokens_mask

    def _truncate(self, on: bool) -> None:
        # Set at each call: both sides share the backend.
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
        """Return token types if any is not 0; the longest text has all types of a template."""
        if self._wants_types and encodings and any(max(encodings, key=len).type_ids):
            return [e.type_ids for e in encodings]
        return None

    def _cut_behind_instruction(self, texts: Sequence[str]) -> tuple[Ids, Ids | None]:
        """Return tokens of texts, cut on the left behind their instruction if too long."""
        plain = [str(text) for text in texts]
        ids: Ids
        types: Ids | None
        if self._backend is None:
            encoded = self._tokenizer(plain, return_special_tokens_mask=True, verbose=False)
            ids, types = encoded["input_ids"], encoded.get("token_type_ids")
            special = [
                self._special(*one) for one in zip(ids, encoded["special_tokens_mask"], strict=True)
            ]
        else:
            self._truncate(False)
            encodings = self._backend.encode_batch_fast(plain)
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
        """Return the indices that a text keeps: special tokens, its instruction, and its end."""
        is_special = np.array(special, bool)
        first = int(np.argmin(is_special))
        last = len(special) - int(np.argmin(is_special[::-1]))
        room = max(self.max_length - first - (len(special) - last), 0)
        own = self._head_and_tail(range(first, last), instruction, room)
        return [*range(first), *own, *range(last, len(special))]

    def _head_and_tail(self, places: Sequence[int], instruction: str, n_kept: int) -> list[int]:
        """Return ``n_kept`` of a text's indices: first those of the instruction, then the last."""
        if len(places) <= n_kept:
            return list(places)
        head = min(self._n_tokens(instruction), n_kept)
        return [*places[:head], *places[len(places) - (n_kept - head) :]]

    def _special(self, ids: Sequence[int], mask: Sequence[int]) -> Sequence[int]:
        """Return 1 for special tokens: the tokenizer's mask, unless its class added ids."""
        if len(mask) == len(ids):
            return mask
        special = set(self._tokenizer.all_special_ids)
        return [int(one in special) for one in ids]

    def _n_tokens(self, instruction: str) -> int:
        if instruction not in self._lengths:
            if len(self._lengths) >= _MOST_INSTRUCTIONS:
                self._lengths.clear()
            # Without its last space, which a tokenizer may join to the first word of the text.
            self._lengths[instruction] = len(self.plain([instruction.rstrip()])[0])
        return self._lengths[instruction]

    def _pairs_cut_behind_instruction(
        self, pairs: Sequence[tuple[str, str]]
    ) -> tuple[Ids, Ids | None]:
        """Return tokens of pairs, both texts cut on the left behind their instructions."""
        self._truncate(False)
        encodings = self._backend.encode_batch([(str(query), str(key)) for query, key in pairs])
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
        """Return the indices that a pair keeps, as many of each text as under LongestFirst."""
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


def _each_instructed(texts: Sequence[str], instruction: Instructions) -> list[str]:
    if isinstance(instruction, str):
        return [InstructedText(instruction, text) for text in texts]
    instructions = instruction.texts()
    return [
        InstructedText(own, text) if own else text
        for own, text in zip(instructions, texts, strict=True)
    ]


def _tokens(ids: Ids, types: Ids | None) -> Tokens:
    return Tokens((TokenSlices.of_lists(ids, types),))


def _instruction_of(text: str) -> str:
    return text.instruction if isinstance(text, InstructedText) else ""
