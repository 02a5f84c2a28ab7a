"""Filling an embedding store: each process writes its share of the missing shards.

A shard's vectors depend only on the shard's texts, never on other shards. So a single process, the
ranks of a group, and the jobs of a cluster all write the same shards, and a process that is killed
loses only the shard that it was working on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from llm_embedder_data.core.checked_json import read_checked_json, write_checked_json
from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.file_errors import reason
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import is_whole, sealed_file
from llm_embedder_data.mining.embeddable_texts import EmbeddableTexts
from llm_embedder_data.mining.embedding_store import (
    HEADER,
    IDS,
    NUMBERS,
    TEXT_HASHES,
    EmbeddingStore,
    StoreLayout,
)
from llm_embedder_data.mining.rank_group import gather_objects, rank_and_size, ranks_fail_together
from llm_embedder_data.mining.store_fingerprint import StoredType, StoreFingerprint
from llm_embedder_data.mining.text_embedder import TextEmbedder
from llm_embedder_data.mining.text_inventory import TextInventory, take_inventory

_SHARE = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Share:
    """A process's share of the shards: ``index``, ``index + n``, ``index + 2n``, ..."""

    index: int = 0
    n: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.n:
            raise ConfigError(
                f"shard={self.index}/{self.n}: expected i/n with i from 0 to n - 1 (the first of "
                "two is 0/2)"
            )

    @classmethod
    def parse(cls, text: object) -> Share:
        """Parse a share written as ``i/n``.

        Raises:
            ConfigError: the text has another form, or i is not below n.
        """
        found = _SHARE.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ConfigError(f"shard={text!r}: expected i/n, such as 0/2 for the first half")
        return cls(int(found[1]), int(found[2]))

    def of(self, n_shards: int) -> range:
        """Return the numbers of the shards of this share."""
        return range(self.index, n_shards, self.n)


@dataclass(frozen=True, slots=True)
class Filled:
    """What a call of :func:`fill_store` did, over all ranks of the group.

    Attributes:
        layout: the store's files.
        n_written: shards that this call wrote.
        n_found: shards of this share that existed already.
        n_missing: shards that are still missing, because they belong to other shares.
        n_full: texts that this call embedded with ``max_length`` tokens: they fill the limit, and
            longer texts were cut to it.
    """

    layout: StoreLayout
    n_written: int
    n_found: int
    n_missing: int
    n_full: int

    def open(self) -> EmbeddingStore:
        """Open the store.

        Raises:
            DataError: shards are missing.
        """
        return EmbeddingStore.open(self.layout.root, self.layout.fingerprint)

    def described(self) -> str:
        """Return a sentence for users: the texts, and the shards that were written and found."""
        layout = self.layout
        n_texts, n_distinct = layout.fingerprint.n_texts, layout.n_distinct
        equal = "" if n_distinct == n_texts else f", {n_distinct:,} different ones"
        missing = f", {self.n_missing} still missing" if self.n_missing else ""
        cut = (
            f"\n{self.n_full:,} of the texts embedded now have {layout.fingerprint.max_length} "
            "tokens or more; what is beyond was cut off"
            if self.n_full
            else ""
        )
        return (
            f"{n_texts:,} texts{equal}; of {layout.n_shards} shards {self.n_written} written, "
            f"{self.n_found} found{missing}: {one_line(layout.folder)}{cut}"
        )


def fill_store(
    root: str | Path,
    texts: EmbeddableTexts,
    embedder: TextEmbedder,
    *,
    dtype: StoredType = "float32",
    share: Share | None = None,
    command: str | None = None,
    show_progress: bool = False,
) -> Filled:
    """Embed texts into the store that their fingerprint names; write only what is missing.

    If a torch.distributed group is initialized, all its ranks must call this: they divide the
    missing shards among themselves, and return when all are written.

    Args:
        root: the folder that holds the stores; made if it does not exist.
        texts: the texts to embed.
        embedder: the encoder with its tokenizer, prompt and length limit.
        dtype: type of the vectors in the files; reading always gives float32.
        share: the shards that this call writes, for independent jobs; None for all.
        command: the command line that fills the store, shown in the error about missing shards.
        show_progress: whether to show a progress bar on a terminal.

    Raises:
        ConfigError: a setting, or the encoder, cannot be used.
        DataError: there are no texts, the folder cannot be written, or the encoder gives numbers
            that are not finite.
    """
    share = share or Share()
    rank, n_ranks = rank_and_size()
    with _bar(show_progress and rank == 0) as bar:
        with ranks_fail_together():
            layout, distinct, missing = _prepared(
                Path(root), texts, embedder, dtype, share, command, bar
            )
        _check_ranks_agree(layout)
        # Use rank 0's list: another job may write a shard between the checks of two ranks.
        missing = gather_objects(missing)[0]
        n_full = embedder.n_full
        with ranks_fail_together():
            _embed_shards(layout, missing[rank::n_ranks], texts, distinct, embedder, bar)
    return Filled(
        layout,
        n_written=len(missing),
        n_found=len(share.of(layout.n_shards)) - len(missing),
        n_missing=len(layout.missing()),
        n_full=sum(gather_objects(embedder.n_full - n_full)),
    )


