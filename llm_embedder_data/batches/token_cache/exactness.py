"""Whether a tokenizer's output can be assembled exactly from cached tokens and special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.custom_tokenizers import (
    backend_settings_kept,
    has_custom_call,
    probe_texts,
)
from llm_embedder_data.batches.tokens.side_tokenizer import SideTokenizer, longest_first
from llm_embedder_data.batches.tokens.token_slices import Tokens, TokenSlices
from llm_embedder_data.batches.tokens.tokenizer_digest import is_random
from llm_embedder_data.core.errors import ConfigError

# Numbers of text tokens to truncate to in a trial: nearly none, a few, and enough for most texts.
_TRIED_ROOMS = (2, 5, 512)


def why_not_cached(
    tokenizer: PreTrainedTokenizerBase, side: SideTokenizer, pairs: bool
) -> str | None:
    """Say why tokens assembled from a table may differ from what the tokenizer's call returns.

    Args:
        tokenizer: a transformers tokenizer.
        side: a SideTokenizer of the same tokenizer.
        pairs: whether (query, key) pairs are to be tokenized.

    Returns:
        A clause whose subject "it" is the tokenizer, for an error message; None if the tokens are
        the same.
    """
    if is_random(tokenizer):
        return "it splits a text by chance, each time anew"
    if side.plain.backend is None and tokenizer.is_fast:
        return "its class may change texts or ids in its own call"
    if side.plain.backend is None and (has_custom_call(tokenizer) or pairs):
        return "it puts tokens together by code of its own"
    return (
        None if _template_fits(tokenizer, side, pairs) else "it puts other tokens around some texts"
    )


def _template_fits(tokenizer: PreTrainedTokenizerBase, side: SideTokenizer, pairs: bool) -> bool:
    """Return whether special tokens plus plain tokens equal what the tokenizer's call returns.

    This is tried on the probe texts, truncated to several lengths.
    """
    probes = probe_texts(tokenizer)
    texts = [probes, [*probes[1:], probes[0]]] if pairs else [probes]
    plain = [side.plain(some) for some in texts]
    try:
        template = side.template(len(texts))
    except ConfigError:
        return False
    for room in _TRIED_ROOMS:
        with backend_settings_kept(tokenizer):
            expected = tokenizer(
                *texts, truncation=True, max_length=template.n_special + room, verbose=False
            )
        tokens = _assembled(side, plain, room)
        if tokens.flat().tolist() != list(chain.from_iterable(expected["input_ids"])):
            return False
        types = list(chain.from_iterable(expected.get("token_type_ids", [])))
        if types and tokens.flat(of_types=True).tolist() != types:
            return False
    return True


def _assembled(side: SideTokenizer, plain: Sequence[Sequence[Sequence[int]]], room: int) -> Tokens:
    """Return the tokens of texts or pairs, assembled from their ids without special tokens.

    Args:
        side: the tokenizer's special tokens and truncation side.
        plain: the ids of the texts; for pairs, those of the first and of the second texts.
        room: number of tokens to truncate the texts to, not counting special tokens.
    """
    template = side.template(len(plain))
    lengths = [np.fromiter(map(len, ids), np.int64, len(ids)) for ids in plain]
    if len(plain) == 2:
        kept = [*longest_first(lengths[0], lengths[1], room)]
    else:
        kept = [np.minimum(lengths[0], room)]
    parts = []
    for ids, n_kept, type in zip(plain, kept, template.types, strict=True):
        cut = [side.kept_end(text, n) for text, n in zip(ids, n_kept.tolist(), strict=True)]
        parts.append((replace(TokenSlices.of_lists(cut), types=type),))
    return template.around(len(plain[0]), np.dtype(np.int64), *parts)
