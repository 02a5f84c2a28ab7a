"""Tokens of texts without special ones; each word is tokenized once where that is exact."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from sys import getsizeof
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.own_call import (
    has_code_of_its_own,
    probe_texts,
    settings_kept,
)
from llm_embedder_data.batches.tokens.tokenizer_digest import is_random
from llm_embedder_data.core.errors import ConfigError

logger = logging.getLogger(__name__)

# Memory that remembered words may take, bytes; when there are more, all are forgotten.
_MOST_BYTES = 64 << 20

# Beside its characters and its ids a word takes so many bytes, of the dictionary for the most part.
_BYTES_BESIDE = 100

# Words that are longer, in characters, are not remembered. Where a script has no spaces, a whole
# text is a word, and does not come again.
_LONGEST_WORD = 40

# Up to so many, most words of the next text are new, whatever they were of the last.
_FEW_WORDS = 1 << 10

# Of more encodings at a time Python's garbage collector takes notice: it looks through all that is
# in memory, for a third of a second where torch and transformers are.
_WORDS_AT_ONCE = 128


class PlainTokens:
    """Tokens of texts without special ones, however long; and the copy of the tokenizer for all.

    The tokens are those of the tokenizer's own call. What makes them faster, its backend and words
    by themselves, is taken only where that is certain, and is tried out on a few texts.

    Args:
        tokenizer: from transformers, fast or slow, or of a class of the user's.

    Attributes:
        backend: a copy, so that no setting of the caller's changes; None where the tokenizer's own
            call is to be used: of a slow tokenizer, and of one whose class changes texts or ids.
        words: the memo of a tokenizer that takes a text word by word; else None.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.backend: Tokenizer | None = None
        self.words: WordMemo | None = None
        if not tokenizer.is_fast:
            return
        if has_code_of_its_own(tokenizer):
            self._use_own_call("its class changes texts or ids in a call of its own")
            return
        self._refuse_empty_added_tokens()
        try:
            self.backend = deepcopy(tokenizer.backend_tokenizer)
        except Exception:  # tokenizers has no narrower type for what cannot be copied
            self._use_own_call("parts of it are Python objects")
            return
        self.backend.encode_special_tokens = tokenizer.split_special_tokens
        self.backend.no_padding()
        if not is_random(tokenizer):
            self._try_out()

    def _refuse_empty_added_tokens(self) -> None:
        normalizer = self._tokenizer.backend_tokenizer.normalizer
        for token in self._tokenizer.added_tokens_decoder.values():
            is_changed = token.normalized and normalizer is not None
            if not (normalizer.normalize_str(token.content) if is_changed else token.content):
                raise ConfigError(
                    f"{self._name}: nothing is left of its added token {token.content!r} once it "
                    "is normalized, and then the tokenizers library fails on some texts (add it as "
                    "AddedToken(..., normalized=False), or leave it out)"
                )

    def _try_out(self) -> None:
        """Compare tokens of odd texts with those of the tokenizer's own call."""
        assert self.backend is not None
        texts = probe_texts(self._tokenizer)
        with settings_kept(self._tokenizer) as tokenizer:
            wanted = [
                tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"]
                for special in (True, False)
            ]
        self.backend.no_truncation()
        for special, ids in zip((True, False), wanted, strict=True):
            found = [self.backend.encode(text, add_special_tokens=special).ids for text in texts]
            if found != ids:
                self.backend = None
                self._use_own_call("its backend alone gives other tokens")
                return
        if takes_words_apart(self.backend):
            words = WordMemo(self.backend)
            if [np.frombuffer(ids, np.int32).tolist() for ids in words.ids(texts)] == wanted[1]:
                self.words = WordMemo(self.backend)
            else:
                _say_once(
                    f"{self._name}: words by themselves have other tokens than in a text, so whole "
                    "texts are tokenized, which takes longer"
                )

    def _use_own_call(self, reason: str) -> None:
        _say_once(
            f"{self._name}: {reason}, so texts are tokenized by its own call, which takes longer "
            "than its backend alone"
        )
        try:
            ids = self._tokenizer(
                ["a b", ""], truncation=True, max_length=64, return_special_tokens_mask=True
            )["input_ids"]
            is_right = len(ids) == 2 and all(isinstance(one, int) for own in ids for one in own)
        except Exception as error:  # code of the user's may raise anything
            raise ConfigError(
                f"{self._name} cannot be called with a list of texts, truncation, max_length and "
                f"return_special_tokens_mask: {type(error).__name__}: {error} (its call must take "
                "what transformers' tokenizers take)"
            ) from error
        if not is_right:
            raise ConfigError(
                f"{self._name} gives no list of ids for each text of a list (its call must return "
                "what transformers' tokenizers return)"
            )

    @property
    def _name(self) -> str:
        kind = type(self._tokenizer)
        return f"the tokenizer {kind.__module__}.{kind.__qualname__}"

    def __call__(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The ids of each text."""
        if self.words is not None:
            return [np.frombuffer(ids, np.int32).tolist() for ids in self.words.ids(texts)]
        if self.backend is None:
            if not texts:
                return []
            ids: list[Sequence[int]] = self._tokenizer(
                list(texts), add_special_tokens=False, verbose=False
            )["input_ids"]
            return ids
        self.backend.no_truncation()
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


@cache
def _say_once(message: str) -> None:
    logger.warning(message)


class WordMemo(dict[str, bytes]):
    """The tokens of words, as bytes of int32, which the tokenizer is asked for once.

    Its memory is bounded, whatever texts come.

    Args:
        backend: a tokenizer that :func:`takes_words_apart`.
    """

    def __init__(self, backend: Tokenizer) -> None:
        super().__init__()
        self._backend = backend
        self._is_young = True
        self._n_bytes = 0
        self._passing: dict[str, bytes] = {}  # the long words of the texts in hand

    def __reduce__(self) -> tuple[Any, ...]:
        return WordMemo, (self._backend,)

    def __missing__(self, word: str) -> bytes:
        if word in self._passing:
            return self._passing[word]
        self._backend.no_truncation()
        ids = _bytes(self._backend.encode(word, add_special_tokens=False))
        if len(word) <= _LONGEST_WORD:
            self._keep(word, ids)
        return ids

    def _keep(self, word: str, ids: bytes) -> None:
        if self._n_bytes > _MOST_BYTES:
            self.clear()
            self._n_bytes, self._is_young = 0, True
        self[word] = ids
        self._n_bytes += getsizeof(word) + getsizeof(ids) + _BYTES_BESIDE

    def _learn(self, texts: Sequence[str]) -> None:
        """Ask for all new words of texts at once, a third of the time, while most are new."""
        words = {word for text in texts for word in text.split(" ")}
        new = list(words - self.keys())
        self._is_young = 8 * len(new) > len(words) or len(self) < _FEW_WORDS
        self._backend.no_truncation()
        for start in range(0, len(new), _WORDS_AT_ONCE):
            some = new[start : start + _WORDS_AT_ONCE]
            encodings = self._backend.encode_batch_fast(some, add_special_tokens=False)
            for word, encoding in zip(some, encodings, strict=True):
                if len(word) <= _LONGEST_WORD:
                    self._keep(word, _bytes(encoding))
                else:
                    self._passing[word] = _bytes(encoding)

    def ids(self, texts: Sequence[str], room: int | None = None) -> list[bytes]:
        """The ids of each text, int32, its first ``room`` at most."""
        if not self._is_young or not texts:
            return self._joined(texts, room)
        self._learn(texts)
        try:
            return self._joined(texts, room)
        finally:
            self._passing.clear()

    def _joined(self, texts: Sequence[str], room: int | None) -> list[bytes]:
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
    space, but for added tokens that hold one, or what the normalizer makes one.
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
    """Whether a text has white space, or a control character that a tokenizer may take for it."""
    return any(character.isspace() or not character.isprintable() for character in text)


def joined_ids(lists: Sequence[bytes]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Bytes of int32 end to end, and how many ids each has."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists)) // 4
    return np.frombuffer(b"".join(lists), np.int32), lengths
