"""A model's inputs for one side of a batch (queries or keys), in one of three layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Layout = Literal["padded", "chunked", "packed"]

# The keyword arguments of one model call: tensors by name, such as input_ids.
ModelInputs = dict[str, Any]


def layout_of(side: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Layout:
    """Return the layout of one side of a batch, such as ``batch["query"]``."""
    if not isinstance(side, Mapping):
        return "chunked"
    return "packed" if "cu_seq_lens_q" in side else "padded"


def model_calls(
    side: Mapping[str, Any] | Sequence[Mapping[str, Any]],
) -> Sequence[Mapping[str, Any]]:
    """Return the inputs of each model call: one call per chunk, or one for the whole side."""
    return [side] if isinstance(side, Mapping) else side
