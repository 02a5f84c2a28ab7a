"""Evaluation from embedding stores: loaders that give stored embeddings in place of texts.

An evaluation that is given a folder of stores looks there for the stores of its queries and
corpora. Embeddings that a store has are read; missing ones are computed and written, as ``mine``
does. The batches then hold embeddings, which
:class:`~llm_embedder_data.training.encoder.embedding_module.EmbeddingModule` does not encode again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from llm_embedder_data.batches.groups.eval_rows import CorpusPassages, EvalQueries
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.mining.embeddable_texts import PromptedTexts
from llm_embedder_data.mining.embedding_store import (
    EmbeddingStore,
    most_similar_store,
    read_headers,
)
from llm_embedder_data.mining.store_filling import Filled, fill_store
from llm_embedder_data.mining.text_embedder import Precision, TextEmbedder
from llm_embedder_data.training.bi_encoder import BiEncoder
from llm_embedder_data.training.data_module_protocols import GivesTextsToEmbed
from llm_embedder_data.training.evaluation.eval_sources import EvalSources


def stored_loaders(
    loaders: Mapping[str, Any],
    model: Any,
    datamodule: Any,
    store: Path,
    *,
    precision: Precision,
    say: Callable[[str], None],
    show_progress: bool = False,
) -> dict[str, Any]:
    """Return loaders that give stored embeddings in place of the texts of evaluation loaders.

    Each loader gives the same batches, ids and share of this rank as the loader that it replaces.
    Embeddings that no store holds are computed and written first. All ranks of a torch.distributed
    group must call this.

    Args:
        loaders: the loaders of a RetrievalDataModule's eval sets and corpora, by name.
        model: the BiEncoder that is evaluated, on the device to compute on.
        datamodule: the data module that the loaders come from.
        store: the folder that holds the stores; created if it does not exist.
        precision: precision in which to compute missing embeddings; part of the fingerprint.
        say: called once per loader, with a sentence that says what was read and what was computed.
        show_progress: whether to show progress bars.

    Raises:
        ConfigError: the model or the data module cannot use a store, or the evaluation reranks
            candidates.
        DataError: an id cannot be written to the evaluator's run file, or the folder cannot be
            written.
    """
    if not isinstance(model, BiEncoder):
        raise ConfigError(
            f"store={str(store)!r}: the model is a {type(model).__name__}, but only a BiEncoder "
            "has embeddings to store (leave store out)"
        )
    if not isinstance(datamodule, GivesTextsToEmbed):
        raise ConfigError(
            f"store={str(store)!r}: the data module is a {type(datamodule).__name__}, but only a "
            "RetrievalDataModule knows the texts of a store (leave store out)"
        )
    # Checks that run files can hold all ids, before anything is embedded.
    model.evaluator.reset(EvalSources.of_loaders(loaders.values()))
    texts_of = cache(datamodule.texts_to_embed)
    found: dict[str, Any] = {}
    for name, loader in loaders.items():
        read = getattr(getattr(loader, "dataset", None), "dataset", None)
        if isinstance(read, CorpusPassages):
            side, title, prompted = "content", "corpus", texts_of("corpus")[read.name]
        elif isinstance(read, EvalQueries) and not read.has_keys:
            side, title, prompted = "query", "eval_data", texts_of("eval_data")[read.eval_set.name]
        else:
            raise ConfigError(
                f"store={str(store)!r}: eval set {name!r} has candidates to rerank, which no store "
                "holds (leave store out, or set data.eval_method=retrieve)"
            )
        embedder = _embedder(model, datamodule, prompted, precision)
        filled = fill_store(store, prompted.texts, embedder, show_progress=show_progress)
        say(f"{title} {one_line(prompted.texts.name)}: {filled.described()}{_why_not_read(filled)}")
        dataset = StoredBatches(read.with_texts(StoredTexts(side, filled.open())))
        found[name] = DataLoader(dataset, sampler=loader.sampler, batch_size=None)
    return found


class StoredTexts:
    """The embeddings of texts, in place of the texts: a TextSource of eval queries or passages.

    Args:
        column: the column of the texts: ``query`` or ``content``.
        store: the embeddings of the kept rows, by position.
    """

    # A store was checked completely when it was opened, so there is no file to watch.
    files: list[str] = []  # noqa: RUF012  (TextSource has an attribute of the instance)

    def __init__(self, column: str, store: EmbeddingStore) -> None:
        self._column, self._store = column, store

    def at(self, positions: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Return the embeddings at the given positions, ``[n, D]`` float32."""
        return {self._column: self._store.at(positions)}


class StoredBatches(Dataset[Any]):
    """Whole evaluation batches with embeddings in place of texts.

    Args:
        dataset: indexed with the positions of a batch, it gives the columns of the batch.
    """

    def __init__(self, dataset: EvalQueries | CorpusPassages) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Return the number of rows, not of batches."""
        return len(self.dataset)

    def __getitem__(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        return {
            name: torch.from_numpy(values) if isinstance(values, np.ndarray) else values
            for name, values in self.dataset[positions].items()
            if not name.endswith("_instruction")
        }


# --------------------------------------------------------------------------------------------------


def _embedder(
    model: BiEncoder, datamodule: GivesTextsToEmbed, prompted: PromptedTexts, precision: Precision
) -> TextEmbedder:
    settings = datamodule.hparams
    return TextEmbedder(
        model,
        datamodule.tokenizer,
        prompt=prompted.prompt,
        max_length=prompted.max_length,
        layout=settings["layout"],
        precision=precision,
        pad_to_multiple_of=settings["pad_to_multiple_of"],
        chunk_size=settings["chunk_size"],
    )


def _why_not_read(filled: Filled) -> str:
    """Explain why a store of the same texts was not read; empty if there is no such store."""
    if filled.n_found:
        return ""
    similar = most_similar_store(read_headers(filled.layout.root), filled.layout.fingerprint)
    if similar is None or "texts" in similar.differs_in:
        return ""
    return (
        f"\nthe store {similar.name} has the same texts, but was not read because it differs in "
        f"{', '.join(similar.differs_in)}"
    )
