"""The texts of a data module, with their prompts, for embedding stores."""

from __future__ import annotations

from typing import Literal

from llm_embedder_data.core.errors import check_choice
from llm_embedder_data.datamodule.open_data.building import DatasetBuilder
from llm_embedder_data.datamodule.open_data.open_data import OpenData
from llm_embedder_data.datamodule.settings.settings import DataSettings
from llm_embedder_data.mining.embeddable_texts import CorpusTexts, PromptedTexts, QueryTexts

# The argument of the data module whose texts are meant: the passages of the corpus, or the queries
# of the eval or training data.
TextKind = Literal["corpus", "eval_data", "train_data"]


def texts_to_embed(
    data: OpenData, builder: DatasetBuilder, settings: DataSettings, kind: TextKind
) -> dict[str, PromptedTexts]:
    """Return the passages or queries of a kind of data, by the name of their loader or dataset.

    Raises:
        ConfigError: the kind is unknown, or there is no such data.
    """
    check_choice(kind, TextKind, "texts")
    if kind == "corpus":
        views = data.matching(builder).views
        return {
            name: PromptedTexts(
                CorpusTexts(view.corpus), view.key_instruction, settings.key_max_length
            )
            for name, view in views.items()
        }
    built = data.eval_sets() if kind == "eval_data" else data.train_sets()
    return {
        name: PromptedTexts(
            QueryTexts(dataset), builder.instruction_of(dataset).query, settings.query_max_length
        )
        for name, dataset in built.items()
    }
