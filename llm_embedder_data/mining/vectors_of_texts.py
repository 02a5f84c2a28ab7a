"""Looks up the vectors of single texts in all embedding stores of a folder.

``score`` needs vectors of the queries and keys of rows. Stores that were filled with other sets of
texts, such as a corpus, may contain some of these texts. A store is used if its fingerprint differs
from the requested fingerprint in the prompt and the set of texts at most. From such a store, a
vector is read if both text and prompt match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.sealed_files import is_whole, mapped
from llm_embedder_data.mining.embedding_store import (
    TEXT_HASHES,
    EmbeddingStore,
    StoreLayout,
    most_similar_store,
    read_headers,
)
from llm_embedder_data.mining.rank_group import gather_objects
from llm_embedder_data.mining.store_fingerprint import StoreFingerprint
from llm_embedder_data.mining.text_inventory import text_hashes

# Fields of the fingerprint that may differ, because texts and prompts are compared one by one.
_MAY_DIFFER = ("prompt", "n_texts", "texts", "ids")

_HASHES_AT_ONCE = 1 << 16


@dataclass(slots=True)
class FoundVectors:
    """Where the vectors of n texts are.

    Attributes:
        stores: the stores that hold some of them.
        store: ``[n]`` int64, for each text an index into ``stores``; -1 for a text without vector.
        number: ``[n]`` int64, the number of the text among the store's distinct texts.
        notes: sentences for users by the name of a store: what was read from it, or why it was
            not read.
    """

    stores: list[EmbeddingStore]
    store: NDArray[np.int64]
    number: NDArray[np.int64]
    notes: dict[str, str]

    def add(self, store: EmbeddingStore, texts: NDArray[np.int64]) -> None:
        """Add a store whose distinct texts are those with the given numbers, in this order."""
        self.store[texts], self.number[texts] = len(self.stores), np.arange(len(texts))
        self.stores.append(store)

    def at(self, texts: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors ``[m, D]`` float32 of m of the n texts, by their positions.

        All these texts must have been found.
        """
        wanted = np.asarray(texts, np.int64)
        vectors = np.empty((len(wanted), self.stores[0].width), np.float32)
        for number, store in enumerate(self.stores):
            here = np.flatnonzero(self.store[wanted] == number)
            if len(here):
                vectors[here] = store.of_distinct(self.number[wanted[here]])
        return vectors


def find_vectors(
    root: Path, fingerprint: StoreFingerprint, asked_for: Sequence[tuple[str, str]]
) -> FoundVectors:
    """Find texts in the embedding stores of a folder.

    All ranks of a torch.distributed group must call this; they read the same stores.

    Args:
        root: the folder that holds the stores; it need not exist.
        fingerprint: what vectors depend on. Its prompt and its texts are ignored.
        asked_for: n pairs: a prompt, and a text without the prompt.

    Raises:
        DataError: a store is damaged.
    """
    texts, prompts = [text for _, text in asked_for], [prompt for prompt, _ in asked_for]
    nowhere = np.full(len(texts), -1, np.int64)
    found = FoundVectors([], nowhere, nowhere.copy(), {})
    asked = _Asked(
        text_hashes((texts, None)), text_hashes((texts, prompts)), np.array(prompts, object)
    )
    # All ranks use rank 0's list: another job may begin a store between the checks of two ranks.
    headers = gather_objects(read_headers(root))[0]
    for header in headers.values():
        if not fingerprint.differs_in(header["fingerprint"], _MAY_DIFFER):
            _read(root, header, asked, found)
    similar = most_similar_store(headers, fingerprint, _MAY_DIFFER)
    if similar is not None and (found.store < 0).any():
        found.notes[similar.name] = (
            f"the store {similar.name} was not read because it differs in "
            f"{', '.join(similar.differs_in)}"
        )
    return found


# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """The requested texts, with the hashes that they may have in a store.

    Attributes:
        plain: ``[n, 2]`` uint64, the hash of each text if its prompt is the prompt of the store.
        instructed: ``[n, 2]`` uint64, the hash of each text if the store has its prompt as an
            instruction of the text, which replaces the prompt of the store.
        prompts: ``[n]`` object, the prompt of each text.
    """

    plain: NDArray[np.uint64]
    instructed: NDArray[np.uint64]
    prompts: NDArray[Any]


def _read(root: Path, header: dict[str, Any], asked: _Asked, found: FoundVectors) -> None:
    """Add to ``found`` the texts that a store holds and no earlier store held."""
    fingerprint = StoreFingerprint(**header["fingerprint"])
    layout = StoreLayout(root, fingerprint, header["n_distinct"])
    name, said = layout.folder.name, f"the store {layout.folder.name}"
    if not is_whole(layout.folder / TEXT_HASHES):
        found.notes[name] = (
            f"{said} was not read, as it has no {TEXT_HASHES}, which says where a text is (fill "
            "the store again: its vectors are kept)"
        )
        return
    if missing := layout.missing():
        found.notes[name] = (
            f"{said} was not read, as {len(missing)} of its {layout.n_shards} shards are missing "
            "(fill it)"
        )
        return
    hashes = mapped(layout.folder / TEXT_HASHES).view(np.uint64).reshape(-1, 2)
    wanted = np.flatnonzero(found.store < 0)
    plain = _numbers_of(asked.plain[wanted], hashes)
    has_prompt = asked.prompts[wanted] == fingerprint.prompt
    numbers = _numbers_of(asked.instructed[wanted], hashes)
    numbers = np.where((numbers < 0) & has_prompt, plain, numbers)
    here = numbers >= 0
    if here.any():
        found.store[wanted[here]], found.number[wanted[here]] = len(found.stores), numbers[here]
        found.stores.append(EmbeddingStore.open(root, fingerprint))
        found.notes[name] = f"{int(here.sum()):,} texts were read from {said}"
    elif n_other := int((plain >= 0).sum()):
        found.notes[name] = (
            f"{said} has {n_other:,} of the texts with another prompt, {fingerprint.prompt!r}, and "
            "was not read"
        )


def _numbers_of(asked: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the position of each requested hash in an array of hashes.

    Args:
        asked: ``[n, 2]`` uint64.
        hashes: ``[M, 2]`` uint64. They are read in blocks: M may be large, and the array a file.

    Returns:
        ``[n]`` int64, in ``[0, M)``; -1 for a hash that is not in the array.
    """
    order = np.argsort(asked[:, 0], kind="stable")
    in_order = asked[order]
    found = np.full(len(asked), -1, np.int64)
    if not len(asked):
        return found
    for start in range(0, len(hashes), _HASHES_AT_ONCE):
        block = hashes[start : start + _HASHES_AT_ONCE]
        at = np.minimum(np.searchsorted(in_order[:, 0], block[:, 0]), len(asked) - 1)
        same = np.flatnonzero((in_order[at] == block).all(axis=1))
        found[order[at[same]]] = start + same
    return found
