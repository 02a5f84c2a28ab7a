"""The eval sets and corpora that an evaluation reads: their ids, answers, texts and tasks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from llm_embedder_data.batches.groups.eval_rows import CorpusPassages, EvalQueries
from llm_embedder_data.batches.groups.training_groups import query_ids_of
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.mining.run_files import check_run_ids
from llm_embedder_data.mining.tie_order import tie_ranks


class SearchedCorpus:
    """A corpus that an evaluation searches, with its ids and tie ranks.

    Args:
        passages: the dataset of the corpus's loader.
    """

    def __init__(self, passages: CorpusPassages) -> None:
        self.passages = passages

    @cached_property
    def ids(self) -> pa.StringArray:
        """The id of each row, ``[n]``; row numbers as strings if the corpus has no ids."""
        return self.passages.corpus.ids()

    @cached_property
    def ties(self) -> Tensor:
        """The tie rank of each row, ``[n]`` int64."""
        return tie_ranks(self.ids)

    def texts(self, rows: Iterable[int]) -> list[str]:
        """Return the texts of corpus rows, formatted by the key template."""
        return self.passages.corpus.texts(np.fromiter(rows, np.int64))


@dataclass(frozen=True, slots=True)
class EvalSources:
    """The eval sets and corpora of an evaluation, as far as they come from a RetrievalDataModule.

    Attributes:
        queries: eval sets by name.
        corpora: corpora by name.
    """

    queries: Mapping[str, EvalQueries] = field(default_factory=dict)
    corpora: Mapping[str, SearchedCorpus] = field(default_factory=dict)

    @classmethod
    def of_loaders(cls, loaders: Iterable[Any]) -> EvalSources:
        """Return the eval sets and corpora that loaders read. Other loaders are ignored."""
        queries: dict[str, EvalQueries] = {}
        corpora: dict[str, SearchedCorpus] = {}
        for loader in loaders:
            read = getattr(getattr(loader, "dataset", None), "dataset", None)
            if isinstance(read, EvalQueries):
                queries[read.eval_set.name] = read
            elif isinstance(read, CorpusPassages):
                corpora[read.name] = SearchedCorpus(read)
        return cls(queries, corpora)

    def task(self, name: str) -> str | None:
        """Return the task of an eval set; None if it is not known."""
        return self.queries[name].eval_set.task if name in self.queries else None

    def query_ids(self, name: str, rows: Tensor) -> list[str]:
        """Return the query ids of an eval set's rows; the row number where a row has no id.

        Args:
            name: name of the eval set.
            rows: ``[Q]`` int64, row numbers.
        """
        if name not in self.queries:
            return [str(row) for row in rows.tolist()]
        numbers = rows.cpu().numpy()
        columns = ["query_id_int", "query_id_str"]
        table = self.queries[name].eval_set.rows.with_format("arrow", columns=columns)
        return [str(found) for found in query_ids_of(table[numbers.tolist()], numbers)]

    def answers(self, name: str, rows: Tensor) -> list[list[str]] | None:
        """Return the answer strings of an eval set's rows; None if no row has answers."""
        if name not in self.queries:
            return None
        eval_rows = self.queries[name].eval_set.rows
        if "answers" not in eval_rows.column_names:
            return None
        table: pa.Table = eval_rows.with_format("arrow", columns=["answers"])[rows.tolist()]
        found = [texts or [] for texts in table.column("answers").to_pylist()]
        return found if any(found) else None

    def same_document(self, name: str, corpus: str | None, rows: Tensor) -> Tensor | None:
        """Return the corpus row with the id of each query, ``[Q]`` int64; -1 if there is none.

        None if the ids of queries or documents are not known.
        """
        if corpus is None or corpus not in self.corpora or name not in self.queries:
            return None
        ids = pa.array(self.query_ids(name, rows), pa.string())
        found = pc.index_in(ids, value_set=self.corpora[corpus].ids).fill_null(-1)
        return torch.from_numpy(found.to_numpy().astype(np.int64))

    def check_for_runs(self, run_file: str | os.PathLike[str]) -> None:
        """Check that results for all eval sets and corpora can be written to run files.

        Call this before anything is encoded.

        Args:
            run_file: path of the run file; its suffix determines which ids it can hold.

        Raises:
            DataError: an id cannot be written to a run file: see ``check_run_ids``.
            ConfigError: two rows of an eval set have the same id, or a corpus is a sample.
        """
        where = "run_file"
        for name, queries in self.queries.items():
            ids = self.query_ids(name, torch.from_numpy(queries.eval_set.kept))
            check_run_ids(ids, "query", f"{where}: eval set {one_line(name)}", run_file)
            query_id, n_rows = Counter(ids).most_common(1)[0]
            if n_rows > 1:
                raise ConfigError(
                    f"{where}: {n_rows} rows of eval set {name!r} have the query id {query_id!r}, "
                    "and a run file identifies queries by id (give each row a different id, or "
                    "write no run file)"
                )
        for name, corpus in self.corpora.items():
            if corpus.passages.is_sample:
                raise ConfigError(
                    f"{where}: only a sample of corpus {name!r} is searched, and its run file "
                    "would look like that of the whole corpus (set data.eval_corpus_sample=null, "
                    "or write no run file)"
                )
            where_ids = f"{where}: corpus {one_line(name)}"
            check_run_ids(corpus.ids.to_pylist(), "document", where_ids, run_file)
