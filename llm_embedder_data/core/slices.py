"""Gathers many short slices of a long array at once.

Steps with a token cache spend most of their time in this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray


def slices_at(source: NDArray[Any], starts: NDArray[np.int64], width: int) -> NDArray[Any]:
    """Return ``source[start : start + width]`` for each start, ``[n, width]``, as a copy.

    A slice may begin before the array or end after it. Its entries outside the array are arbitrary.

    >>> import numpy as np
    >>> slices_at(np.arange(10), np.array([4, 1]), 3).tolist()
    [[4, 5, 6], [1, 2, 3]]
    """
    if len(source) < width:
        source = np.concatenate([source, np.zeros(width - len(source), source.dtype)])
    # A strided view has one row per possible start. Copying whole rows of it takes a tenth of the
    # time that gathering single entries takes. NumPy's as_strided makes such a view of any array,
    # but takes longer than copying the rows of a batch.
    last, shape = len(source) - width, (len(source) - width + 1, width)
    strides = 2 * source.strides
    if source.flags.c_contiguous:
        view = np.ndarray(shape, source.dtype, source.data, strides=strides)
    else:
        view = as_strided(source, shape, strides, writeable=False)
    inside = np.minimum(np.maximum(starts, 0), last)
    slices: NDArray[Any] = view[inside]
    for number in np.flatnonzero(inside != starts).tolist():  # slices that reach outside
        start = int(starts[number])
        begin, end = max(start, 0), min(start + width, len(source))
        if begin < end:
            slices[number, begin - start : end - start] = source[begin:end]
    return slices
