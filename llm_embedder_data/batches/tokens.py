"""Texts to padded token ids, as the tokenizer's own call, but with the instruction kept whole."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

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
    """One side's tokenizer: texts to padded tensors of at most ``max_length`` tokens.

    The tensors equal ``tokenizer(texts, truncation=True, padding=True, max_length=...)``. One thing
    differs: a tokenizer that truncates on the left would cut the instruction off first; here the
    text loses tokens and the instruction stays, on either side (pairs of a slow tokenizer
    excepted). A fast tokenizer is called without the wrapper, on a copy of its own, so no setting
    of the caller's tokenizer changes.

    Args:
        tokenizer: from transformers, fast or slow.
        max_length: tokens, special tokens included.
        pad_to_multiple_of: pad to a multiple of so many tokens; None for the longest text's length.

    Raises:
        ConfigError: a tokenizer without a padding token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        if tokenizer.pad_token_id is None:
            raise ConfigError(
                f"the tokenizer {tokenizer.name_or_path!r} has no padding token, which batches "
                "need (set tokenizer.pad_token, for instance to its eos_token)"
            )
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.pad_to_multiple_of = pad_to_multiple_of
        self._wants_types = "token_type_ids" in tokenizer.model_input_names
        self._left = tokenizer.truncation_side == "left"
        self._backend: Any = None
        if tokenizer.is_fast:
            self._backend = deepcopy(tokenizer.backend_tokenizer)
            self._backend.encode_special_tokens = tokenizer.split_special_tokens
            self._backend.no_padding()
            self._truncate(True)

    def __call__(self, texts: Sequence[str], instruction: str = "") -> dict[str, Tensor]:
        """Tokens of texts, each behind ``instruction``: tensors ``[len(texts), L]`` int64."""
        if instruction:
            texts = [InstructedText(instruction, text) for text in texts]
        if self._left and _any_instructed(texts):
            return self._padded(*self._cut_behind_instruction(texts))
        if self._backend is None:
            return self._padded(*self._slow(texts, None))
        encodings = self._backend.encode_batch_fast([str(text) for text in texts])
        return self._padded([e.ids for e in encodings], self._types(encodings))

    def pairs(self, queries: Sequence[str], keys: Sequence[str]) -> dict[str, Tensor]:
        """Tokens of (query, key) pairs, ``[len(keys), L]`` int64; the longer text is cut first."""
        if self._backend is None:
            return self._padded(*self._slow(queries, keys))
        if self._left and (_any_instructed(queries) or _any_instructed(keys)):
            self._truncate(False)
            encodings = [self._pair(query, key) for query, key in zip(queries, keys, strict=True)]
            self._truncate(True)
        else:
            pairs = [(str(query), str(key)) for query, key in zip(queries, keys, strict=True)]
            encodings = self._backend.encode_batch_fast(pairs)
        types = [e.type_ids for e in encodings] if self._wants_types else None
        return self._padded([e.ids for e in encodings], types)

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
        head = min(self._n_tokens(instruction), room)
        return [*range(first + head), *range(last - (room - head), len(special))]

    def _n_tokens(self, instruction: str) -> int:
        # Without its last space, which a tokenizer may have joined to the first word of the text.
        return len(self._tokenizer(instruction.rstrip(), add_special_tokens=False)["input_ids"])

    def _pair(self, query: str, key: str) -> Any:
        """One pair cut on the left, each text behind its instruction, the longer one first.

        How many tokens each keeps is the rule of tokenizers 0.23, ``LongestFirst``.
        """
        parts = [self._backend.encode(str(text), add_special_tokens=False) for text in (query, key)]
        room = self.max_length - self._backend.num_special_tokens_to_add(True)
        shorter, longer = sorted((0, 1), key=lambda i: len(parts[i].ids))
        if len(parts[0].ids) + len(parts[1].ids) > room:
            length = min(len(parts[shorter].ids), room // 2)
            parts[shorter] = self._cut(parts[shorter], (query, key)[shorter], length)
            parts[longer] = self._cut(parts[longer], (query, key)[longer], room - length)
        return self._backend.post_process(*parts)

    def _cut(self, part: Any, text: str, length: int) -> Any:
        """The first tokens of an encoding, which are the instruction's, and the last ones."""
        head, tail = deepcopy(part), deepcopy(part)
        n_kept = min(self._n_tokens(_instruction_of(text)), length)
        head.truncate(n_kept, direction="right")
        tail.truncate(length - n_kept, direction="left")
        return type(part).merge([head, tail], growing_offsets=False)

    def _padded(self, ids: Ids, types: Ids | None) -> dict[str, Tensor]:
        """Padded on the tokenizer's side, with the names that the tokenizer gives, in its order."""
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        width = int(lengths.max(initial=0))
        multiple = self.pad_to_multiple_of or 1
        width += -width % multiple
        place = np.arange(width)
        if self._tokenizer.padding_side == "right":
            real = place < lengths[:, None]
        else:
            real = place >= width - lengths[:, None]
        out = {"input_ids": torch.from_numpy(_filled(ids, real, self._tokenizer.pad_token_id))}
        if self._wants_types:
            pad_type = self._tokenizer.pad_token_type_id
            filled = (
                np.where(real, 0, pad_type) if types is None else _filled(types, real, pad_type)
            )
            out["token_type_ids"] = torch.from_numpy(filled)
        out["attention_mask"] = torch.from_numpy(real.astype(np.int64))
        return out


def _any_instructed(texts: Sequence[str]) -> bool:
    return any(isinstance(text, InstructedText) for text in texts)


def _instruction_of(text: str) -> str:
    return text.instruction if isinstance(text, InstructedText) else ""


def _filled(rows: Ids, real: NDArray[np.bool_], padding: int) -> NDArray[np.int64]:
    out = np.full(real.shape, padding, np.int64)
    out[real] = np.fromiter(chain.from_iterable(rows), np.int64, int(real.sum()))
    return out
