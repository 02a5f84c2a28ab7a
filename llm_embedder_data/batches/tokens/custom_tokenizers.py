"""Where tokens may be had past a tokenizer's own call, and texts that show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

# What stands between a text and its ids; where it is transformers' own, it changes neither.
_ON_THE_WAY = (
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

# The same of a slow tokenizer, between the ids of a text and those of a model's input.
_BEHIND_THE_IDS = ("prepare_for_model", "truncate_sequences", "num_special_tokens_to_add")

# Added tokens that probes are made of, at most: some tokenizers have thousands, all alike.
_MOST_ADDED = 48

# Blanks of every kind, letters that a normalizer changes, scripts without spaces, marks that join
# what stands before them, and characters that are removed.
_PIECES = (
    " \t \n\n\r\n \u00a0\u00a0 \u2003\u3000 \u2028 \x1c \x85 ",
    "The  Naïve café, İstanbul's ﬁne STRAßE… ΑΣ",
    "日本語 中文文本 ภาษาไทย العربية हिन्दी 한국어",
    "\u0301a \u0308 e\u0301\u0323 \u200d \U0001f469\u200d\U0001f680 \ufeffx a\x00b \u00ad",
    "don't 3.14, (42%) snake_case ▁x Ġy <b>&amp;</b> a-b",
)


def has_custom_call(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer's class, or this object, has a call of its own.

    So are a class of the user's that changes texts or ids, and those of transformers' classes that
    take other input. Tokens past their call may be others.
    """
    names = _ON_THE_WAY if tokenizer.is_fast else (*_ON_THE_WAY, *_BEHIND_THE_IDS)
    if any(name in vars(tokenizer) for name in names):
        return True
    if tokenizer.is_fast and type(tokenizer.backend_tokenizer) is not Tokenizer:
        return True
    return any(not _is_transformers_own(type(tokenizer), name) for name in names)


def _is_transformers_own(kind: type, name: str) -> bool:
    for one in kind.__mro__:
        if name in vars(one):
            where = one.__module__
            # Multilingual ones set the source language there, which is part of their backend.
            if name == "_switch_to_input_mode" and where.startswith("transformers."):
                return True
            return one is object or where.startswith("transformers.tokenization_")
    return True


def probe_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Texts in which a tokenizer's added tokens stand in every way, and odd characters."""
    added = {str(token): token for token in tokenizer.added_tokens_decoder.values()}

    def is_plain(content: str) -> tuple[bool, int]:
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
    """Calls of the tokenizer, after which its backend truncates and pads as before."""
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
