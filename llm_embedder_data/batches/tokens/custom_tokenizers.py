"""Detects tokenizers whose own call cannot be bypassed, and provides probe texts to test others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

# Methods that a tokenizer's call runs between a text and its ids. In transformers' own versions
# they change neither, so the backend alone gives the same ids.
_METHODS_OF_A_CALL = (
    "__call__",
    "__getattribute__",
    "_convert_encoding",
    "_encode_plus",
    "_get_padding_truncation_strategies",
    "_switch_to_input_mode",
    "backend_tokenizer",
    "encode_batch",
    "set_truncation_and_padding",
)

# A slow tokenizer has more of them, between the ids of a text and the ids of the model's input.
_METHODS_OF_A_SLOW_CALL = ("prepare_for_model", "truncate_sequences", "num_special_tokens_to_add")

# The most added tokens to make probe texts from: some tokenizers have thousands of similar ones.
_MOST_ADDED = 48

# All kinds of white space, letters that normalizers change, scripts without spaces, combining
# marks, and characters that normalizers remove.
_PIECES = (
    " \t \n\n\r\n \u00a0\u00a0 \u2003\u3000 \u2028 \x1c \x85 ",
    "The  Naïve café, İstanbul's ﬁne STRAßE… ΑΣ",
    "日本語 中文文本 ภาษาไทย العربية हिन्दी 한국어",
    "\u0301a \u0308 e\u0301\u0323 \u200d \U0001f469\u200d\U0001f680 \ufeffx a\x00b \u00ad",
    "don't 3.14, (42%) snake_case ▁x Ġy <b>&amp;</b> a-b",
)


def has_custom_call(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer's class, or this object, overrides a method of the call.

    Users' classes do this to change texts or ids; so do some model classes of transformers, for
    special inputs. The backend alone may then give other ids than the call.
    """
    slow = () if tokenizer.is_fast else _METHODS_OF_A_SLOW_CALL
    names = (*_METHODS_OF_A_CALL, *slow)
    if any(name in vars(tokenizer) for name in names):
        return True
    if tokenizer.is_fast and type(tokenizer.backend_tokenizer) is not Tokenizer:
        return True
    return any(not _is_transformers_own(type(tokenizer), name) for name in names)


def _is_transformers_own(kind: type, name: str) -> bool:
    """Return whether a method is that of transformers' base classes, not of a model's class."""
    for base in kind.__mro__:
        if name in vars(base):
            module = base.__module__
            # Multilingual tokenizers set the source language there, which is part of the backend.
            if name == "_switch_to_input_mode" and module.startswith("transformers."):
                return True
            return base is object or module.startswith("transformers.tokenization_")
    return True


def probe_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return probe texts: unusual characters, and the added tokens in several contexts."""
    added = {str(token): token for token in tokenizer.added_tokens_decoder.values()}

    def is_plain(content: str) -> tuple[bool, int]:
        """Return a sort key that puts unusual tokens before plain ones, and short before long."""
        token = added[content]
        odd = not content.strip() or content != content.strip() or not content.isascii()
        flags = (token.lstrip, token.rstrip, token.single_word, not token.special)
        return not (odd or any(flags)), len(content)

    texts = ["", *_PIECES, " ".join(_PIECES)]
    for content in sorted(added, key=is_plain)[:_MOST_ADDED]:
        texts += [
            f"a {content} b",
            f"a{content}b",
            f"{content}a\n{content}",
            f" {content}{content} ",
            f"\u00a0{content}\t{content.upper()} {content.lower()}.",
        ]
    return texts


@contextmanager
def backend_settings_kept(tokenizer: PreTrainedTokenizerBase) -> Iterator[PreTrainedTokenizerBase]:
    """Lend the tokenizer for some calls, then restore its backend's truncation and padding."""
    backend: Any = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    truncation, padding = getattr(backend, "truncation", None), getattr(backend, "padding", None)
    try:
        yield tokenizer
    finally:
        if backend is not None:
            backend.no_truncation()
            backend.no_padding()
        if truncation:
            backend.enable_truncation(**truncation)
        if padding:
            backend.enable_padding(**padding)
