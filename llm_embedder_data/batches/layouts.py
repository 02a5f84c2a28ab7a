"""Token ids of many texts to a model's tensors: padded, in chunks of like length, or packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.config import ConfigError, check_choice

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

    def windows(self, width: int, of_types: bool = False) -> NDArray[Any]:
        """``[N, width]``: each text's run, and behind it whatever comes there."""
        source = self.types if of_types else self.source
        if isinstance(source, int):
            return np.full((len(self.starts), width), source, self.source.dtype)
        if len(source) < width:
            source = np.concatenate([source, np.zeros(width - len(source), source.dtype)])
        # Rows of a view that begins at every place are copied whole: a tenth of what it takes to
        # gather tokens one by one.
        stride, last = source.strides[0], len(source) - width
        windows = as_strided(source, (last + 1, width), (stride, stride), writeable=False)
        found: NDArray[Any] = windows[np.minimum(self.starts, last)]
        for text in np.flatnonzero(self.starts > last).tolist():
            start, length = self.starts[text], self.lengths[text]
            found[text, :length] = source[start : start + length]
        return found

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
    def typed(self) -> bool:
        """Whether a token has a type other than 0."""
        return any(
            part.types if isinstance(part.types, int) else part.types.any() for part in self.parts
        )

    def take(self, texts: NDArray[np.int64]) -> Tokens:
        """Some of the texts, in another order."""
        return Tokens(tuple(part.take(texts) for part in self.parts))

    def padded(
        self, real: NDArray[np.bool_], filling: int, right: bool, of_types: bool = False
    ) -> NDArray[np.int64]:
        """The ids, or the types, of all texts filled up at one end.

        Args:
            real: ``[N, L]``, where a text has a token.
            filling: where it has none.
            right: whether that is at the right end.
            of_types: the types.

        Returns:
            ``[N, L]`` int64, contiguous.
        """
        if sum(not part.is_constant for part in self.parts) > 1:  # where one ends, another begins
            laid = np.empty(real.shape, self.parts[0].source.dtype)
            laid[real] = self.flat(of_types)
        elif right:
            laid = _laid(self.parts, real.shape[1], of_types)
        else:
            backwards = [part.mirrored() for part in reversed(self.parts)]
            laid = _laid(backwards, real.shape[1], of_types)[:, ::-1]
        # Arithmetic that wraps around is exact, and takes half as long as writing through a mask.
        laid -= laid.dtype.type(filling)
        laid *= real
        laid += laid.dtype.type(filling)
        return laid.astype(np.int64, order="C")

    def flat(self, of_types: bool = False) -> NDArray[np.int64]:
        """The ids, or the types, of all texts end to end, ``[T]`` int64."""
        # Joining slices of bytes is twice as fast as gathering by places.
        runs = zip(*(part.runs(of_types) for part in self.parts), strict=True)
        joined = b"".join(chain.from_iterable(runs))
        return np.frombuffer(joined, self.parts[0].source.dtype).astype(np.int64)


def _laid(parts: Sequence[Part], width: int, of_types: bool) -> NDArray[Any]:
    """``[N, width]``: the parts, of which one at the most is not constant, one after the other.

    Whatever stands behind the last is to be overwritten.
    """
    n_texts = len(parts[0].lengths)
    laid = np.empty((n_texts, width), parts[0].source.dtype)
    texts, at = np.arange(n_texts)[:, None], None  # where the next part begins, if not in a column
    column = 0
    for part in parts:
        if not part.is_constant:
            laid[:, column:] = part.windows(width - column, of_types)
            at = column + part.lengths[:, None]
            continue
        own, n_own = part.types if of_types else part.source, len(part.source)
        if at is None:
            laid[:, column : column + n_own] = own
            column += n_own
        else:
            laid[texts, at + np.arange(n_own)] = own
            at = at + n_own
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

    def _padded(self, tokens: Tokens) -> Inputs:
        lengths = tokens.lengths
        width = int(lengths.max(initial=1))  # one column at the least, also where there is no text
        width += -width % self._multiple
        short: type[np.signedinteger[Any]] = np.int16 if width < 1 << 15 else np.int64
        place, bound = np.arange(width, dtype=short), lengths.astype(short)[:, None]
        real = place < bound if self._pads_right else place >= width - bound
        types = None
        if self._has_types and (tokens.typed or self._pad_type):
            types = tokens.padded(real, self._pad_type, self._pads_right, of_types=True)
        elif self._has_types:
            types = np.zeros(real.shape, np.int64)
        ids = tokens.padded(real, self._pad_id, self._pads_right)
        return self._named(ids, types) | {"attention_mask": _tensor(real.astype(np.int64))}

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

    def _named(self, ids: NDArray[np.int64], types: NDArray[np.int64] | None) -> dict[str, Tensor]:
        named = {"input_ids": _tensor(ids)}
        return named if types is None else named | {"token_type_ids": _tensor(types)}


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array)


def _joined(lists: Sequence[Sequence[int]], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(lists), np.int64, int(lengths.sum()))
