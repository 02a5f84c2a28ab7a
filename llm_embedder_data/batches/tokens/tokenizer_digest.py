"""A digest of what a tokenizer does: equal digests, equal tokens."""

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

# Texts that show what Python code of a tokenizer does with case, accents, spaces and other scripts.
_PROBES = (
    "The quick brown fox can't jump over 1,234.5 lazy dogs (or so).",
    " Leading and  double\tblanks\nand lines\r\n ",
    "ÀÉÎõü ñandú ﬁn ½ I\u0307 e\u0301 — “quoted” … <b>html</b> &amp;",
    "日本語のテキスト 中文文本 ภาษาไทย العربية हिन्दी 한국어 \U0001f600\u200d\U0001f680",
    "query: passage: snake_case CamelCase https://example.org/a?b=c#d user@example.org",
)

# Attributes that say where a tokenizer comes from, what it remembers of its use, or what it does
# beside tokenizing.
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
    """128 bits of all that a text's tokens and their padding depend on, in hexadecimal.

    The digest is the same in every process, on every machine and after any use of the tokenizer;
    where its files lie does not count. It covers the backend without the truncation and padding of
    the last call, the vocabulary, added and special tokens, sides, flags and the class. Of a class
    that transformers does not have, and of a slow tokenizer, it covers the code, the settings that
    the object holds, and the tokens of some texts.

    Args:
        tokenizer: from transformers, fast or slow, or of a class of the user's.
    """
    facts: dict[str, Any] = {
        "class": type(tokenizer).__qualname__,
        "special": _plain(tokenizer.special_tokens_map),
        "special ids": sorted(tokenizer.all_special_ids),
        "sides": [tokenizer.padding_side, tokenizer.truncation_side],
        "padding": [tokenizer.pad_token_id, tokenizer.pad_token_type_id],
        "inputs": list(tokenizer.model_input_names),
    }
    for flag in ("add_bos_token", "add_eos_token", "split_special_tokens", "add_prefix_space"):
        facts[flag] = getattr(tokenizer, flag, None)
    backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    facts["backend"] = _backend(backend) if type(backend) is Tokenizer else None
    if facts["backend"] is None:
        facts["vocabulary"] = _digest(tokenizer.get_vocab())
        facts["added"] = _plain(tokenizer.added_tokens_decoder)
    if type(backend) is Tokenizer and facts["backend"] is None:
        facts["model"] = _backend(Tokenizer(backend.model))
    if facts["backend"] is None or is_changed_by_python(tokenizer):
        facts["code"] = [_source(one) for one in _foreign_classes(tokenizer)]
        facts["settings"] = _settings(tokenizer)
        if not is_random(tokenizer):
            facts["tokens"] = [tokenizer(text)["input_ids"] for text in _PROBES]
    return xxhash.xxh3_128_hexdigest(_json(facts))


def is_changed_by_python(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether code that is not transformers' own may stand between a text and its tokens."""
    patched = any(inspect.isroutine(value) for value in vars(tokenizer).values())
    return patched or bool(_foreign_classes(tokenizer))


def is_random(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a text has other tokens each time: merges dropped or pieces sampled by chance."""
    if tokenizer.is_fast:
        return bool(getattr(tokenizer.backend_tokenizer.model, "dropout", None))
    return bool((getattr(tokenizer, "sp_model_kwargs", None) or {}).get("enable_sampling"))


def _backend(backend: Tokenizer) -> str | None:
    """A digest of the backend; None where parts of it are Python objects, which have no text."""
    try:
        written = orjson.loads(backend.to_str())
    except Exception:  # tokenizers has no narrower type for parts that cannot be written
        return None
    del written["truncation"], written["padding"]
    return xxhash.xxh3_128_hexdigest(orjson.dumps(written))


def _foreign_classes(tokenizer: PreTrainedTokenizerBase) -> list[type]:
    """The tokenizer's classes that are not transformers' own, the most special first."""
    known = ("transformers", "builtins")
    return [one for one in type(tokenizer).__mro__ if one.__module__.split(".")[0] not in known]


def _settings(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Digests of the attributes, by name, but of those that a call changes.

    Each call is for a text that was never seen: a memo of texts would change by no other.
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
    """Any value as JSON, the same for equal values; an object that holds itself ends there.

    Args:
        value: to be written.
        above: ids of the objects that it lies in.
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
        pairs = [[_plain(key, above), _plain(one, above)] for key, one in value.items()]
        return [kind, sorted(pairs, key=json.dumps)]
    if isinstance(value, Set):
        return [kind, sorted((_plain(one, above) for one in value), key=json.dumps)]
    if isinstance(value, list | tuple):
        return [kind, [_plain(one, above) for one in value]]
    if hasattr(value, "serialized_model_proto"):  # of sentencepiece
        return [kind, value.serialized_model_proto().hex()]
    if inspect.isroutine(value) or inspect.isclass(value):
        return [kind, value.__qualname__, _source(value)]
    return [kind, _plain(getattr(value, "__dict__", {}), above)]


def _source(what: Any) -> str:
    """The code of a class or function; its name where there is none to be read."""
    try:
        return inspect.getsource(what)
    except (OSError, TypeError):
        return _names(what)


def _names(what: Any) -> str:
    members: Iterable[str] = sorted(vars(what)) if inspect.isclass(what) else ()
    return f"{what.__qualname__}: {' '.join(members)}"
