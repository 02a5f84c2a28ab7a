"""Turns token ids into a model's tensors: padded, in chunks of similar length, or packed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.model_inputs import Layout, ModelInputs
from llm_embedder_data.batches.tokens.token_slices import Tokens
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.core.slices import slices_at


class TensorLayout:
    """Makes a model's input tensors from tokenized texts.

    - ``padded``: one dict of tensors ``[N, L]``, padded on the tokenizer's padding side.
    - ``chunked``: a list of such dicts; texts are sorted by length, the longest first, and cut into
      ``ceil(N / chunk_size)`` chunks of equal size, each padded to its own longest text.
    - ``packed``: one row without padding: ``input_ids`` and ``position_ids`` [1, T], and the
      arguments that transformers' attention functions need for it (named as in
      DataCollatorWithFlattening): ``cu_seq_lens_q``, ``cu_seq_lens_k`` int32 [N+1], where each text
      begins, and ``max_length_q``, ``max_length_k`` (int).

    Args:
        tokenizer: determines the padding side, the padding ids, and whether there are token types.
        layout: see above.
        pad_to_multiple_of: pad to a multiple of this; None pads to the longest text.
        chunk_size: maximum number of texts in a chunk.

    Raises:
        ConfigError: the layout needs padding, and the tokenizer has no padding token.
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
    ) -> tuple[ModelInputs | list[ModelInputs], NDArray[np.int64] | None]:
        """Return a model's inputs, and the row that holds each text of the batch.

        Args:
            tokens: the tokens of N distinct texts.
            inverse: ``[M]`` int64, for each text of the batch its index among the N; None if the
                batch consists of these N texts in order.

        Returns:
            The inputs, and the row of each text, ``[M]`` int64; None if text m is in row m.
        """
        if self.layout == "packed":
            return self._packed(tokens), inverse
        if self.layout == "padded":
            return self._padded(tokens), inverse
        # Make as many chunks as there would be with repeated texts: all ranks must call their
        # encoders equally often, but may have different numbers of distinct texts. If there are
        # fewer texts than chunks, repeat one; its extra embeddings are ignored.
        n_texts = len(tokens) if inverse is None else len(inverse)
        n_chunks = max(-(-n_texts // self.chunk_size), 1)
        order = np.argsort(-tokens.lengths, kind="stable")
        row = np.empty_like(order)
        row[order] = np.arange(len(order))
        parts = [part if len(part) else order[:1] for part in np.array_split(order, n_chunks)]
        chunks = [self._padded(tokens.take(part)) for part in parts]
        return chunks, row if inverse is None else row[inverse]

    def padded(self, tokens: Tokens, sizes: Sequence[int]) -> Iterator[ModelInputs]:
        """Yield padded inputs for consecutive groups of texts, whatever ``layout`` is.

        Args:
            tokens: the tokens of all texts.
            sizes: number of texts in each group.

        Yields:
            A dict of int64 tensors ``[size, L]`` for each group, as wide as its longest text.
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
            group_width = self._width(lengths[first : first + size])
            columns = slice(group_width) if self._pads_right else slice(width - group_width, width)
            group, first = (slice(first, first + size), columns), first + size
            yield self._inputs(ids[group], None if types is None else types[group], real[group])

    def _padded(self, tokens: Tokens) -> ModelInputs:
        return next(self.padded(tokens, [len(tokens)]))

    def _inputs(
        self, ids: NDArray[Any], types: NDArray[Any] | None, real: NDArray[Any]
    ) -> ModelInputs:
        # Use one array for all three tensors. glibc returns several large arrays to the system when
        # they are freed, and the system would have to clear the memory again for the next batch.
        block = np.empty((3 if self._has_types else 2, *ids.shape), np.int64)
        block[0], block[-1] = ids, real
        if self._has_types:
            block[1] = 0 if types is None else types
        return self._named(*block[:-1]) | {"attention_mask": _tensor(block[-1])}

    def _width(self, lengths: NDArray[np.int64]) -> int:
        width = int(lengths.max(initial=1))  # at least one column, even if there are no texts
        return width + -width % self._multiple

    def _packed(self, tokens: Tokens) -> ModelInputs:
        lengths = tokens.lengths
        ends = np.concatenate(([0], np.cumsum(lengths)))
        positions = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths)
        bounds, longest = _tensor(ends.astype(np.int32)), int(lengths.max(initial=0))
        return {
            **self._named(
                tokens.flat()[None], tokens.flat(True)[None] if self._has_types else None
            ),
            "position_ids": _tensor(positions[None]),
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
