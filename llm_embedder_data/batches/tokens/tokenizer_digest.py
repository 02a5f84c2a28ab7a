"""A digest of a tokenizer: tokenizers with equal digests give equal tokens."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping, Set
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
import xxhash
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase

# Probe texts for tokenizers with Python code of their own: case, accents, spaces, other scripts.
_PROBES = (
    "The quick brown fox can't jump over 1,234.5 lazy dogs (or so).",
    " Leading and  double\tblanks\nand lines\r\n ",
    "ÀÉÎõü ñandú ﬁn ½ I\u0307 e\u0301 — “quoted” … <b>html</b> &amp;",
    "日本語のテキスト 中文文本 ภาษาไทย العربية हिन्दी 한국어 \U0001f600\u200d\U0001f680",
    "query: passage: snake_case CamelCase https://example.org/a?b=c#d user@example.org",
)

# Attributes that do not affect tokens: a tokenizer's origin, its caches, its chat template.
_NO_SETTINGS = {
    "_in_target_context_manager",
    "_processor_class",
    "_tokenizer",
    "cache",
    "chat_template",
    "clean_up_tokenization_spaces",
    "deprecation_warnings",
    "init_inputs",
    "init_kwargs",
    "model_max_length",
    "name_or_path",
    "response_schema",
    "response_template",
    "verbose",
    "vocab_file",
}


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a digest, 32 hexadecimal digits, of everything that tokens and padding depend on.

    The digest is the same in every process and on every machine, wherever the tokenizer's files
    are, and however the tokenizer was used before. It covers the class, the backend (without the
    truncation and padding that the last call set), the vocabulary, added and special tokens, the
    padding and truncation sides, and flags. For a class outside transformers, and for a slow
    tokenizer, it also covers the class's source code, the object's attributes and the tokens of a
    few probe texts.

    Args:
        tokenizer: a transformers tokenizer, fast or slow, or an object of a user's subclass.
    """
    content: dict[str, Any] = {
        "class": type(tokenizer).__qualname__,
        "special": _plain(tokenizer.special_tokens_map),
        "special ids": sorted(tokenizer.all_special_ids),
        "sides": [tokenizer.padding_side, tokenizer.truncation_side],
        "padding": [tokenizer.pad_token_id, tokenizer.pad_token_type_id],
        "inputs": list(tokenizer.model_input_names),
    }
    for flag in ("add_bos_token", "add_eos_token", "split_special_tokens", "add_prefix_space"):
        content[flag] = getattr(tokenizer, flag, None)
    backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    content["backend"] = _backend(backend) if type(backend) is Tokenizer else None
    if content["backend"] is None:
        content["vocabulary"] = _digest(tokenizer.get_vocab())
        content["added"] = _plain(tokenizer.added_tokens_decoder)
    if type(backend) is Tokenizer and content["backend"] is None:
        content["model"] = _backend(Tokenizer(backend.model))
    if content["backend"] is None or is_changed_by_python(tokenizer):
        content["code"] = [_source(kind) for kind in _foreign_classes(tokenizer)]
        content["settings"] = _settings(tokenizer)
        if not is_random(tokenizer):
            content["tokens"] = [tokenizer(text)["input_ids"] for text in _PROBES]
    return xxhash.xxh3_128_hexdigest(_json(content))


def is_changed_by_python(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether code from outside transformers may change the tokens of a text."""
    patched = any(inspect.isroutine(value) for value in vars(tokenizer).values())
    return patched or bool(_foreign_classes(tokenizer))


def is_random(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether tokens differ from call to call (BPE dropout, or sampled pieces)."""
    if tokenizer.is_fast:
        return bool(getattr(tokenizer.backend_tokenizer.model, "dropout", None))
    return bool((getattr(tokenizer, "sp_model_kwargs", None) or {}).get("enable_sampling"))


def _backend(backend: Tokenizer) -> str | None:
    """Return a digest of a backend; None if a part is a Python object, which has no JSON."""
    try:
        parts = orjson.loads(backend.to_str())
    except Exception:  # tokenizers raises no narrower type for a part that has no JSON
        return None
    del parts["truncation"], parts["padding"]
    return xxhash.xxh3_128_hexdigest(orjson.dumps(parts))


def _foreign_classes(tokenizer: PreTrainedTokenizerBase) -> list[type]:
    """Return the classes of a tokenizer that are not from transformers, most derived first."""
    known = ("transformers", "builtins")
    return [kind for kind in type(tokenizer).__mro__ if kind.__module__.split(".")[0] not in known]


def _settings(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Return digests of the attributes, by name, leaving out attributes that a call changes.

    An attribute that a call changes is a cache. Each call here has a new random text, because a
    cache of texts changes only with a text that it has not seen.
    """
    tokenizer(f"{uuid4()} {uuid4()}")
    before = _attributes(tokenizer)
    tokenizer(f"{uuid4()} {uuid4()}")
    after = _attributes(tokenizer)
    return {name: value for name, value in before.items() if after.get(name) == value}


def _attributes(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    return {
        name: _digest(value)
        for name, value in sorted(vars(tokenizer).items())
        if name not in _NO_SETTINGS
    }


def _digest(value: Any) -> str:
    return xxhash.xxh3_128_hexdigest(_json(_plain(value)))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _plain(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Convert any value to plain JSON data; equal values give equal data.

    Args:
        value: the value to convert.
        above: ``id()`` of each object that contains the value, so that the recursion ends at an
            object that contains itself.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if id(value) in above:
        return "above"
    above = (*above, id(value))
    kind = type(value).__qualname__
    if isinstance(value, bytes):
        return [kind, value.hex()]
    if isinstance(value, AddedToken):
        return [kind, repr(value)]
    if isinstance(value, Tokenizer):
        return [kind, _backend(value)]
    if isinstance(value, PreTrainedTokenizerBase):
        return [kind, tokenizer_digest(value)]
    if isinstance(value, re.Pattern):
        return [kind, value.pattern, value.flags]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [kind, str(value.dtype), list(value.shape), value.tobytes().hex()]
    if isinstance(value, Mapping):
        pairs = [[_plain(name, above), _plain(item, above)] for name, item in value.items()]
        return [kind, sorted(pairs, key=json.dumps)]
    if isinstance(value, Set):
        return [kind, sorted((_plain(item, above) for item in value), key=json.dumps)]
    if isinstance(value, list | tuple):
        return [kind, [_plain(item, above) for item in value]]
    if hasattr(value, "serialized_model_proto"):  # sentencepiece's processor
        return [kind, value.serialized_model_proto().hex()]
    if inspect.isroutine(value) or inspect.isclass(value):
        return [kind, value.__qualname__, _source(value)]
    return [kind, _plain(getattr(value, "__dict__", {}), above)]


def _source(code: Any) -> str:
    """Return the source code of a class or function, or its name and members if it has none."""
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        members: Iterable[str] = sorted(vars(code)) if inspect.isclass(code) else ()
        return f"{code.__qualname__}: {' '.join(members)}"
