"""Makes ids from texts, for queries and passages that have no ids in their files."""

from __future__ import annotations

from collections.abc import Sequence

from llm_embedder_data.core.hashing import text_ids

TEXT_ID = "text:"


def ids_of_texts(texts: Sequence[str]) -> list[str]:
    """Return the id of each text whose file gives none: its 64-bit hash in hexadecimal.

    ``key_id`` in batches is the same hash. Unlike a row number, the id does not change when rows
    are added, sorted or moved to another file.

    >>> ids_of_texts(["a passage"])
    ['text:42da5efe3bdbecef']
    """
    return [f"{TEXT_ID}{number & 0xFFFFFFFFFFFFFFFF:016x}" for number in text_ids(texts).tolist()]
