"""An inventory of a set of texts: which texts are equal, and digests of the texts and ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.mining.embeddable_texts import EmbeddableTexts, TextBlock

_TEXTS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class TextInventory:
    """The M distinct texts among N texts, numbered in order of first appearance.

    Equal texts with different instructions count as different.

    Attributes:
        n_texts: N.
        first: ``[M]`` int64, ascending, the position at which each distinct text first appears.
        hashes: ``[M, 2]`` uint64, the hash of each distinct text, see :func:`text_hashes`.
        number: ``[N]`` int64, the number of the distinct text at each position; None if all texts
            are distinct.
        texts_digest: digest of all texts and their instructions, in order.
        ids: the id of each text, ``[N]``.
        ids_digest: digest of the ids, in order.
    """

    n_texts: int
    first: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    number: NDArray[np.int64] | None
    texts_digest: str
    ids: pa.StringArray
    ids_digest: str


def take_inventory(
    texts: EmbeddableTexts, progress: Callable[[int], None] = lambda n_texts: None
) -> TextInventory:
    """Read all texts once, in blocks. Only a hash of 16 bytes per text and the ids are kept.

    Args:
        texts: the texts to read.
        progress: called with the number of texts of each block.
    """
    hashes = np.empty((len(texts), 2), np.uint64)
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        stop = min(start + _TEXTS_AT_ONCE, len(texts))
        hashes[start:stop] = text_hashes(texts.at(np.arange(start, stop)))
        progress(stop - start)
    first, number = _distinct(hashes)
    ids = texts.ids()
    return TextInventory(
        n_texts=len(texts),
        first=first,
        hashes=hashes[first],
        number=None if len(first) == len(texts) else number,
        texts_digest=xxhash.xxh3_128_hexdigest(hashes.data),
        ids=ids,
        ids_digest=_digest_of_ids(ids),
    )


def text_hashes(block: TextBlock) -> NDArray[np.uint64]:
    """Return a 128-bit hash of each text with its instruction, ``[n, 2]`` uint64."""
    texts, instructions = block
    if instructions is None:
        digests = b"".join(xxhash.xxh3_128_digest(text.encode()) for text in texts)
    else:
        # The seed encodes the instruction's length, so ("ab", "c") and ("a", "bc") differ. Without
        # an instruction the seed is 0.
        digests = b"".join(
            xxhash.xxh3_128_digest(text.encode())
            if instruction is None
            else xxhash.xxh3_128_digest(
                (instruction + text).encode(), seed=1 + len(instruction.encode())
            )
            for text, instruction in zip(texts, instructions, strict=True)
        )
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def _distinct(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each distinct row first appears, ``[M]``, and each row's number, ``[N]``."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal rows keep their order
    in_order = hashes[order]
    begins = np.ones(len(hashes), bool)
    begins[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    first = order[begins]  # [M], in the order of the hashes
    by_position = np.argsort(first)
    number_of_group = np.empty_like(by_position)
    number_of_group[by_position] = np.arange(len(first))
    number = np.empty(len(hashes), np.int64)
    number[order] = number_of_group[np.cumsum(begins) - 1]
    return first[by_position], number


def _digest_of_ids(ids: pa.StringArray) -> str:
    hashed = xxhash.xxh3_128()
    for start in range(0, len(ids), _TEXTS_AT_ONCE):
        part = ids.slice(start, _TEXTS_AT_ONCE).to_pylist()
        hashed.update("".join(f"{len(name)}:{name}" for name in part).encode())
    return str(hashed.hexdigest())
