"""Decoding the tokens that a model gets: which are the instruction, and what was cut off.

The token ids come from the tensors of a batch. To find out which tokens of the text they are, the
text is tokenized again without truncation, and the ids are aligned with the result. If they cannot
be aligned, instruction and cut stay unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.side_tokenizer import longest_first

Kind = Literal["special", "instruction", "text"]


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens of one kind.

    Attributes:
        kind: special, instruction or text.
        tokens: the tokens as in the tokenizer's vocabulary.
        text: the decoded tokens.
        side: 1 for the key of a (query, key) pair, else 0.
    """

    kind: Kind
    tokens: list[str]
    text: str
    side: int = 0


@dataclass(frozen=True, slots=True)
class DecodedText:
    """A text, or a pair of texts, as the model gets it.

    Attributes:
        ids: token ids, special tokens included.
        segments: the tokens by kind, in order.
        cut: what truncation cut off, for each text of the pair; empty if nothing was cut. It is a
            part of the text, or decoded tokens if the tokenizer gives no offsets.
        n_cut: number of tokens that were cut off.
        is_aligned: whether the ids were found among the untruncated tokens. If not, instruction
            and cut are unknown.
    """

    ids: list[int]
    segments: list[Segment]
    cut: list[str] = field(default_factory=lambda: [""])
    n_cut: int = 0
    is_aligned: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return a dict of plain Python values."""
        return {
            "ids": self.ids,
            "segments": [
                {"kind": part.kind, "side": part.side, "text": part.text, "tokens": part.tokens}
                for part in self.segments
            ],
            "n_tokens": len(self.ids),
            "n_cut": self.n_cut,
            "cut": self.cut,
            "is_aligned": self.is_aligned,
        }


@dataclass(frozen=True, slots=True)
class _Untruncated:
    """A text, or a pair of texts, tokenized without truncation.

    Attributes:
        ids: token ids.
        side: the text of each token, 0 or 1; None for a special token.
        spans: start and end of each token's characters; None if the tokenizer gives no offsets.
        sources: the texts, with instructions, that the spans refer to.
        n_instruction: number of tokens of each text's instruction.
        n_head: number of tokens of each instruction without its trailing space, which may be a
            token. Truncation on the left keeps these tokens.
    """

    ids: list[int]
    side: list[int | None]
    spans: list[tuple[int, int]] | None
    sources: list[str]
    n_instruction: list[int]
    n_head: list[int]


def decode_texts(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[list[int]],
    texts: Sequence[Sequence[str]],
    instructions: Sequence[Sequence[str]],
    *,
    has_offsets: bool,
) -> list[DecodedText]:
    """Decode texts, or pairs of texts, from their token ids.

    Args:
        tokenizer: the tokenizer that made the ids.
        ids: token ids of each text or pair, special tokens included, without padding.
        texts: for each, a tuple of one or two texts without instructions.
        instructions: for each, the instructions of its texts; empty strings for none.
        has_offsets: whether the tokenizer's offsets are usable: it is a fast tokenizer, and its
            class does not change texts, so that offsets refer to characters of the text.
    """
    untruncated = _without_truncation(tokenizer, texts, instructions, has_offsets)
    is_left = tokenizer.truncation_side == "left"
    return [
        _decoded(tokenizer, given, whole, is_left)
        for given, whole in zip(ids, untruncated, strict=True)
    ]


def _without_truncation(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Sequence[str]],
    instructions: Sequence[Sequence[str]],
    has_offsets: bool,
) -> Iterator[_Untruncated]:
    if not texts:
        return
    sources = [
        [before + text for before, text in zip(befores, parts, strict=True)]
        for befores, parts in zip(instructions, texts, strict=True)
    ]
    columns = [list(column) for column in zip(*sources, strict=True)]
    encoded = tokenizer(
        *columns,
        add_special_tokens=True,
        return_special_tokens_mask=True,
        return_offsets_mapping=has_offsets,
        verbose=False,
    )

    @cache
    def n_tokens(instruction: str) -> int:
        alone = tokenizer(instruction.rstrip(), add_special_tokens=False, verbose=False)
        return len(alone["input_ids"])

    for i, parts in enumerate(sources):
        ids, special = encoded["input_ids"][i], encoded["special_tokens_mask"][i]
        spans = [tuple(span) for span in encoded["offset_mapping"][i]] if has_offsets else None
        if spans is not None and len(spans) == len(ids):
            side = list(encoded.sequence_ids(i))
            n_instruction, n_head = (
                [_n_within(side, spans, number, end) for number, end in enumerate(ends)]
                for ends in (map(len, instructions[i]), map(_without_space, instructions[i]))
            )
        else:  # a slow tokenizer, or a class that adds tokens
            specials = set(tokenizer.all_special_ids)
            mask = special if len(special) == len(ids) else [token in specials for token in ids]
            side, spans = _sides(mask), None
            n_instruction = n_head = [n_tokens(before) for before in instructions[i]]
        yield _Untruncated(ids, side, spans, parts, n_instruction, n_head)


def _n_within(
    side: Sequence[int | None], spans: Sequence[tuple[int, int]], number: int, end: int
) -> int:
    """Return how many tokens of text ``number`` lie before its character ``end``."""
    return sum(text == number and span[1] <= end for text, span in zip(side, spans, strict=True))


def _without_space(instruction: str) -> int:
    return len(instruction.rstrip())


def _sides(is_special: Sequence[int | bool]) -> list[int | None]:
    """Return the text of each token, 0 or 1, or None for a special token.

    A special token that follows a text ends it.
    """
    side: list[int | None] = []
    number, has_begun = 0, False
    for special in is_special:
        if special:
            number, has_begun = number + has_begun, False
            side.append(None)
        else:
            has_begun = True
            side.append(min(number, 1))
    return side


def _decoded(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], whole: _Untruncated, is_left: bool
) -> DecodedText:
    kept = _kept(ids, whole, is_left)
    if kept is None:
        specials = set(tokenizer.all_special_ids)
        marks = [("special" if token in specials else "text", 0) for token in ids]
        return DecodedText(ids, _segments(tokenizer, ids, marks), is_aligned=False)
    seen = [0] * len(whole.sources)
    all_marks: list[tuple[str, int]] = []
    for side in whole.side:
        if side is None:
            all_marks.append(("special", 0))
        else:
            is_instruction = seen[side] < whole.n_instruction[side]
            all_marks.append(("instruction" if is_instruction else "text", side))
            seen[side] += 1
    marks = [all_marks[index] for index in kept]
    cut_off = sorted(set(range(len(whole.ids))) - set(kept))
    cut = []
    for number, source in enumerate(whole.sources):
        of_text = [index for index in cut_off if whole.side[index] == number]
        if not of_text:
            cut.append("")
        elif whole.spans is None:
            cut.append(_decode(tokenizer, [whole.ids[index] for index in of_text]))
        else:
            cut.append(source[whole.spans[of_text[0]][0] : whole.spans[of_text[-1]][1]])
    return DecodedText(ids, _segments(tokenizer, ids, marks), cut, len(cut_off))


def _segments(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], marks: Sequence[tuple[Any, int]]
) -> list[Segment]:
    """Join neighbouring tokens with the same mark, which is (kind, side)."""
    segments = []
    for (kind, side), group in groupby(zip(marks, ids, strict=True), key=lambda pair: pair[0]):
        of_segment = [token for _, token in group]
        tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(of_segment)]
        text = " ".join(tokens) if kind == "special" else _decode(tokenizer, of_segment)
        segments.append(Segment(kind, tokens, text, side))
    return segments


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return text if isinstance(text, str) else "".join(text)


def _kept(ids: list[int], whole: _Untruncated, is_left: bool) -> list[int] | None:
    """Return the positions of the given ids among the untruncated tokens; None if not found.

    Tries each way in which truncation may divide the room between the texts of a pair and, for
    truncation on the left, each way in which it may keep the beginning of a text.
    """
    if ids == whole.ids:
        return list(range(len(ids)))
    room = len(ids) - sum(side is None for side in whole.side)
    of_text = [
        [index for index, side in enumerate(whole.side) if side == number]
        for number in range(len(whole.sources))
    ]
    lengths = [len(indices) for indices in of_text]
    if len(lengths) == 1:
        shares = [[room]]
    else:
        first, second = longest_first(np.array(lengths[:1]), np.array(lengths[1:]), room)
        shares = [[int(first[0]) + more, int(second[0]) - more] for more in (0, 1, -1)]
    for share in shares:
        for heads in (whole.n_head, whole.n_instruction, [0] * len(of_text)):
            kept = [index for index, side in enumerate(whole.side) if side is None]
            for indices, n_kept, head in zip(of_text, share, heads, strict=True):
                n_kept = max(min(n_kept, len(indices)), 0)
                if not is_left or n_kept == len(indices):
                    kept += indices[:n_kept]
                    continue
                n_head = min(head, n_kept)
                kept += indices[:n_head] + indices[len(indices) - (n_kept - n_head) :]
            kept.sort()
            if [whole.ids[index] for index in kept] == ids:
                return kept
    return None
