"""The order among equal scores: by document id, descending as strings, as in trec_eval.

Strings are compared by their UTF-8 bytes, as C's strcmp compares them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

# Limit of an index in digits: padded to this many digits and multiplied by 32, it fits in 64 bits.
_MOST_DIGITS = 16


def tie_ranks(ids: pa.StringArray) -> Tensor:
    """Return each document's rank among all ids in descending order, from 0, ``[n]`` int64.

    >>> tie_ranks(pa.array(["d10", "d9", "d1"])).tolist()
    [1, 0, 2]
    """
    order = pc.sort_indices(ids, sort_keys=[("", "descending")]).to_numpy()
    ranks = np.empty(len(ids), np.int64)
    ranks[order] = np.arange(len(ids))
    return torch.from_numpy(ranks)


def tie_order(index: Tensor) -> Tensor:
    """Return int64 sort keys in the shape of ``index``, for a corpus without document ids.

    Ascending sort keys give row numbers in descending order as strings.

    >>> index = torch.tensor([1, 2, 9, 10, 19, 100])
    >>> index[tie_order(index).argsort()].tolist()
    [9, 2, 19, 100, 10, 1]
    """
    digits = torch.ones_like(index)
    for power in range(1, _MOST_DIGITS):
        digits += index >= 10**power
    powers = torch.tensor([10**power for power in range(_MOST_DIGITS)], device=index.device)
    # Pad the digits with zeros on the right. Among equal results, the longer number is greater.
    return -(index * powers[_MOST_DIGITS - digits] * 32 + digits)
