"""A table of published conventions, for encoders whose own files do not state them.

Each entry is for the models whose name matches a pattern. It gives their pooling, their similarity,
their prompts or a recipe of conf/recipe that has them, and the publication that says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llm_embedder_data.config.model_files import last_part, short_name
from llm_embedder_data.config.pooling_modes import PoolingMode, SimilarityName


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How models whose name matches a pattern are used, and where that is published.

    Attributes:
        name: regular expression for the last part of a model's name, in lower case.
        source: the publication.
        pooling: how token vectors are pooled.
        similarity: how embeddings are compared.
        recipe: name of a recipe in conf/recipe that gives the prompts; None if ``query`` and
            ``key`` give them.
        query: prompt for queries.
        key: prompt for keys.
    """

    name: str
    source: str
    pooling: PoolingMode
    similarity: SimilarityName = "cos"
    recipe: str | None = None
    query: str = ""
    key: str = ""

    @property
    def has_prompts(self) -> bool:
        """Whether queries or keys have a prompt."""
        return self.recipe is not None or bool(self.query or self.key)

    def origin(self, model: str) -> str:
        """Return the source of the convention for ``model``, for logs and reports."""
        return f"{self.source} (by the name {short_name(model)})"


def published_convention(model: str) -> Convention | None:
    """Return the first convention that matches a model's name, or None.

    >>> published_convention("intfloat/e5-base-v2").recipe
    'e5'
    """
    name = last_part(model).lower()
    return next((entry for entry in PUBLISHED if re.fullmatch(entry.name, name)), None)


_WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
_INSTRUCT = f"Instruct: {_WEB_SEARCH}\nQuery: "
_BGE_QUERY = "Represent this sentence for searching relevant passages: "

PUBLISHED = (
    Convention(
        name=r"llm-embedder",
        recipe="llm_embedder",
        pooling="cls",
        source="LLM-Embedder, arXiv:2310.07554",
    ),
    Convention(
        name=r"bge-(small|base|large)-en(-v1\.5)?",
        recipe="bge",
        pooling="cls",
        source="C-Pack, arXiv:2309.07597",
    ),
    Convention(
        name=r"bge-(small|base|large)-zh(-v1\.5)?",
        query="为这个句子生成表示以用于检索相关文章：",  # noqa: RUF001
        pooling="cls",
        source="C-Pack, arXiv:2309.07597",
    ),
    Convention(name=r"bge-m3", pooling="cls", source="M3-Embedding, arXiv:2402.03216"),
    Convention(
        name=r"e5-mistral-7b-instruct",
        query=_INSTRUCT,
        pooling="last",
        source="E5-mistral, arXiv:2401.00368",
    ),
    Convention(
        name=r"multilingual-e5-large-instruct",
        query=_INSTRUCT,
        pooling="mean",
        source="multilingual E5, arXiv:2402.05672",
    ),
    Convention(
        name=r"(multilingual-)?e5-(small|base|large)(-v2)?(-unsupervised)?",
        recipe="e5",
        pooling="mean",
        source="E5, arXiv:2212.03533",
    ),
    Convention(
        name=r"gte-qwen2-.*-instruct",
        query=_INSTRUCT,
        pooling="last",
        source="GTE, arXiv:2308.03281",
    ),
    Convention(
        name=r"qwen3-embedding-.*",
        query=_INSTRUCT.rstrip(" "),  # the authors write no space after the colon
        pooling="last",
        source="Qwen3 Embedding, arXiv:2506.05176",
    ),
    Convention(
        name=r"harrier-.*",
        query=_INSTRUCT.rstrip(" "),
        pooling="last",
        source="the model card of Harrier v1",
    ),
    Convention(
        name=r"nomic-embed-text-v.*|modernbert-embed-base",
        query="search_query: ",
        key="search_document: ",
        pooling="mean",
        source="Nomic Embed, arXiv:2402.01613",
    ),
    Convention(
        name=r"snowflake-arctic-embed-.*-v2\.0",
        query="query: ",
        pooling="cls",
        source="Arctic-Embed 2.0, arXiv:2412.04506",
    ),
    Convention(
        name=r"snowflake-arctic-embed-.*",
        query=_BGE_QUERY,
        pooling="cls",
        source="Arctic-Embed, arXiv:2405.05374",
    ),
    Convention(
        name=r"mxbai-embed-large-v1",
        query=_BGE_QUERY,
        pooling="cls",
        source="the model card of mxbai-embed-large-v1",
    ),
    Convention(
        name=r"granite-embedding-.*-r2|gte-modernbert-base|gte-multilingual-base",
        pooling="cls",
        source="the model's card",
    ),
    Convention(
        name=r"jina-embeddings-v5-text-.*",
        query="Query: ",
        key="Document: ",
        pooling="last",
        source="the model card of Jina Embeddings v5",
    ),
    Convention(
        name=r"jina-embeddings-v3(-hf)?",
        query="Represent the query for retrieving evidence documents: ",
        key="Represent the document for retrieval: ",
        pooling="mean",
        source="Jina Embeddings v3, arXiv:2409.10173",
    ),
    Convention(
        name=r"embeddinggemma-.*",
        query="task: search result | query: ",
        key="title: none | text: ",
        pooling="mean",
        source="the model card of EmbeddingGemma",
    ),
    Convention(
        name=r"(multi-qa|msmarco|facebook-dpr)-.*-dot-.*",
        pooling="cls",
        similarity="dot",
        source="the models' cards",
    ),
    Convention(
        name=r"all-minilm-.*|all-mpnet-base-v2|all-distilroberta-v1|paraphrase-.*",
        pooling="mean",
        source="the models' cards",
    ),
)
