"""What the loaders of an evaluation read: the eval sets and corpora behind embeddings."""

from __future__ import annotations

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
    """A corpus as a search needs it.

    Args:
        passages: what its loader reads.
    """

    def __init__(self, passages: CorpusPassages) -> None:
        self.passages = passages

    @cached_property
    def ids(self) -> pa.StringArray:
        """The id of each row; its number as text where the corpus has no ids."""
        return self.passages.corpus.ids()

    @cached_property
    def ties(self) -> Tensor:
        """The tie rank of each row, ``[n]`` int64."""
        return tie_ranks(self.ids)

    def texts(self, rows: Iterable[int]) -> list[str]:
        """Return the key texts of rows."""
        return self.passages.corpus.texts(np.fromiter(rows, np.int64))


@dataclass(frozen=True, slots=True)
class EvalSources:
    """The eval sets and corpora that are evaluated, as far as they are of our data module.

    Attributes:
        queries: by name of the eval set.
        corpora: by name of the corpus.
    """

    queries: Mapping[str, EvalQueries] = field(default_factory=dict)
    corpora: Mapping[str, SearchedCorpus] = field(default_factory=dict)

    @classmethod
    def of_loaders(cls, loaders: Iterable[Any]) -> EvalSources:
        """Look for them in loaders; other loaders have none."""
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
        """Return the ids of an eval set's rows; their numbers where there are no ids."""
        if name not in self.queries:
            return [str(row) for row in rows.tolist()]
        numbers = rows.cpu().numpy()
        columns = ["query_id_int", "query_id_str"]
        table = self.queries[name].eval_set.rows.with_format("arrow", columns=columns)
        return [str(found) for found in query_ids_of(table[numbers.tolist()], numbers)]

    def answers(self, name: str, rows: Tensor) -> list[list[str]] | None:
        """Return the answers of an eval set's rows; None if it has none."""
        if name not in self.queries:
            return None
        eval_rows = self.queries[name].eval_set.rows
        if "answers" not in eval_rows.column_names:
            return None
        table: pa.Table = eval_rows.with_format("arrow", columns=["answers"])[rows.tolist()]
        found = [texts or [] for texts in table.column("answers").to_pylist()]
        return found if any(found) else None

    def same_document(self, name: str, corpus: str | None, rows: Tensor) -> Tensor | None:
        """Return the document with each query's id, ``[Q]`` int64, -1 if there is none."""
        if corpus is None or corpus not in self.corpora or name not in self.queries:
            return None
        ids = pa.array(self.query_ids(name, rows), pa.string())
        found = pc.index_in(ids, value_set=self.corpora[corpus].ids).fill_null(-1)
        return torch.from_numpy(found.to_numpy().astype(np.int64))

    def check_for_runs(self, where: str) -> None:
        """Refuse what cannot be written as runs, before anything is encoded.

        Raises:
            DataError: an id holds a blank.
            ConfigError: an eval set has an id twice, or a corpus is a sample.
        """
        for name, queries in self.queries.items():
            ids = self.query_ids(name, torch.from_numpy(queries.eval_set.kept))
            check_run_ids(ids, "query", f"{where}: eval set {one_line(name)}")
            own_id, n_times = Counter(ids).most_common(1)[0]
            if n_times > 1:
                raise ConfigError(
                    f"{where}: {n_times} rows of eval set {name!r} have the query id {own_id!r}, "
                    "and a run names queries by id (give each row its own, or write no run)"
                )
        for name, corpus in self.corpora.items():
            if corpus.passages.is_sample:
                raise ConfigError(
                    f"{where}: only a sample of corpus {name!r} is searched, and a run of it would "
                    "pass for one of the corpus (set data.eval_corpus_sample=null, or write no run)"
                )
            check_run_ids(corpus.ids.to_pylist(), "document", f"{where}: corpus {one_line(name)}")
