"""Find tokenizers whose own call cannot be bypassed, and give probe texts to try them with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

# Methods of a tokenizer between a text and its ids. transformers' own versions change neither, so
# the backend alone gives the same ids.
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

# More of them in a slow tokenizer: between the ids of a text and the ids of the model's input.
_METHODS_OF_A_SLOW_CALL = ("prepare_for_model", "truncate_sequences", "num_special_tokens_to_add")

# Most added tokens that probe texts are made of: some tokenizers have thousands, all alike.
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

    User classes do that to change texts or ids, and so do transformers' classes with other inputs.
    The backend alone may then give other ids than the call.
    """
    slow = () if tokenizer.is_fast else _METHODS_OF_A_SLOW_CALL
    names = (*_METHODS_OF_A_CALL, *slow)
    if any(name in vars(tokenizer) for name in names):
        return True
    if tokenizer.is_fast and type(tokenizer.backend_tokenizer) is not Tokenizer:
        return True
    return any(not _is_transformers_own(type(tokenizer), name) for name in names)


def _is_transformers_own(kind: type, name: str) -> bool:
    """Return whether the base classes of transformers, and no model's class, define a method."""
    for base in kind.__mro__:
        if name in vars(base):
            module = base.__module__
            # Multilingual tokenizers set the source language there, which is part of the backend.
            if name == "_switch_to_input_mode" and module.startswith("transformers."):
                return True
            return base is object or module.startswith("transformers.tokenization_")
    return True


def probe_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return probe texts: unusual characters, and the tokenizer's added tokens in all contexts."""
    added = {str(token): token for token in tokenizer.added_tokens_decoder.values()}

    def is_plain(content: str) -> tuple[bool, int]:
        """Sort unusual tokens before plain ones, then by length."""
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
    """Give the tokenizer for some calls; then restore its backend's truncation and padding."""
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
