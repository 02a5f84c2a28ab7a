"""The normal forms of many texts at once: :func:`normal_form`, as passes over an array of bytes.

Lower case changes a byte in its place, and so does nearly every character's ``casefold()``, which
is as long as the character in UTF-8. White space becomes blanks of the same length, and blanks that
follow a blank are left out. Texts with one of the few other characters (such as the ligature of f
and i) are made one by one.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.inspection.doctor.flat_texts import FlatTexts

_BLANK = 0x20
_WINDOW = 1 << 19  # bytes that a pass takes: they stay in the processor's cache
_N_FOLDED = 0x20000  # no character from here on has another form, or is white space
_SAME, _IN_PLACE, _APART = 0, 1, 2


def normal_texts(texts: FlatTexts) -> FlatTexts:
    """The normal forms of some texts.

    Args:
        texts: lying one behind the other.
    """
    if not len(texts):
        return texts
    parts = [_of_window(texts, one.start, one.stop) for one in texts.windows(_WINDOW)]
    offsets = np.cumsum([0] + [len(part.content) for part in parts[:-1]])
    return FlatTexts(
        np.concatenate([part.content for part in parts]),
        np.concatenate([part.starts + at for part, at in zip(parts, offsets, strict=True)]),
        np.concatenate([part.ends + at for part, at in zip(parts, offsets, strict=True)]),
    )


# --------------------------------------------------------------------------------------------------


def _of_window(texts: FlatTexts, first: int, end: int) -> FlatTexts:
    base = texts.starts[first]
    raw = texts.content[base : texts.ends[end - 1]]
    starts, ends = texts.starts[first:end] - base, texts.ends[first:end] - base
    content = raw + (((raw - np.uint8(65)) < 26).view(np.uint8) << 5)  # A to Z
    content[((raw - np.uint8(9)) < 5) | ((raw - np.uint8(28)) < 4)] = _BLANK
    apart = _fold_in_place(content, np.flatnonzero(raw >= 0xC0))
    content, starts, ends = _single_blanks(content, starts, ends)
    if len(apart):
        others = np.unique(np.searchsorted(texts.ends[first:end] - base, apart, "right"))
        forms = FlatTexts.of(normal_form(texts[first + at]) for at in others.tolist())
        starts[others] = forms.starts + len(content)
        ends[others] = forms.ends + len(content)
        content = np.concatenate([content, forms.content])
    return FlatTexts(content, starts, ends)


def _fold_in_place(content: NDArray[np.uint8], leads: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold characters beyond ASCII where the folded ones are as long; return the others' places.

    Args:
        content: changed.
        leads: ``[k]`` int64, the places of these characters' first bytes.
    """
    if not len(leads):
        return leads
    kinds, forms = _folded()
    apart = []
    for n_bytes, low, high in ((2, 0xC0, 0xE0), (3, 0xE0, 0xF0), (4, 0xF0, 0x100)):
        lead = content[leads]
        at = leads[(lead >= low) & (lead < high)]
        point = (content[at] & (0x7F >> n_bytes)).astype(np.int32)
        for place in range(1, n_bytes):
            point = (point << 6) | (content[at + place] & 0x3F)
        kind = kinds[np.minimum(point, _N_FOLDED - 1)]
        changed = np.flatnonzero(kind == _IN_PLACE)
        for place in range(n_bytes):
            content[at[changed] + place] = forms[point[changed], place]
        apart.append(at[kind == _APART])
    return np.concatenate(apart)


def _single_blanks(
    content: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Leave out blanks behind a blank, and trim the texts."""
    blank = content == _BLANK
    repeated = blank[1:] & blank[:-1]
    gone = np.flatnonzero(repeated) + 1
    if len(gone):
        content = content[np.append(True, ~repeated)]
        starts = starts - np.searchsorted(gone, starts)
        ends = ends - np.searchsorted(gone, ends)
    else:
        starts, ends = starts.copy(), ends.copy()
    filled = np.flatnonzero(ends > starts)
    starts[filled] += content[starts[filled]] == _BLANK
    filled = filled[ends[filled] > starts[filled]]
    ends[filled] -= content[ends[filled] - 1] == _BLANK
    return content, starts, ends


@cache
def _folded() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """For each code point, whether and where it is folded, and the bytes of its folded form.

    Returns:
        ``[c]`` uint8, ``[c, 4]`` uint8.
    """
    kinds = np.zeros(_N_FOLDED, np.uint8)
    forms = np.zeros((_N_FOLDED, 4), np.uint8)
    for point in range(0x80, _N_FOLDED):
        character = chr(point)
        if 0xD800 <= point < 0xE000:
            kinds[point] = _APART  # half a pair is an error, where there is one
        elif character.isspace() or character.casefold() != character:
            length = len(character.encode())
            form = b" " * length if character.isspace() else character.casefold().encode()
            kinds[point] = _IN_PLACE if len(form) == length else _APART
            if len(form) == length:
                forms[point, :length] = np.frombuffer(form, np.uint8)
    return kinds, forms
