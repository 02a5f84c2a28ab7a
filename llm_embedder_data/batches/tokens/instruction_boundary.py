"""Prove that a tokenizer always splits at the space that ends an instruction.

If it does, then ``tokens("Find: " + text) == tokens("Find:") + tokens(" " + text)`` for every text,
so the tokens of a text can be cached without its instruction. The proof looks at each part of the
tokenizer (normalizer, pre-tokenizer, added tokens): none may act across that space. A tokenizer
with a part that is not listed here counts as not proved.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tokenizers import Tokenizer

# Normalizers that look only at one character, or one letter with its combining marks. Unicode never
# composes a space with the character before it.
_NORMALIZERS = {"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"}

# Pre-tokenizers whose pieces never contain a space after another character.
_SPLITTERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}

# Pre-tokenizers that split each piece on its own. They may follow one that splits at the space.
_WITHIN_PIECES = {*_SPLITTERS, "ByteLevel", "Digits", "Punctuation", "Split"}

# Known alternatives (the parts between "|") of the regular expressions of byte-level tokenizers.
# Each matches a space only as the first character of a piece or after white space. Each looks at
# most one character past its piece, and only after white space.
_ALTERNATIVES = {
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    "'(?:[sdmt]|ll|ve|re)",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r" ?\p{L}+",
    r" ?\p{N}+",
    r" ?[^\s\p{L}\p{N}]+",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{L}+",
    r"\p{N}",
    r"\p{N}+",
    r"\p{N}{1,3}",
    r"\s*[\r\n]+",
    r"\s*[\r\n]",
    r"\s+(?!\S)",
    r"\s+",
}


def begins_at_last_space(backend: Tokenizer, instruction: str) -> bool:
    """Return whether tokens certainly split at the last space of the instruction.

    ``tokens(instruction + text)`` then equals ``tokens(instruction[:-1]) + tokens(" " + text)`` for
    every text. False means "not proved", not "wrong".

    Args:
        backend: the backend of a fast tokenizer.
        instruction: put before each text.
    """
    # The instruction must end with a visible ASCII character and one space. Unicode normalization
    # composes neither with the text that follows.
    if re.search(r"[!-~] $", instruction) is None or instruction.endswith("  "):
        return False
    normalizer, pre_tokenizer = _as_json(backend.normalizer), _as_json(backend.pre_tokenizer)
    return (
        all(step["type"] in _NORMALIZERS for step in _steps(normalizer, "normalizers"))
        and _splits_at_spaces(_steps(pre_tokenizer, "pretokenizers"))
        and not _meets_added_token(backend, instruction[:-1])
    )


def _splits_at_spaces(steps: list[dict[str, Any]]) -> bool:
    """Return whether pre-tokenizers certainly split a text before each space."""
    if not steps or any(step["type"] not in _WITHIN_PIECES for step in steps[1:]):
        return False
    splitter = steps[0]
    if splitter["type"] == "ByteLevel":
        return bool(splitter["use_regex"])
    if splitter["type"] == "Metaspace":
        return bool(splitter["split"])
    if splitter["type"] == "Split":
        pattern = splitter["pattern"].get("Regex", "")
        is_usual = splitter["behavior"] == "Isolated" and not splitter["invert"]
        if pattern == ".":  # character by character
            return is_usual
        # Without the alternative \s+, a space may be in no match, and then stays in one piece with
        # the characters before it.
        return is_usual and {r"\s+"} <= set(_alternatives(pattern)) <= _ALTERNATIVES
    return splitter["type"] in _SPLITTERS


def _alternatives(pattern: str) -> list[str]:
    """Split a regular expression at the "|" outside of all brackets."""
    parts, depth, in_class, index = [""], 0, False, 0
    while index < len(pattern):
        character = pattern[index]
        if character == "\\":
            parts[-1] += pattern[index : index + 2]
            index += 2
            continue
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        else:
            depth += (character == "(") - (character == ")")
        if character == "|" and not depth and not in_class:
            parts.append("")
        else:
            parts[-1] += character
        index += 1
    return parts


def _meets_added_token(backend: Tokenizer, before: str) -> bool:
    """Return whether an added token may interfere with the boundary after ``before``.

    It does if it may match at the end of ``before`` or across the boundary, or if its match depends
    on what follows. Added tokens are matched before the text is normalized or split.
    """
    normalizer = backend.normalizer
    for token in backend.get_added_tokens_decoder().values():
        contents, ends = [token.content], [before]
        if token.normalized and normalizer is not None:
            contents.append(normalizer.normalize_str(token.content))
            ends.append(normalizer.normalize_str(before))
        if token.single_word or not all(contents) or token.content in before:
            return True
        for content, end in zip(contents, ends, strict=True):
            if any(end.endswith(content[:length]) for length in range(1, len(content) + 1)):
                return True
    return False


def _steps(part: Any, name: str) -> list[dict[str, Any]]:
    """Flatten nested sequences of steps.

    Args:
        part: the JSON of a normalizer or pre-tokenizer; None if the tokenizer has none.
        name: the key under which a sequence lists its steps: ``normalizers`` or ``pretokenizers``.
    """
    if part is None:
        return []
    if part.get("type") != "Sequence":
        return [part]
    return [step for member in part[name] for step in _steps(member, name)]


def _as_json(part: Any) -> Any:
    """Return a part of a backend as JSON; a part written in Python gets an unknown type."""
    if part is None:
        return None
    try:
        return json.loads(part.__getstate__())
    except Exception:  # tokenizers raises no narrower type for a part that has no JSON
        return {"type": None}