def _prepared(
    root: Path,
    texts: EmbeddableTexts,
    embedder: TextEmbedder,
    dtype: StoredType,
    share: Share,
    command: str | None,
    bar: Progress,
) -> tuple[StoreLayout, NDArray[np.int64], list[int]]:
    """Write all files of a store except its shards.

    Returns:
        The layout; the position of each distinct text, ``[M]`` int64; the missing shards of the
        share.
    """
    if not len(texts):
        raise DataError(f"{one_line(texts.name)}: there are no texts to embed")
    reading = bar.add_task(f"reading {one_line(texts.name)}", total=len(texts))
    inventory = take_inventory(texts, lambda n: bar.advance(reading, n))
    bar.remove_task(reading)
    fingerprint = StoreFingerprint.of(embedder, inventory, dtype)
    layout = StoreLayout(root, fingerprint, len(inventory.first))
    with _writing(layout):
        _write_index(layout, inventory, command)
    missing = [n for n in share.of(layout.n_shards) if not layout.is_written(n)]
    return layout, inventory.first, missing


def _embed_shards(
    layout: StoreLayout,
    shards: Sequence[int],
    texts: EmbeddableTexts,
    distinct: NDArray[np.int64],
    embedder: TextEmbedder,
    bar: Progress,
) -> None:
    """Embed and write shards; ``distinct``, ``[M]``, holds the position of each distinct text."""
    total = sum(len(layout.texts_of(shard)) for shard in shards)
    embedding = bar.add_task(f"embedding {one_line(texts.name)}", total=total)
    blocks = (texts.at(distinct[np.array(layout.texts_of(shard))]) for shard in shards)
    vectors = embedder.embed_blocks(blocks, lambda n: bar.advance(embedding, n))
    for shard, of_shard in zip(shards, vectors, strict=True):
        _write_shard(layout, shard, of_shard)


def _write_index(layout: StoreLayout, inventory: TextInventory, command: str | None) -> None:
    """Write the missing files of a store except its shards; the header is written last."""
    folder = layout.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not is_whole(folder / IDS):
        table = pa.table({"id": inventory.ids})
        with (
            sealed_file(folder / IDS) as file,
            pa.ipc.new_stream(file, table.schema) as writer,
        ):
            writer.write_table(table)
    if inventory.number is not None and not is_whole(folder / NUMBERS):
        with sealed_file(folder / NUMBERS) as file:
            file.write(inventory.number)
    if not is_whole(folder / TEXT_HASHES):
        with sealed_file(folder / TEXT_HASHES) as file:
            file.write(inventory.hashes)
    if read_checked_json(folder / HEADER) is None:
        write_checked_json(folder / HEADER, layout.header(command))


def _write_shard(layout: StoreLayout, shard: int, vectors: NDArray[np.float32]) -> None:
    dtype = layout.fingerprint.dtype
    if not np.isfinite(vectors).all():
        raise DataError(
            "the encoder gives embeddings that are not finite (compute in another precision, such "
            "as 32-true, or check the encoder)"
        )
    stored = torch.from_numpy(vectors).to(getattr(torch, dtype))
    if not stored.isfinite().all():
        raise ConfigError(
            f"dtype={dtype!r}: the encoder gives numbers up to {np.abs(vectors).max():.3g}, which "
            f"{dtype} cannot hold (set dtype to float32 or bfloat16)"
        )
    with _writing(layout), sealed_file(layout.path(shard)) as file:
        file.write((stored.view(torch.int16) if dtype == "bfloat16" else stored).numpy())


@contextmanager
def _writing(layout: StoreLayout) -> Iterator[None]:
    """Turn an OSError into a DataError that says what to do."""
    try:
        yield
    except OSError as error:
        raise DataError.at(
            str(layout.folder),
            f"cannot be written: {reason(error)} (make room or give the permission, or name "
            "another folder)",
        ) from error


def _check_ranks_agree(layout: StoreLayout) -> None:
    """Refuse ranks whose fingerprints differ: they would fill different stores."""
    for rank, of_rank in enumerate(gather_objects(layout.fingerprint.as_dict())):
        different = layout.fingerprint.differs_in(of_rank)
        if different:
            raise DataError(
                f"rank {rank} would embed other texts, or embed them in another way: "
                f"{', '.join(different)} differ (give every rank the same files and settings)"
            )


def _bar(is_shown: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("texts"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (is_shown and console.is_terminal),
    )
