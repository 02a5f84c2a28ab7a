"""Looks up the documents that side-cars name, in a corpus or among the rows' candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import xxhash

from llm_embedder_data.rows.corpora import Corpus, build_corpus
from llm_embedder_data.rows.joins.passages_and_texts import PassagesAndTexts
from llm_embedder_data.rows.schema.reading import cache_names
from llm_embedder_data.rows.settings.key_templates import template_fields
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.side_cars.stand_in_ids import TEXT_ID, ids_of_texts
from llm_embedder_data.rows.source_rows.row_tables import RowTables
from llm_embedder_data.rows.sources.reader_settings import READER_OPTIONS
from llm_embedder_data.rows.sources.sources import Source, resolve_sources

_OPTIONS = ("format", "key_template", *READER_OPTIONS["corpus"])


class SideCarDocuments:
    """The documents that the side-cars of a source name.

    They are documents of the source's ``corpus``, or else of the data module's corpus. If there is
    neither, but rows hold ids, they are the passages that the rows' ids refer to. A document whose
    id was made from its text may also be a candidate of the rows.

    Args:
        source: the source of the rows.
        reading: how the source is read.
        tables: returns columns of the rows without side-cars, by name.
        passages: the passages whose numbers are the rows' keys; None if keys are texts.

    Raises:
        DataError: a corpus cannot be read.
        ConfigError: a setting of a corpus cannot be used.
    """

    def __init__(
        self,
        source: Source,
        reading: ReadingSettings,
        tables: Callable[[Sequence[str]], RowTables],
        passages: PassagesAndTexts | None = None,
    ) -> None:
        of_source = source.reader_options.get("corpus")
        given = reading.corpus if of_source is None else of_source
        self._tables, self._passages = tables, passages
        # If rows hold ids, the passages are those of the source's corpus: do not read it again.
        self._are_passages = passages is not None and (of_source is not None or given is None)
        given = None if self._are_passages else given
        self._corpora = corpora_of(given, source.name, reading)

    @property
    def digest(self) -> str:
        """A digest of what the texts depend on, besides the rows, for the names of cache files."""
        contents: list[Any] = [
            (cache_names(corpus.rows), corpus.template) for corpus in self._corpora
        ]
        if self._are_passages and self._passages is not None:
            contents += [corpus.path.name for corpus in self._passages.corpora]
        return _hash(contents)

    @property
    def corpus_digest(self) -> dict[str, str]:
        """A digest of the corpora other than the rows' passages, as ``{"corpus": digest}``.

        Unlike :attr:`digest`, it is the same in all versions of this package. Empty if there are no
        such corpora.
        """
        contents = [(corpus.digests, corpus.template, corpus.columns) for corpus in self._corpora]
        return {"corpus": _hash(contents)} if contents else {}

    def texts(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the texts of documents by id, without unknown ids.

        The texts of passages carry their numbers.
        """
        wanted = sorted(set(ids))
        found: dict[str, str] = {}
        for corpus, row_of_id in zip(self._corpora, self._row_of_id, strict=True):
            known = [name for name in wanted if name in row_of_id and name not in found]
            if known:
                rows = np.array([row_of_id[name] for name in known], np.int64)
                found.update(zip(known, corpus.texts(rows), strict=True))
        if self._passages is not None:
            found.update(self._of_passages(self._passages, wanted, found))
        missing = [name for name in wanted if name.startswith(TEXT_ID) and name not in found]
        if missing:
            candidates = self._candidates_by_id
            found.update({n: candidates[n] for n in missing if n in candidates})
        return found

    def _of_passages(
        self, passages: PassagesAndTexts, wanted: Sequence[str], found: Mapping[str, str]
    ) -> dict[str, str]:
        """Return the documents that are passages of the rows' corpora, by id.

        Args:
            passages: the passages of the rows' corpora.
            wanted: the ids of the documents.
            found: texts from another corpus, by id. A passage only counts if it has the same text,
                because its id may belong to another document there.
        """
        names = list(wanted if self._are_passages else found)
        numbers = passages.find(names)
        known = [name for name, number in zip(names, numbers.tolist(), strict=True) if number >= 0]
        texts = passages.numbered(numbers[numbers >= 0].tolist())
        return {
            name: text
            for name, text in zip(known, texts, strict=True)
            if self._are_passages or text == found[name]
        }

    @cached_property
    def _row_of_id(self) -> list[dict[str, int]]:
        found = []
        for corpus in self._corpora:
            ids = corpus.ids().to_pylist()
            found.append({ids[row]: row for row in reversed(corpus.kept.tolist())})
        return found

    @cached_property
    def _candidates_by_id(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for texts in candidate_texts(self._tables(["key"])):
            found.update(zip(ids_of_texts(texts), texts, strict=True))
        return found


def corpora_of(given: Any, name: str, reading: ReadingSettings) -> list[Corpus]:
    """Return the corpora of a source of training rows.

    If one of several corpora has the source's name, only that corpus is returned.

    Args:
        given: the source's ``corpus``, or else the data module's; or None.
        name: the name of the source.
        reading: how the corpora are read.

    Raises:
        DataError: a corpus cannot be read.
        ConfigError: a setting cannot be used.
    """
    fields = dict.fromkeys((*template_fields(reading.key_template), "id", "title", "text"))
    sources = resolve_sources(
        given,
        setting=f"{name}.corpus",
        fields=list(fields),
        options=_OPTIONS,
        data_root=reading.data_root,
        cache_dir=reading.cache_folder,
        kind="corpus",
    )
    sources = [source for source in sources if source.name == name] or sources
    return [build_corpus(source, reading, key_template=reading.key_template) for source in sources]


def _hash(contents: Sequence[Any]) -> str:
    return str(xxhash.xxh3_128_hexdigest(repr(contents).encode()))


def candidate_texts(tables: RowTables) -> Iterator[list[str]]:
    """Yield the distinct candidates of some rows at a time.

    Args:
        tables: the rows' column ``key``.
    """
    for batch in tables.blocks(1024):
        texts = batch.column("key").flatten().unique().drop_null().to_pylist()
        if texts:
            yield texts
