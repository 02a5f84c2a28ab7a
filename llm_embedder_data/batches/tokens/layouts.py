"""Token ids of many texts to a model's tensors: padded, in chunks of like length, or packed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.core.slices import slices_at

Layout = Literal["padded", "chunked", "packed"]

Inputs = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A run of tokens of each text, as places in one array that holds them all.

    Attributes:
        source: ``[T]`` of any integer type, contiguous.
        starts: ``[N]`` int64, where each text's run begins.
        lengths: ``[N]`` int64, its tokens.
        types: ``[T]`` token types of the type of ``source``, or one for all.
        is_constant: whether each text has all of ``source``.
    """

    source: NDArray[Any]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    types: NDArray[Any] | int = 0
    is_constant: bool = False

    @classmethod
    def of_lists(
        cls, lists: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None
    ) -> Part:
        """A list of ids for each text, and one of types."""
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        return cls(
            _joined(lists, lengths),
            np.cumsum(lengths) - lengths,
            lengths,
            0 if types is None else _joined(types, lengths),
        )

    @classmethod
    def constant(cls, source: NDArray[Any], n_texts: int, types: NDArray[Any] | int = 0) -> Part:
        """The same tokens, all of ``source``, in each of N texts."""
        return cls(source, np.zeros(n_texts, np.int64), np.full(n_texts, len(source)), types, True)

    def take(self, texts: NDArray[np.int64]) -> Part:
        """Some of the texts, in another order."""
        return replace(self, starts=self.starts[texts], lengths=self.lengths[texts])

    def mirrored(self) -> Part:
        """All runs, and the array that holds them, backwards."""
        starts = len(self.source) - self.starts - self.lengths
        types = self.types if isinstance(self.types, int) else self.types[::-1]
        return replace(self, source=self.source[::-1], starts=starts, types=types)

    def windows(self, width: int, before: int = 0, of_types: bool = False) -> NDArray[Any]:
        """``[N, width]``: each text's run from column ``before`` on; anything around it."""
        source = self.types if of_types else self.source
        if isinstance(source, int):
            return np.full((len(self.starts), width), source, self.source.dtype)
        return slices_at(source, self.starts - before, width)

    def runs(self, of_types: bool = False) -> list[bytes]:
        """Each text's ids, or its types, as bytes."""
        starts, lengths, what = self.starts, self.lengths, self.types if of_types else self.source
        if isinstance(what, int):
            what = np.full(int(lengths.max(initial=0)), what, self.source.dtype)
            starts = np.zeros_like(starts)
        view = what.data.cast("B") if len(what) else memoryview(b"")
        first, last = starts * what.itemsize, (starts + lengths) * what.itemsize
        if len(first) and (first == first[0]).all() and (last == last[0]).all():
            return [view[first[0] : last[0]].tobytes()] * len(first)
        # Bytes, and no views: these the garbage collector counts, and it runs after a few hundred.
        return [view[a:b].tobytes() for a, b in zip(first.tolist(), last.tolist(), strict=True)]


