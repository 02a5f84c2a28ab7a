"""Text to token ids, padded: what the tokenizer's own call gives, but for an instruction kept whole."""

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

    The tensors equal ``tokenizer(texts, truncation=True, padding=True, max_length=...)``. One thing differs:
    a tokenizer that truncates on the left would cut the instruction off first; here the text loses tokens
    and the instruction stays, on either side. A fast tokenizer is called without the wrapper, on a copy of
    its own, so no setting of the caller's tokenizer changes.

    Args:
        tokenizer: from transformers, fast or slow.
        max_length: tokens, special tokens included.
        pad_to_multiple_of: pad to a multiple of so many tokens; None for the longest text's length.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        if tokenizer.pad_token_id is None:
            raise ConfigError(
                f"the tokenizer {tokenizer.name_or_path!r} has no padding token, which batches need (set "
                "tokenizer.pad_token, for instance to its eos_token)"
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
        """Tokens of texts, each with ``instruction`` in front: tensors ``[len(texts), L]`` int64."""
        if instruction:
            texts = [InstructedText(instruction, text) for text in texts]
        if self._backend is None:
            return self._padded(*self._slow(texts, None))
        if not (self._left and any(isinstance(text, InstructedText) for text in texts)):
            encodings = self._backend.encode_batch_fast([str(text) for text in texts])
            return self._padded([e.ids for e in encodings], self._types(encodings))
        self._truncate(False)
        encodings = self._backend.encode_batch_fast([str(text) for text in texts])
        ids = [e.ids for e in encodings]
        for i, text in enumerate(texts):
            if len(ids[i]) > self.max_length:
                ids[i] = self._shortened(encodings[i], getattr(text, "instruction", ""))
        self._truncate(True)
        return self._padded(ids, None)

    def pairs(self, queries: Sequence[str], keys: Sequence[str]) -> dict[str, Tensor]:
        """Tokens of (query, key) pairs for a cross-encoder, ``[len(keys), L]`` int64, longest cut first."""
        if self._backend is None:
            return self._padded(*self._slow(queries, keys))
        if not (self._left and any(isinstance(text, InstructedText) for text in [*queries, *keys])):
            pairs = [(str(query), str(key)) for query, key in zip(queries, keys, strict=True)]
            encodings = self._backend.encode_batch_fast(pairs)
        else:
            encodings = [self._pair(query, key) for query, key in zip(queries, keys, strict=True)]
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
                f"{setting}={self.max_length}: the instruction {instruction!r} takes {len(ids)} tokens, special "
                f"tokens included, and leaves none for the text (give at least {len(ids) + 1}, or set "
                "data.add_instruction=false)"
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

    def _shortened(self, encoding: Any, instruction: str) -> list[int]:
        """The tokens of a text that is too long: special tokens, instruction, and the text's end."""
        ids: list[int] = encoding.ids
        special = np.array(encoding.special_tokens_mask, bool)
        first = int(np.argmin(special))
        last = len(ids) - int(np.argmin(special[::-1]))
        kept = self._instruction_ids(instruction)
        room = self.max_length - first - (len(ids) - last) - len(kept)
        body = ids[first:last]
        return [*ids[:first], *kept, *body[len(body) - max(room, 0) :], *ids[last:]]

    def _instruction_ids(self, instruction: str) -> list[int]:
        # Without its last space, which a tokenizer may have joined to the first word of the text.
        ids: list[int] = self._backend.encode(instruction.rstrip(), add_special_tokens=False).ids
        return ids

    def _pair(self, query: str, key: str) -> Any:
        """One pair cut on the left, each text behind its instruction, the longer one first."""
        self._truncate(False)
        parts = [self._backend.encode(str(text), add_special_tokens=False) for text in (query, key)]
        room = self.max_length - self._backend.num_special_tokens_to_add(True)
        shorter = min(len(part.ids) for part in parts)
        lengths = [
            min(
                len(part.ids),
                max(room - shorter, room - room // 2) if i == 0 else max(room - shorter, room // 2),
            )
            for i, part in enumerate(parts)
        ]
        cut = []
        for part, text, length in zip(parts, (query, key), lengths, strict=True):
            if len(part.ids) > length:
                n_kept = len(self._instruction_ids(getattr(text, "instruction", "")))
                head, tail = deepcopy(part), deepcopy(part)
                head.truncate(n_kept, direction="right")
                tail.truncate(length - n_kept, direction="left")
                part = type(part).merge([head, tail], growing_offsets=False)
            cut.append(part)
        joined = self._backend.post_process(*cut)
        self._truncate(True)
        return joined

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


def _filled(rows: Ids, real: NDArray[np.bool_], padding: int) -> NDArray[np.int64]:
    out = np.full(real.shape, padding, np.int64)
    out[real] = np.fromiter(chain.from_iterable(rows), np.int64, int(real.sum()))
    return out
