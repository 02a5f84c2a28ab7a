"""Tokens of texts without special ones; each word is tokenized once where that is exact."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase

# Words that are remembered, some 150 bytes each; when there are more, they are forgotten.
_MOST_WORDS = 1 << 18

# Up to so many, most words of the next text are new, whatever they were of the last.
_FEW_WORDS = 1 << 10

# Of more encodings at a time Python's garbage collector takes notice: it looks through all that is
# in memory, for a third of a second where torch and transformers are.
_WORDS_AT_ONCE = 128


class PlainTokens:
    """Tokens of texts without special ones, however long; and the copy of the tokenizer for all.

    Args:
        tokenizer: from transformers, fast or slow.

    Attributes:
        backend: of a fast tokenizer, a copy, so that no setting of the caller's changes; None of a
            slow one.
        words: the memo of a tokenizer that takes a text word by word; else None.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.backend: Tokenizer | None = None
        self.words: WordMemo | None = None
        if tokenizer.is_fast:
            self.backend = deepcopy(tokenizer.backend_tokenizer)
            self.backend.encode_special_tokens = tokenizer.split_special_tokens
            self.backend.no_padding()
            if takes_words_apart(self.backend):
                self.words = WordMemo(self.backend)

    def __call__(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The ids of each text."""
        if self.words is not None:
            return [np.frombuffer(ids, np.int32).tolist() for ids in self.words.ids(texts)]
        if self.backend is None:
            ids: list[Sequence[int]] = self._tokenizer(
                list(texts), add_special_tokens=False, verbose=False
            )["input_ids"]
            return ids
        self.backend.no_truncation()
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


class WordMemo(dict[str, bytes]):
    """The tokens of words, as bytes of int32, which the tokenizer is asked for once.

    Args:
        backend: a tokenizer that :func:`takes_words_apart`.
    """

    def __init__(self, backend: Tokenizer) -> None:
        super().__init__()
        self._backend = backend
        self._is_young = True

    def __reduce__(self) -> tuple[Any, ...]:
        return WordMemo, (self._backend,)

    def __missing__(self, word: str) -> bytes:
        if len(self) >= _MOST_WORDS:
            self.clear()
            self._is_young = True
        self._backend.no_truncation()
        ids = self[word] = _bytes(self._backend.encode(word, add_special_tokens=False))
        return ids

    def _learn(self, texts: Sequence[str]) -> None:
        """Ask for all new words of texts at once, a third of the time, while most are new."""
        words = {word for text in texts for word in text.split(" ")}
        new = list(words - self.keys())
        self._is_young = 8 * len(new) > len(words) or len(self) < _FEW_WORDS
        if len(self) + len(new) > _MOST_WORDS:
            return
        self._backend.no_truncation()
        for start in range(0, len(new), _WORDS_AT_ONCE):
            some = new[start : start + _WORDS_AT_ONCE]
            encodings = self._backend.encode_batch_fast(some, add_special_tokens=False)
            self.update(zip(some, map(_bytes, encodings), strict=True))

    def ids(self, texts: Sequence[str], room: int | None = None) -> list[bytes]:
        """The ids of each text, int32, its first ``room`` at most."""
        if self._is_young and texts:
            self._learn(texts)
        # Only at the space: what else Python takes for white space, a tokenizer may not.
        if room is None:
            return [b"".join(map(self.__getitem__, text.split(" "))) for text in texts]
        joined, n_bytes = [], 4 * room
        for text in texts:
            # A word mostly has a token or more, so what comes after so many words is not looked at.
            words = text.split(" ", room)
            rest = words.pop() if len(words) > room else None
            ids = b"".join(map(self.__getitem__, words))
            if rest is not None and len(ids) < n_bytes:
                ids += b"".join(map(self.__getitem__, rest.split(" ")))
            joined.append(ids[:n_bytes])
        return joined


def _bytes(encoding: Encoding) -> bytes:
    return array("i", encoding.ids).tobytes()


def takes_words_apart(backend: Tokenizer) -> bool:
    """Whether the tokens of a text are those of its words, between spaces, one after the other.

    So it is with BERT's tokenizers, and those of the same make: no step of theirs looks across a
    space, but for added tokens that hold one.
    """
    added = backend.get_added_tokens_decoder().values()
    return (
        isinstance(backend.normalizer, normalizers.BertNormalizer)
        and isinstance(backend.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and isinstance(backend.model, models.WordPiece)
        and not any(" " in token.content or token.single_word for token in added)
    )


def joined_ids(lists: Sequence[bytes]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Bytes of int32 end to end, and how many ids each has."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists)) // 4
    return np.frombuffer(b"".join(lists), np.int32), lengths