@dataclass(frozen=True, slots=True)
class Tokens:
    """N texts as token ids without padding, each its parts one after the other.

    The arrays of all parts have one type.
    """

    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return len(self.parts[0].lengths)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``[N]`` int64, tokens of each text."""
        total: NDArray[np.int64] = sum(part.lengths for part in self.parts)  # type: ignore[assignment]
        return total

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the ids."""
        return self.parts[0].source.dtype

    @property
    def typed(self) -> bool:
        """Whether a token has a type other than 0."""
        return any(
            part.types if isinstance(part.types, int) else part.types.any() for part in self.parts
        )

    def take(self, texts: NDArray[np.int64]) -> Tokens:
        """Some of the texts, in another order."""
        return Tokens(tuple(part.take(texts) for part in self.parts))

    def padded(
        self, real: NDArray[Any], filling: int, right: bool, of_types: bool = False
    ) -> NDArray[Any]:
        """The ids, or the types, of all texts filled up at one end.

        Args:
            real: ``[N, L]`` of the type of the parts' arrays: 1 where a text has a token, else 0.
            filling: where it has none.
            right: whether that is at the right end.
            of_types: the types.

        Returns:
            ``[N, L]`` of the type of the parts' arrays.
        """
        if sum(not part.is_constant for part in self.parts) > 1:  # where one ends, another begins
            laid = np.empty(real.shape, self.dtype)
            laid[real == 1] = self.flat(of_types)
        elif right:
            laid = _laid(self.parts, real.shape[1], of_types)
        else:
            backwards = [part.mirrored() for part in reversed(self.parts)]
            laid = _laid(backwards, real.shape[1], of_types)[:, ::-1]
        # Arithmetic that wraps around is exact, and takes half as long as writing through a mask.
        if filling:
            laid -= laid.dtype.type(filling)
        laid *= real
        if filling:
            laid += laid.dtype.type(filling)
        return laid

    def flat(self, of_types: bool = False) -> NDArray[np.int64]:
        """The ids, or the types, of all texts end to end, ``[T]`` int64."""
        # Joining slices of bytes is twice as fast as gathering by places.
        runs = zip(*(part.runs(of_types) for part in self.parts), strict=True)
        joined = b"".join(chain.from_iterable(runs))
        return np.frombuffer(joined, self.dtype).astype(np.int64)


def _laid(parts: Sequence[Part], width: int, of_types: bool) -> NDArray[Any]:
    """``[N, width]``: the parts, of which one at the most is not constant, one after the other.

    Whatever stands behind the last is to be overwritten.
    """
    before = list(takewhile(lambda part: part.is_constant, parts))
    column = sum(len(part.source) for part in before)
    if len(before) < len(parts):
        own = parts[len(before)]
        laid = own.windows(width, column, of_types)
        texts, at = np.arange(len(laid))[:, None], column + own.lengths[:, None]
        for part in parts[len(before) + 1 :]:
            laid[texts, at + np.arange(len(part.source))] = part.types if of_types else part.source
            at = at + part.lengths[:, None]
    else:
        laid = np.empty((len(before[0].lengths), width), before[0].source.dtype)
    for part in reversed(before):
        column -= len(part.source)
        laid[:, column : column + len(part.source)] = part.types if of_types else part.source
    return laid


