"""Turns texts into token ids as the tokenizer's own call does, but never truncates instructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.batches.tokens.left_truncation import (
    InstructedText,
    LeftTruncation,
    instruction_of,
)
from llm_embedder_data.batches.tokens.row_instructions import Instructions
from llm_embedder_data.batches.tokens.special_tokens import SpecialTokenTemplate
from llm_embedder_data.batches.tokens.token_slices import Tokens, TokenSlices
from llm_embedder_data.batches.tokens.word_memo import WordMemo, joined_ids
from llm_embedder_data.core.errors import ConfigError

Ids = list[list[int]]

# The special tokens around a text are found by tokenizing the first of these that has a token.
_EXAMPLES = ("a", "1", ".", "A", "the", "é", "。", "_")


class TextTokenizer:
    """Tokenizes the texts of one side, queries or keys, to at most ``max_length`` token ids each.

    The ids equal those of ``tokenizer(texts, truncation=True, max_length=...)``, with one
    exception. A tokenizer that truncates on the left would cut off the instruction first; here the
    instruction stays and the text loses its first tokens. (Pairs are not covered by this exception
    if the tokenizer is slow.)

    For speed, a fast tokenizer is bypassed: a copy of its backend is called, so the caller's
    tokenizer keeps its settings. A tokenizer whose class may change texts or ids is called itself.

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
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.plain = plain or BareTokenizer(tokenizer)
        self._wants_types = "token_type_ids" in tokenizer.model_input_names
        self._left = tokenizer.truncation_side == "left"
        self._left_truncation = LeftTruncation(max_length, self.plain)
        self._templates: dict[int, SpecialTokenTemplate] = {}
        self._backend: Any = self.plain.backend

    def __call__(self, texts: Sequence[str], instruction: Instructions = "") -> Tokens:
        """Return the tokens of texts, each preceded by its instruction."""
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
        if self._left and any(instruction_of(text) for pair in pairs for text in pair):
            return _tokens(*self._pairs_cut_behind_instruction(pairs))
        self._truncate(True)
        encodings = self._backend.encode_batch_fast(
            [(str(query), str(key)) for query, key in pairs]
        )
        return _tokens([e.ids for e in encodings], [e.type_ids for e in encodings])

    def check_room(self, instruction: str, setting: str) -> None:
        """Check that ``max_length`` leaves room for a token of a text.

        Args:
            instruction: the instruction put before each text; empty if there is none.
            setting: name of the setting that gives ``max_length``.

        Raises:
            ConfigError: no room is left; the message names the setting, its value and the smallest
                value that would do.
        """
        n_special = self._n_special(1)
        if self.max_length <= n_special:
            raise ConfigError(
                f"{setting}={self.max_length}: the tokenizer puts {n_special} special tokens "
                "around each text, which leaves none for the text itself (give at least "
                f"{n_special + 1})"
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
        """Check that ``max_length`` leaves each text of a pair a token after its instruction.

        Args:
            query_instruction: the instruction put before each query; empty if there is none.
            key_instruction: the instruction put before each key; empty if there is none.
            settings: names of the settings whose sum is ``max_length``.

        Raises:
            ConfigError: no room is left; the message names the settings, their sum and the smallest
                sum that would do.
        """
        n_special = self._n_special(2)
        longest = max(
            self._n_whole(instruction) - self._n_special(1) if instruction else 0
            for instruction in (query_instruction, key_instruction)
        )
        least = n_special + 2 * (longest + 1)  # the longer text keeps at least half of the room
        if self.max_length < least:
            instruction = f" an instruction of {longest} tokens and" if longest else ""
            raise ConfigError(
                f"{settings}={self.max_length}: a pair takes {n_special} special tokens, and half "
                f"of the remaining tokens must hold{instruction} a token of a text (give at least "
                f"{least} in all)"
            )

    def _n_special(self, n_texts: int) -> int:
        """Return the number of special tokens around one text or a pair."""
        if self._backend is not None:
            return int(self._backend.num_special_tokens_to_add(n_texts == 2))
        n_special = self._tokenizer.num_special_tokens_to_add(pair=n_texts == 2)
        if n_texts == 2:
            return n_special
        return max(n_special, len(self._tokenizer([""])["input_ids"][0]))  # its class may add more

    def _n_whole(self, text: str) -> int:
        """Return the number of tokens of a text, special tokens included."""
        if self._backend is None:
            return len(self._tokenizer([text])["input_ids"][0])
        self._truncate(False)
        return len(self._backend.encode(text))

    def _by_words(self, texts: Sequence[str], words: WordMemo) -> Tokens:
        """Return the tokens of texts, assembled from remembered words."""
        template = self.template(1)
        ids, lengths = joined_ids(words.ids(texts, template.room(self.max_length)))
        slices = TokenSlices(ids, np.cumsum(lengths) - lengths, lengths, template.types[0])
        return template.around(len(texts), ids.dtype, (slices,))

    def template(self, n_texts: int) -> SpecialTokenTemplate:
        """Return the special tokens around one text or a pair, found by tokenizing an example."""
        if n_texts not in self._templates:
            lengths = dict(zip(_EXAMPLES, map(len, self.plain(_EXAMPLES)), strict=True))
            example, n_tokens = next(((text, n) for text, n in lengths.items() if n), ("", 0))
            if not n_tokens:
                raise ConfigError(
                    f"the tokenizer {self._tokenizer.name_or_path!r} has no token for any of "
                    f"{', '.join(_EXAMPLES)} (give another tokenizer)"
                )
            ids, types, special = self._whole([example] * n_texts)
            # [texts, tokens of the example]: where each text's tokens are; the rest is special.
            of_text = np.flatnonzero(np.equal(special, 0)).reshape(n_texts, n_tokens)
            starts, ends = [0, *(of_text[:, -1] + 1)], [*of_text[:, 0], len(ids)]
            self._templates[n_texts] = SpecialTokenTemplate(
                [
                    (ids[start:end], np.array(types[start:end], np.int64))
                    for start, end in zip(starts, ends, strict=True)
                ],
                [types[start] for start in of_text[:, 0]],
            )
        return self._templates[n_texts]

    def kept_end(self, ids: Sequence[int], n_kept: int) -> Sequence[int]:
        """Return the ``n_kept`` ids of a text without instruction that truncation keeps."""
        return ids[len(ids) - n_kept :] if self._left else ids[:n_kept]

    def _whole(self, texts: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
        """Return the ids and types of one text or a pair, and 1 for each special token."""
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
        """Set the backend's truncation, before each call, because both sides share the backend."""
        if on:
            side = "left" if self._left else "right"
            self._backend.enable_truncation(
                self.max_length, direction=side, strategy="longest_first"
            )
        else:
            self._backend.no_truncation()

    def _slow(self, texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[Ids, Ids | None]:
        """Return the ids and types that the tokenizer's own call gives."""
        encoded = self._tokenizer(
            [str(text) for text in texts],
            None if pairs is None else [str(text) for text in pairs],
            truncation=True,
            max_length=self.max_length,
        )
        return encoded["input_ids"], encoded.get("token_type_ids")

    def _types(self, encodings: Sequence[Any]) -> Ids | None:
        """Return the token types, or None if all are 0; looking at the longest text is enough."""
        if self._wants_types and encodings and any(max(encodings, key=len).type_ids):
            return [e.type_ids for e in encodings]
        return None

    def _cut_behind_instruction(self, texts: Sequence[str]) -> tuple[Ids, Ids | None]:
        """Return the tokens of texts; a text that is too long is cut after its instruction."""
        plain = [str(text) for text in texts]
        ids: Ids
        types: Ids | None
        if self._backend is None:
            encoded = self._tokenizer(plain, return_special_tokens_mask=True, verbose=False)
            ids, types = encoded["input_ids"], encoded.get("token_type_ids")
            special = [
                self._special(text_ids, mask)
                for text_ids, mask in zip(ids, encoded["special_tokens_mask"], strict=True)
            ]
        else:
            self._truncate(False)
            encodings = self._backend.encode_batch_fast(plain)
            ids, types = [e.ids for e in encodings], self._types(encodings)
            special = [e.special_tokens_mask for e in encodings]
        for i, text in enumerate(texts):
            if len(ids[i]) > self.max_length:
                kept = self._left_truncation.of_text(special[i], instruction_of(text))
                ids[i] = [ids[i][index] for index in kept]
                if types is not None:
                    types[i] = [types[i][index] for index in kept]
        return ids, types

    def _special(self, ids: Sequence[int], mask: Sequence[int]) -> Sequence[int]:
        """Return 1 for each special token of a text, otherwise 0.

        This is the tokenizer's mask, unless the tokenizer's class added ids that the mask lacks.
        """
        if len(mask) == len(ids):
            return mask
        special = set(self._tokenizer.all_special_ids)
        return [int(token in special) for token in ids]

    def _pairs_cut_behind_instruction(
        self, pairs: Sequence[tuple[str, str]]
    ) -> tuple[Ids, Ids | None]:
        """Return the tokens of pairs; texts that are too long are cut after their instructions."""
        self._truncate(False)
        encodings = self._backend.encode_batch([(str(query), str(key)) for query, key in pairs])
        ids, types = [], []
        for encoding, pair in zip(encodings, pairs, strict=True):
            kept = self._left_truncation.of_pair(encoding.sequence_ids, pair)
            pair_ids, pair_types = encoding.ids, encoding.type_ids
            ids.append([pair_ids[index] for index in kept])
            types.append([pair_types[index] for index in kept])
        return ids, types


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
