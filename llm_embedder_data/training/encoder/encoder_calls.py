"""Splits one side of a batch into calls of the encoder, and restores the order of its texts."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llm_embedder_data.batches.tokens.model_inputs import layout_of, model_calls
from llm_embedder_data.training.encoder.pooling import prompt_length_of_calls

# Tokenized texts: padded or packed in one mapping, or chunked in a list of mappings.
TokenizedTexts = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class EncoderCall(NamedTuple):
    """The input of one call of the encoder.

    Attributes:
        inputs: tensors of texts in the padded or the packed layout.
        prompt_length: number of tokens at the start of each text that mean pooling leaves out: one
            number, or ``[n]`` int64.
    """

    inputs: Mapping[str, Any]
    prompt_length: int | Tensor


class TextCalls(NamedTuple):
    """The calls that embed some texts.

    Attributes:
        calls: one or more calls.
        row: ``[N]`` int64, the row of each text's embedding in the concatenated outputs of all
            calls; None: text i is in row i.
    """

    calls: list[EncoderCall]
    row: Tensor | None

    def in_order(self, rows: Tensor) -> Tensor:
        """Reorder the outputs of all calls, ``[n, D]``, to the order of the texts, ``[N, D]``."""
        return rows if self.row is None else rows[self.row]


def encoder_calls(
    inputs: TokenizedTexts,
    inverse: Tensor | None = None,
    prompt_length: int | Tensor = 0,
    mini_batch_size: int | None = None,
    max_tokens: int | None = None,
) -> TextCalls:
    """Return the calls that embed texts.

    Args:
        inputs: texts in any layout, see ``BiEncoder.encode``.
        inverse: ``[N]`` int64, the row of each text in ``inputs``; None: text i is in row i.
        prompt_length: number of tokens at the start of each text that mean pooling leaves out: one
            number, or ``[N]`` int64.
        mini_batch_size: maximum number of texts per call; None: no limit.
        max_tokens: maximum number of tokens per call, padding included; a longer text is a call by
            itself. None: no limit.

    With either limit, padded texts are sorted by length, and trailing columns that are padding in
    all texts of a call are dropped. Without limits, each chunk is a call, and in the other layouts
    there is a single call.
    """
    sides = model_calls(inputs)
    lengths = prompt_length_of_calls(sides, inverse, prompt_length)
    calls = [EncoderCall(*call) for call in zip(sides, lengths, strict=True)]
    if mini_batch_size is None and max_tokens is None:
        return TextCalls(calls, inverse)
    parts: list[EncoderCall] = []
    order: list[int] = []  # for each row of the parts, its row in the inputs
    for call in calls:
        cut = _packed_parts if layout_of(call.inputs) == "packed" else _padded_parts
        offset = len(order)
        for rows, part in cut(call, mini_batch_size or sys.maxsize, max_tokens or sys.maxsize):
            parts.append(part)
            order += [offset + row for row in rows]
    device = parts[0].inputs["input_ids"].device
    row = torch.empty(len(order), dtype=torch.int64)
    row[torch.tensor(order, dtype=torch.int64)] = torch.arange(len(order))
    row = row.to(device)
    return TextCalls(parts, row if inverse is None else row[inverse])


def _padded_parts(
    call: EncoderCall, most_texts: int, most_tokens: int
) -> Iterator[tuple[list[int], EncoderCall]]:
    """Cut a padded call into mini-batches, longest texts first.

    Yields:
        The rows of the call that a mini-batch holds, and the call for them.
    """
    mask = call.inputs["attention_mask"]
    n_texts, n_columns = mask.shape
    if n_texts <= most_texts and n_texts * n_columns <= most_tokens:
        yield list(range(n_texts)), call
        return
    # Do not drop leading padding: some models count positions from column 0.
    columns = torch.arange(1, n_columns + 1, device=mask.device)
    ends = (mask * columns).amax(1).cpu()  # the only point where this waits for the device
    order = ends.argsort(descending=True, stable=True)
    start = 0
    while start < n_texts:
        width = max(int(ends[order[start]]), 1)
        rows = order[start : start + max(min(most_texts, most_tokens // width), 1)]
        start += len(rows)
        here = rows.to(mask.device)
        inputs = {name: value[here, :width] for name, value in call.inputs.items()}
        yield rows.tolist(), EncoderCall(inputs, _of_rows(call.prompt_length, here))


def _packed_parts(
    call: EncoderCall, most_texts: int, most_tokens: int
) -> Iterator[tuple[list[int], EncoderCall]]:
    """Cut a packed call into mini-batches, in the order of the texts.

    Yields:
        The texts of the call that a mini-batch holds, and the call for them.
    """
    bounds: list[int] = call.inputs["cu_seq_lens_q"].tolist()
    n_texts = len(bounds) - 1
    start, stop = 0, -1
    while stop < n_texts:
        fitting = bisect_right(bounds, bounds[start] + most_tokens) - 1
        stop = min(max(fitting, start + 1), start + most_texts, n_texts)
        begin, end = bounds[start], bounds[stop]
        part_bounds = call.inputs["cu_seq_lens_q"][start : stop + 1] - begin
        longest = max((bounds[i + 1] - bounds[i] for i in range(start, stop)), default=0)
        inputs: dict[str, Any] = {
            name: value[:, begin:end]
            for name, value in call.inputs.items()
            if isinstance(value, Tensor) and value.ndim == 2
        }
        inputs |= dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), part_bounds)
        inputs |= dict.fromkeys(("max_length_q", "max_length_k"), longest)
        yield (
            list(range(start, stop)),
            EncoderCall(inputs, _of_rows(call.prompt_length, slice(start, stop))),
        )
        start = stop


def _of_rows(prompt_length: int | Tensor, rows: Tensor | slice) -> int | Tensor:
    return prompt_length[rows] if isinstance(prompt_length, Tensor) else prompt_length
