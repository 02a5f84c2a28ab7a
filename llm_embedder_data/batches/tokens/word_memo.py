"""A cache of the tokens of words, for tokenizers that tokenize each word of a text on its own."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from sys import getsizeof
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, models, normalizers, pre_tokenizers

# How many bytes of memory the cache may take; when it takes more, it is emptied.
_MOST_BYTES = 64 << 20

# How many bytes an entry takes in addition to its characters and ids, mostly in the dictionary.
_BYTES_BESIDE = 100

# Longer words, in characters, are not cached: in a script without spaces a whole text is one word,
# which is unlikely to come again.
_LONGEST_WORD = 40


class WordMemo(dict[str, bytes]):
    """Caches the ids of words, as bytes of int32, in a bounded amount of memory.

    Args:
        backend: a tokenizer for which :func:`takes_words_apart` holds.
    """

    def __init__(self, backend: Tokenizer) -> None:
        super().__init__()
        self._backend = backend
        self._n_bytes = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return WordMemo, (self._backend,)

    def __missing__(self, word: str) -> bytes:
        self._backend.no_truncation()
        ids = _bytes(self._backend.encode(word, add_special_tokens=False))
        if len(word) <= _LONGEST_WORD:
            if self._n_bytes > _MOST_BYTES:
                self.clear()
                self._n_bytes = 0
            self[word] = ids
            self._n_bytes += getsizeof(word) + getsizeof(ids) + _BYTES_BESIDE
        return ids

    def ids(self, texts: Sequence[str], room: int | None = None) -> list[bytes]:
        """Return the ids of each text as bytes of int32, truncated to the first ``room`` ids."""
        # Split at the space only: tokenizers disagree with Python on other white space.
        if room is None:
            return [b"".join(map(self.__getitem__, text.split(" "))) for text in texts]
        joined, n_bytes = [], 4 * room
        for text in texts:
            # Most words have a token or more, so the first ``room`` words are usually enough.
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
    """Return whether the tokens of a text are the concatenated tokens of its words.

    Words are separated by spaces. This holds for BERT-like tokenizers, because none of their steps
    looks across a space, unless an added token contains a space or a character normalized to one.
    """
    normalizer = backend.normalizer
    if not (
        isinstance(normalizer, normalizers.BertNormalizer)
        and isinstance(backend.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and isinstance(backend.model, models.WordPiece)
    ):
        return False
    for token in backend.get_added_tokens_decoder().values():
        forms = [token.content]
        if token.normalized:
            forms.append(normalizer.normalize_str(token.content))
        if token.single_word or any(not form or _has_blank(form) for form in forms):
            return False
    return True


def _has_blank(text: str) -> bool:
    """Return whether a text has white space, or a control character that may count as such."""
    return any(character.isspace() or not character.isprintable() for character in text)


def joined_ids(lists: Sequence[bytes]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the ids of several texts as one array, and the number of ids of each text."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists)) // 4
    return np.frombuffer(b"".join(lists), np.int32), lengths
