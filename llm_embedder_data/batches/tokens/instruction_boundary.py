"""Whether a tokenizer certainly begins anew at the space that ends an instruction.

Then the tokens of instruction and text are those of the instruction, and those of the text behind a
space, one after the other, whatever the text. It is proved from the tokenizer's parts: each step
must leave what stands before the space and what stands behind it apart.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tokenizers import Tokenizer

# Normalizers that treat a character, or a letter with its marks, by itself. A space is never
# composed with what stands before it.
_NORMALIZERS = {"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"}

# Pre-tokenizers that leave no piece with a space behind another character.
_SPLITTERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}

# Pre-tokenizers that split a piece whatever stands around it; they come behind one that splits at
# the space.
_WITHIN_PIECES = {*_SPLITTERS, "ByteLevel", "Digits", "Punctuation", "Split"}

# Alternatives of the patterns by which byte-level tokenizers split. Each takes a space only as the
# first character of a piece, or behind white space; and none looks further than one character
# beyond its piece, and that only behind white space.
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
    """Whether a text's tokens behind the instruction are those of a space and the text.

    And those before are the instruction's without that space. False where it is not proved.

    Args:
        backend: of a fast tokenizer.
        instruction: that stands before texts.
    """
    # A visible ASCII character, which takes part in no composition, and one space.
    if re.search(r"[!-~] $", instruction) is None or instruction.endswith("  "):
        return False
    normalizer, pre_tokenizer = _written(backend.normalizer), _written(backend.pre_tokenizer)
    return (
        all(one["type"] in _NORMALIZERS for one in _steps(normalizer, "normalizers"))
        and _splits_at_spaces(_steps(pre_tokenizer, "pretokenizers"))
        and not _meets_added_token(backend, instruction[:-1])
    )


def _splits_at_spaces(steps: list[dict[str, Any]]) -> bool:
    if not steps or any(step["type"] not in _WITHIN_PIECES for step in steps[1:]):
        return False
    first = steps[0]
    if first["type"] == "ByteLevel":
        return bool(first["use_regex"])
    if first["type"] == "Metaspace":
        return bool(first["split"])
    if first["type"] == "Split":
        pattern = first["pattern"].get("Regex", "")
        is_usual = first["behavior"] == "Isolated" and not first["invert"]
        if pattern == ".":  # character by character
            return is_usual
        # Without the last one a space may belong to no match, and join what stands before it.
        return is_usual and {r"\s+"} <= set(_alternatives(pattern)) <= _ALTERNATIVES
    return first["type"] in _SPLITTERS


def _alternatives(pattern: str) -> list[str]:
    """What a pattern's outermost bars stand between."""
    parts, depth, in_class, at = [""], 0, False, 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            parts[-1] += pattern[at : at + 2]
            at += 2
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
        at += 1
    return parts


def _meets_added_token(backend: Tokenizer, before: str) -> bool:
    """Whether an added token may end at the end of a text, or go beyond it, or look beyond it."""
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


def _steps(written: Any, name: str) -> list[dict[str, Any]]:
    """A part's steps, one after the other."""
    if written is None:
        return []
    if written.get("type") != "Sequence":
        return [written]
    return [step for one in written[name] for step in _steps(one, name)]


def _written(part: Any) -> Any:
    """A part of a backend as tokenizers writes it; of one in Python, a step of no known type."""
    if part is None:
        return None
    try:
        return json.loads(part.__getstate__())
    except Exception:  # tokenizers has no narrower type for what cannot be written
        return {"type": None}
