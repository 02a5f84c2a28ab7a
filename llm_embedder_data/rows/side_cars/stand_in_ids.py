"""Ids of queries and passages that have none in their files: they are made of the text."""

from __future__ import annotations

from collections.abc import Sequence

from llm_embedder_data.core.hashing import text_ids

TEXT_ID = "text:"


def ids_of_texts(texts: Sequence[str]) -> list[str]:
    """Return the id that each text has if its file gives none: its 64-bit hash in hexadecimal.

    The hash is that of ``key_id`` in batches. The id stays when rows are added, sorted or moved to
    another file, which a row number does not.

    >>> ids_of_texts(["a passage"])
    ['text:42da5efe3bdbecef']
    """
    return [f"{TEXT_ID}{number & 0xFFFFFFFFFFFFFFFF:016x}" for number in text_ids(texts).tolist()]