class TensorLayout:
    """Lays texts out as a model takes them.

    - ``padded``: one dict of tensors ``[N, L]``, filled up on the tokenizer's side, with its names.
    - ``chunked``: a list of such dicts; the texts are sorted by length, the longest first, and cut
      into ``ceil(N / chunk_size)`` chunks of equal size, each padded to its own longest text.
    - ``packed``: one row without padding: ``input_ids`` and ``position_ids`` [1, T], and what
      transformers' attention functions take for it (as DataCollatorWithFlattening gives it):
      ``cu_seq_lens_q``, ``cu_seq_lens_k`` int32 [N+1], where each text begins, and
      ``max_length_q``, ``max_length_k`` (int).

    Args:
        tokenizer: whose names, padding side and padding ids are followed.
        layout: see above.
        pad_to_multiple_of: pad to a multiple of so many tokens; None for the longest text's length.
        chunk_size: texts in a chunk, at most.

    Raises:
        ConfigError: a tokenizer without a padding token, where padding is needed.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        layout: Layout = "padded",
        pad_to_multiple_of: int | None = None,
        chunk_size: int = 32,
    ) -> None:
        check_choice(layout, Layout, "data.layout")
        if tokenizer.pad_token_id is None and layout != "packed":
            raise ConfigError(
                f"the tokenizer {tokenizer.name_or_path!r} has no padding token, which batches "
                "need (set tokenizer.pad_token, for instance to its eos_token, or data.layout to "
                "packed)"
            )
        self.layout = layout
        self.chunk_size = chunk_size
        self._multiple = pad_to_multiple_of or 1
        self._pad_id = tokenizer.pad_token_id
        self._pad_type = tokenizer.pad_token_type_id
        self._pads_right = tokenizer.padding_side == "right"
        self._has_types = "token_type_ids" in tokenizer.model_input_names

    def __call__(
        self, tokens: Tokens, inverse: NDArray[np.int64] | None = None
    ) -> tuple[Inputs | list[Inputs], NDArray[np.int64] | None]:
        """A model's inputs, and which of the rows it gives stands for which text of the batch.

        Args:
            tokens: of N different texts.
            inverse: ``[M]`` int64, which of them each text of the batch is; None: text m is row m.

        Returns:
            The inputs, and ``[M]`` int64, or None where row m stands for text m.
        """
        if self.layout == "packed":
            return self._packed(tokens), inverse
        if self.layout == "padded":
            return self._padded(tokens), inverse
        # As many chunks as without unique keys: ranks must call their encoders equally often. Where
        # there are too few texts for them, a text is encoded again, to no end.
        n_texts = len(tokens) if inverse is None else len(inverse)
        n_chunks = max(-(-n_texts // self.chunk_size), 1)
        order = np.argsort(-tokens.lengths, kind="stable")
        row = np.empty_like(order)
        row[order] = np.arange(len(order))
        parts = [part if len(part) else order[:1] for part in np.array_split(order, n_chunks)]
        chunks = [self._padded(tokens.take(part)) for part in parts]
        return chunks, row if inverse is None else row[inverse]

    def padded(self, tokens: Tokens, sizes: Sequence[int]) -> Iterator[Inputs]:
        """Padded inputs, whatever the layout, of consecutive runs of texts.

        Args:
            tokens: of all texts.
            sizes: texts of each run.

        Returns:
            Of each run a dict of int64 tensors ``[size, L]``, as wide as its own longest text.
        """
        lengths = tokens.lengths
        width = self._width(lengths)
        yes, no = np.ones(width, tokens.dtype), np.zeros(width, tokens.dtype)
        if self._pads_right:
            real = slices_at(np.concatenate([yes, no]), width - lengths, width)
        else:
            real = slices_at(np.concatenate([no, yes]), lengths, width)
        ids = tokens.padded(real, self._pad_id, self._pads_right)
        types = None
        if self._has_types and (tokens.typed or self._pad_type):
            types = tokens.padded(real, self._pad_type, self._pads_right, of_types=True)
        first = 0
        for size in sizes:
            own_width = self._width(lengths[first : first + size])
            columns = slice(own_width) if self._pads_right else slice(width - own_width, width)
            own, first = (slice(first, first + size), columns), first + size
            yield self._inputs(ids[own], None if types is None else types[own], real[own])

    def _padded(self, tokens: Tokens) -> Inputs:
        return next(self.padded(tokens, [len(tokens)]))

    def _inputs(self, ids: NDArray[Any], types: NDArray[Any] | None, real: NDArray[Any]) -> Inputs:
        # One block, as the three are freed together: of several blocks of a large batch, glibc
        # gives the memory back to the system, which clears it for the next batch.
        block = np.empty((3 if self._has_types else 2, *ids.shape), np.int64)
        block[0], block[-1] = ids, real
        if self._has_types:
            block[1] = 0 if types is None else types
        return self._named(*block[:-1]) | {"attention_mask": _tensor(block[-1])}

    def _width(self, lengths: NDArray[np.int64]) -> int:
        width = int(lengths.max(initial=1))  # one column at the least, also where there is no text
        return width + -width % self._multiple

    def _packed(self, tokens: Tokens) -> Inputs:
        lengths = tokens.lengths
        ends = np.concatenate(([0], np.cumsum(lengths)))
        places = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths)
        bounds, longest = _tensor(ends.astype(np.int32)), int(lengths.max(initial=0))
        return {
            **self._named(
                tokens.flat()[None], tokens.flat(True)[None] if self._has_types else None
            ),
            "position_ids": _tensor(places[None]),
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": longest,
            "max_length_k": longest,
        }

    def _named(
        self, ids: NDArray[np.int64], types: NDArray[np.int64] | None = None
    ) -> dict[str, Tensor]:
        named = {"input_ids": _tensor(ids)}
        return named if types is None else named | {"token_type_ids": _tensor(types)}


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array)


def _joined(lists: Sequence[Sequence[int]], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(lists), np.int64, int(lengths.sum()))
