"""Token ids without special tokens or truncation, equal to those of the tokenizer's own call."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
from functools import cache

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.custom_tokenizers import (
    backend_settings_kept,
    has_custom_call,
    probe_texts,
)
from llm_embedder_data.batches.tokens.tokenizer_digest import is_random
from llm_embedder_data.batches.tokens.word_memo import WordMemo, takes_words_apart
from llm_embedder_data.core.errors import ConfigError

logger = logging.getLogger(__name__)


class BareTokenizer:
    """Tokenizes texts without special tokens and without truncation.

    The ids equal those of the tokenizer's own call. Two shortcuts make this faster: calling the
    backend (the Rust tokenizer) without the Python wrapper around it, and remembering the ids of
    single words. A shortcut is taken only if it is known to be exact for this kind of tokenizer and
    gives the right ids for the probe texts.

    Args:
        tokenizer: a transformers tokenizer, fast or slow, or an object of a user's subclass.

    Attributes:
        backend: a copy of the tokenizer's backend, so that the settings of the caller's tokenizer
            are not changed. None if texts go through the tokenizer's own call, because it is slow
            or its class changes texts or ids.
        words: remembers the ids of words, if the tokenizer splits texts into words that do not
            affect each other; otherwise None.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.backend: Tokenizer | None = None
        self.words: WordMemo | None = None
        if not tokenizer.is_fast:
            return
        if has_custom_call(tokenizer):
            self._use_own_call("its class may change texts or ids")
            return
        self._refuse_empty_added_tokens()
        try:
            self.backend = deepcopy(tokenizer.backend_tokenizer)
        except Exception:  # a part is a Python object; tokenizers raises no narrower type
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
                    f"{self._name}: its added token {token.content!r} is empty after "
                    "normalization, and then the tokenizers library fails on some texts (add it as "
                    "AddedToken(..., normalized=False), or leave it out)"
                )

    def _try_out(self) -> None:
        """Check both shortcuts on the probe texts, and give up a shortcut with other ids."""
        assert self.backend is not None
        texts = probe_texts(self._tokenizer)
        with backend_settings_kept(self._tokenizer) as tokenizer:
            expected = [
                tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"]
                for special in (True, False)
            ]
        self.backend.no_truncation()
        for special, ids in zip((True, False), expected, strict=True):
            found = [self.backend.encode(text, add_special_tokens=special).ids for text in texts]
            if found != ids:
                self.backend = None
                self._use_own_call("its backend alone gives other tokens")
                return
        if takes_words_apart(self.backend):
            words = WordMemo(self.backend)
            if [np.frombuffer(ids, np.int32).tolist() for ids in words.ids(texts)] == expected[1]:
                self.words = WordMemo(self.backend)
            else:
                _say_once(
                    f"{self._name}: single words have other tokens than the same words in a text, "
                    "so whole texts are tokenized, which is slower"
                )

    def _use_own_call(self, reason: str) -> None:
        _say_once(
            f"{self._name}: {reason}, so texts are tokenized by its own call, which is slower than "
            "its backend alone"
        )
        try:
            ids = self._tokenizer(
                ["a b", ""], truncation=True, max_length=64, return_special_tokens_mask=True
            )["input_ids"]
            is_right = len(ids) == 2 and all(
                isinstance(i, int) for text_ids in ids for i in text_ids
            )
        except Exception as error:  # a user's class may raise anything
            raise ConfigError(
                f"{self._name} cannot be called with a list of texts, truncation, max_length and "
                f"return_special_tokens_mask: {type(error).__name__}: {error} (its call must take "
                "what transformers' tokenizers take)"
            ) from error
        if not is_right:
            raise ConfigError(
                f"{self._name} does not return a list of ids for each text of a list (its call "
                "must return what transformers' tokenizers return)"
            )

    @property
    def _name(self) -> str:
        kind = type(self._tokenizer)
        return f"the tokenizer {kind.__module__}.{kind.__qualname__}"

    def __call__(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """Return the ids of each text."""
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
