"""The passages of a corpus that belongs to the rows, such as ``corpus.jsonl`` in a folder of BEIR.

The user does not name such a corpus; the format finds it.
"""

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
    """Return the passages of some files by id, from the cache if their content was read before.

    What is left out of the corpus is counted in ``parts``.

    Args:
        parts: the parts of the source whose rows name the passages.
        files: the files of the corpus, at least one.
        format: name of the corpus's format, which becomes part of the cache's key.
        read: yields canonical corpus rows, as a :data:`~.format.Reader` does.

    Raises:
        DataError: a file cannot be read; or a row is bad, and bad rows are not skipped.
    """
    of_corpus = Parts(
        str(files[0]),
        [RawFile(str(path)) for path in files],
        parts.options,
        skips_bad_rows=parts.skips_bad_rows,
        cache_folder=parts.cache_folder,
        allows_repeated_ids=True,
    )

    def passages() -> Iterator[Passage]:
        for row in read(of_corpus):
            yield Passage(row["id"], row["text"], of_corpus.at)

    found = passages_in(
        parts.cache_folder,
        {str(path): content_digest(str(path), parts.cache_folder) for path in files},
        (format, parts.options.key_template),
        passages,
        name=str(files[0]),
        skips_bad_rows=parts.skips_bad_rows,
        found=lambda: [dict(of_corpus.counts)],
    )
    for counts in (found.header["counts"], *found.header["found"]):
        parts.counts.update(counts)
    return found
