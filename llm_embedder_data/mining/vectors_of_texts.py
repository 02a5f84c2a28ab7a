"""Vectors of single texts from whichever embedding stores of a folder hold them.

``score`` needs the vectors of the texts of rows. A store holds those of another set of texts, such
as a corpus, and is known by what all its vectors depend on: it is read if everything but its texts
and prompt is as asked for, and in it each text that has the prompt asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.checked_json import read_checked_json
from llm_embedder_data.core.sealed_files import is_whole, mapped
from llm_embedder_data.mining.embedding_store import (
    HEADER,
    TEXT_HASHES,
    EmbeddingStore,
    StoreLayout,
)
from llm_embedder_data.mining.rank_group import of_ranks
from llm_embedder_data.mining.store_fingerprint import StoreFingerprint
from llm_embedder_data.mining.text_inventory import text_hashes

# What may differ between the store that is read and the texts that are asked for.
_OF_TEXTS = ("prompt", "n_texts", "texts", "ids")

_HASHES_AT_ONCE = 1 << 16


@dataclass(slots=True)
class FoundVectors:
    """Where the vectors of n texts are.

    Attributes:
        stores: the stores that hold some of them.
        store: ``[n]`` int64, which of the stores holds each; -1 for a text that none holds.
        number: ``[n]`` int64, the number of the text among the store's distinct texts.
        notes: sentences for users by the name of a store: what was read from it, or why nothing
            was.
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
        """Return the vectors of texts by their numbers, ``[m, D]`` float32."""
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
        fingerprint: what vectors depend on. Its prompt and texts do not matter.
        asked_for: n pairs of a prompt and a text without it.

    Raises:
        DataError: a store is damaged.
    """
    texts, prompts = [text for _, text in asked_for], [prompt for prompt, _ in asked_for]
    nowhere = np.full(len(texts), -1, np.int64)
    found = FoundVectors([], nowhere, nowhere.copy(), {})
    asked = _Asked(
        text_hashes((texts, None)), text_hashes((texts, prompts)), np.array(prompts, object)
    )
    wanted = fingerprint.as_dict()
    unlike: list[tuple[int, str, list[str]]] = []
    # Another job may complete a store between two ranks' looks, so all take rank 0's list.
    names = of_ranks(sorted(path.parent.name for path in root.glob(f"*/{HEADER}")))[0]
    for name in names:
        header = read_checked_json(root / name / HEADER)
        if header is None:
            continue
        different = [
            field
            for field in wanted
            if field not in _OF_TEXTS and header["fingerprint"].get(field) != wanted[field]
        ]
        if different:
            unlike.append((len(different), name, different))
        else:
            _read(root, header, asked, found)
    if unlike and (found.store < 0).any():
        _, name, different = min(unlike)
        found.notes[name] = (
            f"the store {name} was not read because it differs in {', '.join(different)}"
        )
    return found


# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """The texts that are asked for.

    Attributes:
        plain: ``[n, 2]`` uint64, the hash of each text in a store that has its prompt.
        instructed: ``[n, 2]`` uint64, its hash in a store of which it is a text with an
            instruction of its own.
        prompts: ``[n]``, of the texts.
    """

    plain: NDArray[np.uint64]
    instructed: NDArray[np.uint64]
    prompts: NDArray[Any]


def _read(root: Path, header: dict[str, Any], asked: _Asked, found: FoundVectors) -> None:
    """Add what a store holds of the texts that are not found yet."""
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
    """Return where each of ``[n, 2]`` hashes stands among ``[M, 2]``, ``[n]`` int64; -1: nowhere.

    The M are read in blocks, as they may be many and lie in a file.
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
