"""The normal forms of many texts at once: what :func:`normal_form` does to a string, in NumPy.

The case-folded form of nearly every character has as many bytes in UTF-8 as the character, so it
can be written over the character. White space is overwritten with blanks, and repeated blanks are
then removed. A few characters, such as the ligature of f and i, have a folded form of another
length. Texts that contain one of them go through :func:`normal_form` as strings.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts

_BLANK = 0x20
_WINDOW_BYTES = 1 << 19  # processed at a time, so that they stay in the processor's cache
_N_CODE_POINTS = 0x20000  # characters from this code point on are neither folded nor white space

# What to do with a character: leave it, overwrite it with its folded form, or fold the whole text
# as a string.
_UNCHANGED, _OVERWRITTEN, _AS_STRING = 0, 1, 2


def normal_texts(texts: FlatTexts) -> FlatTexts:
    """Return the normal form of each text.

    Args:
        texts: texts that lie in order in their ``content``, without other bytes between them.
    """
    if not len(texts):
        return texts
    parts = [_of_window(texts.window(numbers)) for numbers in texts.windows(_WINDOW_BYTES)]
    offsets = np.cumsum([0] + [len(part.content) for part in parts[:-1]])
    return FlatTexts(
        np.concatenate([part.content for part in parts]),
        np.concatenate([part.starts + start for part, start in zip(parts, offsets, strict=True)]),
        np.concatenate([part.ends + start for part, start in zip(parts, offsets, strict=True)]),
    )


# --------------------------------------------------------------------------------------------------


def _of_window(texts: FlatTexts) -> FlatTexts:
    raw = texts.content
    content = raw + (((raw - np.uint8(65)) < 26).view(np.uint8) << 5)  # A to Z
    content[((raw - np.uint8(9)) < 5) | ((raw - np.uint8(28)) < 4)] = _BLANK
    left = _overwrite_with_folded(content, np.flatnonzero(raw >= 0xC0))
    content, starts, ends = _without_repeated_blanks(content, texts.starts, texts.ends)
    if len(left):
        # Texts with a character that is left are folded as strings, and added at the end.
        numbers = np.unique(np.searchsorted(texts.ends, left, "right"))
        forms = FlatTexts.of(normal_form(texts[number]) for number in numbers.tolist())
        starts[numbers] = forms.starts + len(content)
        ends[numbers] = forms.ends + len(content)
        content = np.concatenate([content, forms.content])
    return FlatTexts(content, starts, ends)


def _overwrite_with_folded(
    content: NDArray[np.uint8], leads: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Overwrite characters beyond ASCII with their folded forms of the same length.

    Args:
        content: ``[b]`` uint8, changed.
        leads: ``[k]`` int64, the positions of these characters' first bytes.

    Returns:
        ``[j]`` int64, the positions of characters that are left: their folded forms have another
        length.
    """
    if not len(leads):
        return leads
    kinds, forms = _folded_forms()
    left = []
    # The first byte of a character tells how many bytes the character has.
    for n_bytes, low, high in ((2, 0xC0, 0xE0), (3, 0xE0, 0xF0), (4, 0xF0, 0x100)):
        lead = content[leads]
        firsts = leads[(lead >= low) & (lead < high)]
        point = (content[firsts] & (0x7F >> n_bytes)).astype(np.int32)
        for k in range(1, n_bytes):
            point = (point << 6) | (content[firsts + k] & 0x3F)
        kind = kinds[np.minimum(point, _N_CODE_POINTS - 1)]
        changed = np.flatnonzero(kind == _OVERWRITTEN)
        for k in range(n_bytes):
            content[firsts[changed] + k] = forms[point[changed], k]
        left.append(firsts[kind == _AS_STRING])
    return np.concatenate(left)


def _without_repeated_blanks(
    content: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Remove blanks that follow a blank, and blanks at the ends of texts.

    Returns:
        ``content``, ``starts`` and ``ends`` of the texts that remain; the arguments stay as they
        are.
    """
    blank = content == _BLANK
    repeated = blank[1:] & blank[:-1]
    removed = np.flatnonzero(repeated) + 1
    if len(removed):
        content = content[np.append(True, ~repeated)]
        starts = starts - np.searchsorted(removed, starts)
        ends = ends - np.searchsorted(removed, ends)
    else:
        starts, ends = starts.copy(), ends.copy()
    filled = np.flatnonzero(ends > starts)
    starts[filled] += content[starts[filled]] == _BLANK
    filled = filled[ends[filled] > starts[filled]]
    ends[filled] -= content[ends[filled] - 1] == _BLANK
    return content, starts, ends


@cache
def _folded_forms() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return how each code point is folded, and the bytes of folded forms of the same length.

    Returns:
        ``[c]`` uint8, one of the three constants above, and ``[c, 4]`` uint8.
    """
    kinds = np.full(_N_CODE_POINTS, _UNCHANGED, np.uint8)
    forms = np.zeros((_N_CODE_POINTS, 4), np.uint8)
    for point in range(0x80, _N_CODE_POINTS):
        character = chr(point)
        if 0xD800 <= point < 0xE000:
            kinds[point] = _AS_STRING  # half of a surrogate pair: normal_form decides
        elif character.isspace() or character.casefold() != character:
            length = len(character.encode())
            form = b" " * length if character.isspace() else character.casefold().encode()
            kinds[point] = _OVERWRITTEN if len(form) == length else _AS_STRING
            if len(form) == length:
                forms[point, :length] = np.frombuffer(form, np.uint8)
    return kinds, forms
