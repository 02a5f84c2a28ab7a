"""The passages of a corpus that a format finds itself, such as the file of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.passages.passage_building import Passage, passages_in
from llm_embedder_data.rows.passages.passage_files import PassageFile
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import Row


def passages_of(
    parts: Parts, files: list[Path], format: str, read: Callable[[Parts], Iterator[Row]]
) -> PassageFile:
    """Return the passages of some files by id, which are read once for each content.

    What is left out is counted among the parts.

    Args:
        parts: that the rows are read from.
        files: of the corpus.
        format: what reads them, as a part of the cache's name.
        read: yields the rows of a corpus, as :data:`~.format.Reader` does.

    Raises:
        DataError: a bad row, and bad rows are errors.
    """
    own = Parts(
        str(files[0]),
        [RawFile(str(path)) for path in files],
        parts.options,
        skips_bad_rows=parts.skips_bad_rows,
        cache_folder=parts.cache_folder,
        allows_repeated_ids=True,
    )

    def passages() -> Iterator[Passage]:
        for row in read(own):
            yield Passage(row["id"], row["text"], own.at)

    found = passages_in(
        parts.cache_folder,
        {str(path): content_digest(str(path), parts.cache_folder) for path in files},
        (format, parts.options.key_template),
        passages,
        name=str(files[0]),
        skips_bad_rows=parts.skips_bad_rows,
        found=lambda: [dict(own.counts)],
    )
    for counts in (found.header["counts"], *found.header["found"]):
        parts.counts.update(counts)
    return found
