"""Token ids of many texts to a model's tensors: padded, in chunks of like length, or packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
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
        source: ``[T]`` of any integer type.
        starts: ``[N]`` int64, where each text's run begins.
        lengths: ``[N]`` int64, its tokens.
        types: token types, parallel to ``source``, or one for all.
    """

    source: NDArray[Any]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    types: NDArray[Any] | int = 0

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
    def constant(cls, ids: Sequence[int], n_texts: int, types: NDArray[np.int64] | int = 0) -> Part:
        """The same ids in each of N texts."""
        source = np.array(ids, np.int64)
        return cls(source, np.zeros(n_texts, np.int64), np.full(n_texts, len(ids)), types)

    def take(self, texts: NDArray[np.int64]) -> Part:
        """Some of the texts, in another order."""
        return Part(self.source, self.starts[texts], self.lengths[texts], self.types)

    def write(
        self, at: NDArray[np.int64], out: NDArray[np.int64], what: NDArray[Any] | int
    ) -> None:
        """Write each text's run of ``what``, the ids or the types, to ``at[n]`` and on."""
        lengths = self.lengths
        if len(lengths) and (lengths == lengths[0]).all():
            run = np.arange(lengths[0])
            to = at[:, None] + run
            out[to] = what if isinstance(what, int) else what[self.starts[:, None] + run]
            return
        # Slices copy faster than places gather, but for the shortest texts.
        for begin, start, length in zip(
            at.tolist(), self.starts.tolist(), lengths.tolist(), strict=True
        ):
            out[begin : begin + length] = (
                what if isinstance(what, int) else what[start : start + length]
            )


@dataclass(frozen=True, slots=True)
class Tokens:
    """N texts as token ids without padding, each its parts one after the other."""

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
        return any(np.any(part.types) for part in self.parts)

    def take(self, texts: NDArray[np.int64]) -> Tokens:
        """Some of the texts, in another order."""
        return Tokens(tuple(part.take(texts) for part in self.parts))

    def write(
        self,
        at: NDArray[np.int64],
        ids: NDArray[np.int64],
        types: NDArray[np.int64] | None = None,
    ) -> None:
        """Write the ids, and the types if asked for, of text n to ``at[n]`` and on.

        Args:
            at: ``[N]`` int64, places in ``ids``.
            ids: flat, written to.
            types: flat, written to.
        """
        for part in self.parts:
            part.write(at, ids, part.source)
            if types is not None:
                part.write(at, types, part.types)
            at = at + part.lengths


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
        place, begins = np.arange(width), np.arange(len(tokens)) * width
        if self._pads_right:
            real = place < lengths[:, None]
        else:
            real = place >= width - lengths[:, None]
            begins += width - lengths
        ids = np.full((len(tokens), width), self._pad_id, np.int64)
        types = None
        if self._has_types:
            types = np.where(real, 0, self._pad_type) if self._pad_type else np.zeros_like(ids)
        tokens.write(
            begins,
            ids.reshape(-1),
            types.reshape(-1) if types is not None and tokens.typed else None,
        )
        return self._named(ids, types) | {"attention_mask": _tensor(real.astype(np.int64))}

    def _packed(self, tokens: Tokens) -> Inputs:
        lengths = tokens.lengths
        ends = np.concatenate(([0], np.cumsum(lengths)))
        ids = np.empty(ends[-1], np.int64)
        types = np.zeros_like(ids) if self._has_types else None
        tokens.write(ends[:-1], ids, types)
        places = np.arange(len(ids)) - np.repeat(ends[:-1], lengths)
        bounds, longest = _tensor(ends.astype(np.int32)), int(lengths.max(initial=0))
        return {
            **self._named(ids[None], None if types is None else types[None]),
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
