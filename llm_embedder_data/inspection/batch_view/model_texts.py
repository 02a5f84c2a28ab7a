"""Reading the token ids of each text, and the padding, from a batch's tensors in any layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from llm_embedder_data.batches.tokens.model_inputs import layout_of, model_calls


@dataclass(frozen=True, slots=True)
class SideShape:
    """The size and padding of one side (query, key or cross) of a rank's batch.

    Attributes:
        shapes: the shape of ``input_ids`` in each call of the model.
        n_texts: number of texts that the model encodes. With ``unique_keys`` the batch may have
            more.
        n_tokens: number of tokens, without padding.
        n_cells: number of tokens, with padding.
    """

    shapes: list[list[int]]
    n_texts: int
    n_tokens: int
    n_cells: int

    @property
    def padded_share(self) -> float:
        """The share of the cells that is padding."""
        return 1 - self.n_tokens / self.n_cells if self.n_cells else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return a dict of plain Python values."""
        return {
            "shapes": self.shapes,
            "texts": self.n_texts,
            "tokens": self.n_tokens,
            "cells": self.n_cells,
            "padded_share": self.padded_share,
        }


def ids_of_side(batch: Mapping[str, Any], side: str) -> list[list[int]]:
    """Return the token ids of each text of a side, without padding, in the batch's order.

    Args:
        batch: a batch of :class:`RetrievalDataCollator`, of any layout.
        side: ``query``, ``key`` or ``cross``.
    """
    rows = _rows(batch[side])
    inverse: Tensor | None = batch.get(f"{side}_inverse")
    return rows if inverse is None else [rows[row] for row in inverse.tolist()]


def shape_of_side(batch: Mapping[str, Any], side: str) -> SideShape:
    """Return the size and padding of the tensors of a side: ``query``, ``key`` or ``cross``."""
    rows = _rows(batch[side])
    shapes = [list(call["input_ids"].shape) for call in model_calls(batch[side])]
    return SideShape(
        shapes=shapes,
        n_texts=len(rows),
        n_tokens=sum(map(len, rows)),
        n_cells=sum(height * width for height, width in shapes),
    )


def _rows(side: Any) -> list[list[int]]:
    """Return the token ids of each row that the model encodes."""
    if layout_of(side) == "packed":
        ids, bounds = side["input_ids"][0].tolist(), side["cu_seq_lens_q"].tolist()
        return [ids[start:end] for start, end in pairwise(bounds)]
    return [
        row[mask.bool()].tolist()
        for call in model_calls(side)
        for row, mask in zip(call["input_ids"], call["attention_mask"], strict=True)
    ]
