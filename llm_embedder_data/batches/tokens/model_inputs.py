"""What a model is given of one side of a batch: three layouts, and how to tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Layout = Literal["padded", "chunked", "packed"]

# One model call: tensors by the names that the model takes them under.
ModelInputs = dict[str, Any]


def layout_of(side: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Layout:
    """Return the layout of one side of a batch, such as ``batch["query"]``."""
    if not isinstance(side, Mapping):
        return "chunked"
    return "packed" if "cu_seq_lens_q" in side else "padded"


def model_calls(
    side: Mapping[str, Any] | Sequence[Mapping[str, Any]],
) -> Sequence[Mapping[str, Any]]:
    """Return what each call of a model takes: a chunk each, or the whole side."""
    return [side] if isinstance(side, Mapping) else side
