"""How an encoder wants its texts prepared and pooled, read from the encoder's own files.

An encoder was trained with certain prompts before its texts and with one way to pool their tokens.
Other prompts or another pooling give other, worse embeddings, and no error. sentence-transformers
stores both beside the weights. Where a model has no such files, a table of published conventions is
asked by the model's name.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from llm_embedder_data.config.recipes import ANY_TASK, Instruction, Recipe, load_recipe, prompt_for
from llm_embedder_data.core.errors import ConfigError

PoolingMode = Literal["cls", "mean", "last"]
SimilarityName = Literal["cos", "dot"]

PROMPT_FILE = "config_sentence_transformers.json"
MODULES_FILE = "modules.json"

# Names under which models keep the two prompts of retrieval, the first that is there counts.
_QUERY_PROMPTS = (
    "query",
    "search_query",
    "retrieval.query",
    "retrieval_query",
    "Retrieval-query",
    "s2p_query",
    "web_search_query",
)
_KEY_PROMPTS = (
    "document",
    "passage",
    "corpus",
    "search_document",
    "search_passage",
    "retrieval.passage",
    "retrieval_document",
    "Retrieval-document",
)

# What `BiEncoder.export` appends to a task's name where tasks have prompts of their own.
QUERY_SUFFIX, KEY_SUFFIX = "_query", "_document"

_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_POOLINGS: dict[str, PoolingMode] = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
_SIMILARITIES: dict[str, SimilarityName] = {"cosine": "cos", "dot": "dot", "dot_product": "dot"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """What stands for a text, and where that is said.

    Attributes:
        pooling: the first token, the mean of the tokens, or the last token.
        similarity: cosine, or inner product of embeddings that are not normalised.
        include_prompt: whether the prompt's tokens take part in a mean.
        origin: the file or the publication that says so.
    """

    pooling: PoolingMode
    similarity: SimilarityName
    include_prompt: bool = True
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """A convention that is published, for models whose files do not state it."""

    name: str  # a regular expression over the last part of the model's name, in lower case
    source: str
    pooling: PoolingMode
    recipe: str | None = None  # in conf/recipe; else the two prompts
    query: str = ""
    key: str = ""
    similarity: SimilarityName = "cos"


_WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
_INSTRUCT = f"Instruct: {_WEB_SEARCH}\nQuery: "
_BGE_QUERY = "Represent this sentence for searching relevant passages: "

_TABLE = (
    _Published(
        name=r"llm-embedder",
        recipe="llm_embedder",
        pooling="cls",
        source="LLM-Embedder, arXiv:2310.07554",
    ),
    _Published(
        name=r"bge-(small|base|large)-en(-v1\.5)?",
        recipe="bge",
        pooling="cls",
        source="C-Pack, arXiv:2309.07597",
    ),
    _Published(
        name=r"bge-(small|base|large)-zh(-v1\.5)?",
        query="为这个句子生成表示以用于检索相关文章：",  # noqa: RUF001
        pooling="cls",
        source="C-Pack, arXiv:2309.07597",
    ),
    _Published(name=r"bge-m3", pooling="cls", source="M3-Embedding, arXiv:2402.03216"),
    _Published(
        name=r"e5-mistral-7b-instruct",
        query=_INSTRUCT,
        pooling="last",
        source="E5-mistral, arXiv:2401.00368",
    ),
    _Published(
        name=r"multilingual-e5-large-instruct",
        query=_INSTRUCT,
        pooling="mean",
        source="multilingual E5, arXiv:2402.05672",
    ),
    _Published(
        name=r"(multilingual-)?e5-(small|base|large)(-v2)?(-unsupervised)?",
        recipe="e5",
        pooling="mean",
        source="E5, arXiv:2212.03533",
    ),
    _Published(
        name=r"gte-qwen2-.*-instruct",
        query=_INSTRUCT,
        pooling="last",
        source="GTE, arXiv:2308.03281",
    ),
    _Published(
        name=r"qwen3-embedding-.*",
        query=_INSTRUCT.rstrip(" "),  # the authors have no space behind the colon
        pooling="last",
        source="Qwen3 Embedding, arXiv:2506.05176",
    ),
    _Published(
        name=r"harrier-.*",
        query=_INSTRUCT.rstrip(" "),
        pooling="last",
        source="the model card of Harrier v1",
    ),
    _Published(
        name=r"nomic-embed-text-v.*|modernbert-embed-base",
        query="search_query: ",
        key="search_document: ",
        pooling="mean",
        source="Nomic Embed, arXiv:2402.01613",
    ),
    _Published(
        name=r"snowflake-arctic-embed-.*-v2\.0",
        query="query: ",
        pooling="cls",
        source="Arctic-Embed 2.0, arXiv:2412.04506",
    ),
    _Published(
        name=r"snowflake-arctic-embed-.*",
        query=_BGE_QUERY,
        pooling="cls",
        source="Arctic-Embed, arXiv:2405.05374",
    ),
    _Published(
        name=r"mxbai-embed-large-v1",
        query=_BGE_QUERY,
        pooling="cls",
        source="the model card of mxbai-embed-large-v1",
    ),
    _Published(
        name=r"granite-embedding-.*-r2|gte-modernbert-base|gte-multilingual-base",
        pooling="cls",
        source="the model's card",
    ),
    _Published(
        name=r"jina-embeddings-v5-text-.*",
        query="Query: ",
        key="Document: ",
        pooling="last",
        source="the model card of Jina Embeddings v5",
    ),
    _Published(
        name=r"jina-embeddings-v3(-hf)?",
        query="Represent the query for retrieving evidence documents: ",
        key="Represent the document for retrieval: ",
        pooling="mean",
        source="Jina Embeddings v3, arXiv:2409.10173",
    ),
    _Published(
        name=r"embeddinggemma-.*",
        query="task: search result | query: ",
        key="title: none | text: ",
        pooling="mean",
        source="the model card of EmbeddingGemma",
    ),
    _Published(
        name=r"(multi-qa|msmarco|facebook-dpr)-.*-dot-.*",
        pooling="cls",
        similarity="dot",
        source="the models' cards",
    ),
    _Published(
        name=r"all-minilm-.*|all-mpnet-base-v2|all-distilroberta-v1|paraphrase-.*",
        pooling="mean",
        source="the models' cards",
    ),
)


class _NotKnown(Exception):
    """Whether a model has a file cannot be said: the hub is not reached, and nothing is cached."""


def with_conventions(given: Recipe, model: str | None) -> Recipe:
    """A recipe with the instructions that a model was trained with.

    The prompts of the model's ``config_sentence_transformers.json``; else those of a table of
    published conventions, by the model's name; else none. Where the table names a recipe of
    conf/recipe, its training settings come with it; those of ``given`` win.

    Args:
        given: a recipe without instructions.
        model: a folder, or a name on the Hugging Face hub; None where it is not known.

    Returns:
        A recipe whose ``origin`` says where the instructions were found.

    Raises:
        ConfigError: a file of the model that is not what it should be, or a task description and a
            query prompt that has no place for one.
    """
    found = _recipe_of(model)
    made = replace(
        given,
        instructions=found.instructions,
        training={**found.training, **given.training},
        model=found.model | given.model,
        origin=found.origin,
    )
    for task, description in given.task_descriptions.items():
        tasks = list(made.instructions) if task == ANY_TASK else [task]
        for one in tasks:
            prompt_for(made.instruction(one).query, description, f"recipe, task_description.{task}")
    return made


def pooled(
    model: str | None,
    config: PretrainedConfig,
    *,
    pooling: PoolingMode | None = None,
    similarity: SimilarityName | None = None,
) -> Pooled:
    """How a model pools: its ``modules.json`` and pooling configuration; else the published table;
    else the last token of a decoder and the first token of an encoder.

    Args:
        model: a folder, or a name on the Hugging Face hub; None where it is not known.
        config: of the model.
        pooling: what the user gave, which wins; the model's modules are then not judged.
        similarity: what the user gave, which wins.

    Raises:
        ConfigError: a module that is neither pooling nor normalisation, a pooling that is none of
            cls, mean and last, or a file that is not what it should be.
    """
    modules = None if model is None else _modules(model)
    found = _from_modules(model, modules, pooling, similarity) if model and modules else None
    if found is None and model is not None and (published := _published(model)) is not None:
        found = Pooled(
            pooling=published.pooling,
            similarity=published.similarity,
            origin=f"{published.source} (by the name {_short(model)})",
        )
    if found is None:
        decoder = _is_decoder(config)
        found = Pooled(
            pooling="last" if decoder else "cls",
            similarity="cos",
            origin=f"usual for {'a decoder' if decoder else 'an encoder'}, as the model has no "
            f"{MODULES_FILE}",
        )
    return replace(  # what was given wins over the table and over what is usual, too
        found,
        pooling=pooling or found.pooling,
        similarity=similarity or found.similarity,
        origin="model.pooling" if pooling is not None else found.origin,
    )


def leaves_prompt_out(model: str | None) -> bool:
    """Whether a model's files say that the prompt's tokens take no part in the mean."""
    modules = None if model is None else _modules(model)
    if model is None or modules is None:
        return False
    config = _pooling_config(model, modules)
    return isinstance(config, Mapping) and config.get("include_prompt") is False


# --------------------------------------------------------------------------------------------------


def _recipe_of(model: str | None) -> Recipe:
    """The recipe that a model's files, or its name, stand for."""
    nothing = {ANY_TASK: Instruction()}
    if model is None:
        return Recipe("auto", nothing, origin="the tokenizer does not say of which model it is")
    try:
        config = _json_of(model, PROMPT_FILE)
    except _NotKnown:
        config = None
        unread = f"; {PROMPT_FILE} could not be fetched: give data.recipe if the model has prompts"
    else:
        unread = ""
    prompts = _prompts(config, f"{model}, {PROMPT_FILE}")
    if prompts is not None:
        instructions = _instructions(prompts)
        if instructions is not None:
            return Recipe("auto", instructions, origin=f"{PROMPT_FILE} of {_short(model)}")
        names = ", ".join(map(repr, prompts))
        return Recipe(
            "auto",
            nothing,
            origin=f"{PROMPT_FILE} of {_short(model)} names the prompts {names}, and none of them "
            "as that of a query or a document (give data.recipe to use one)",
        )
    published = _published(model)
    if published is None:
        return Recipe("auto", nothing, origin=f"{_short(model)} states no prompts{unread}")
    origin = f"{published.source} (by the name {_short(model)})"
    if published.recipe is not None:
        recipe = load_recipe(published.recipe)
        return replace(recipe, origin=f"recipe {recipe.name}, {origin}")
    return Recipe("auto", {ANY_TASK: Instruction(published.query, published.key)}, origin=origin)


def _prompts(config: Any, where: str) -> dict[str, str] | None:
    """The prompts of a model's configuration by name; None where it does not speak of prompts."""
    if config is None:
        return None
    if not isinstance(config, Mapping):
        raise ConfigError(f"{where}: expected a JSON object (mend the file, or give data.recipe)")
    prompts = config.get("prompts")
    if prompts is None:
        return None
    if not isinstance(prompts, Mapping) or not all(
        isinstance(text, str | None) for text in prompts.values()
    ):
        raise ConfigError(
            f"{where}: prompts={str(prompts)[:80]!r}: expected a mapping of names to texts (mend "
            "the file, or give data.recipe)"
        )
    return {str(name): text or "" for name, text in prompts.items()}


def _instructions(prompts: Mapping[str, str]) -> dict[str, Instruction] | None:
    """Instructions by task; None where no prompt is that of a query or of a document."""
    query = next((prompts[name] for name in _QUERY_PROMPTS if name in prompts), None)
    key = next((prompts[name] for name in _KEY_PROMPTS if name in prompts), None)
    if query is None and key is None:
        return None if prompts else {ANY_TASK: Instruction()}
    tasks = [
        name.removesuffix(QUERY_SUFFIX)
        for name in prompts
        if name.endswith(QUERY_SUFFIX)
        and name not in _QUERY_PROMPTS
        and name.removesuffix(QUERY_SUFFIX) + KEY_SUFFIX in prompts
    ]
    return {
        ANY_TASK: Instruction(query or "", key or ""),
        **{
            task: Instruction(prompts[task + QUERY_SUFFIX], prompts[task + KEY_SUFFIX])
            for task in tasks
        },
    }


def _modules(model: str) -> list[tuple[str, str]] | None:
    """The type and the folder of each of a model's modules; None where it does not list them."""
    try:
        modules = _json_of(model, MODULES_FILE)
    except _NotKnown:
        return None
    if modules is None:
        return None
    if not isinstance(modules, list) or not all(
        isinstance(module, Mapping) and isinstance(module.get("type"), str) for module in modules
    ):
        raise ConfigError(
            f"{model}, {MODULES_FILE}: expected a list of modules, each with its type (mend the "
            "file, or give model.pooling)"
        )
    return [(module["type"], str(module.get("path") or "")) for module in modules]


def _kind(module: str) -> str:
    return module.rpartition(".")[2]


def _pooling_config(model: str, modules: list[tuple[str, str]]) -> Any:
    folders = [folder for module, folder in modules if _kind(module) == "Pooling"]
    try:
        return _json_of(model, f"{folders[0]}/config.json") if folders else None
    except _NotKnown:
        return None


def _from_modules(
    model: str,
    modules: list[tuple[str, str]],
    pooling: PoolingMode | None,
    similarity: SimilarityName | None,
) -> Pooled | None:
    config = _pooling_config(model, modules)
    if similarity is None:
        normalises = any(_kind(module) == "Normalize" for module, _ in modules)
        similarity = "cos" if normalises else _similarity(model)
    include_prompt = not (isinstance(config, Mapping) and config.get("include_prompt") is False)
    if pooling is not None:
        return Pooled(
            pooling=pooling, similarity=similarity, include_prompt=include_prompt, origin=""
        )
    for module, _ in modules:
        if _kind(module) not in ("Transformer", "Pooling", "Normalize"):
            raise ConfigError(
                f"{model}, {MODULES_FILE}: the module {module!r} is neither pooling nor "
                "normalisation, so what stands for a text in this model cannot be computed here "
                "(train another model; or give model.pooling as cls, mean or last, which leaves "
                "that module out)"
            )
    if config is None:
        return None
    modes = _pooling_modes(config)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ConfigError(
            f"{model}: the pooling configuration asks for {' and '.join(modes) or 'nothing'}, "
            f"expected one of {', '.join(_POOLINGS)} (train another model; or give model.pooling "
            "as cls, mean or last, which makes it another one)"
        )
    return Pooled(
        pooling=_POOLINGS[modes[0]],
        similarity=similarity,
        include_prompt=include_prompt,
        origin=f"the pooling configuration of {_short(model)}",
    )


def _pooling_modes(config: Any) -> list[str]:
    """The modes that a pooling configuration of any version of sentence-transformers turns on."""
    if not isinstance(config, Mapping):
        return []
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else mode if isinstance(mode, list) else []
    return [str(one) for one in modes] or [
        name for flag, name in _POOLING_FLAGS.items() if config.get(flag) is True
    ]


def _similarity(model: str) -> SimilarityName:
    """Of a model that does not normalise its embeddings."""
    try:
        config = _json_of(model, PROMPT_FILE)
    except _NotKnown:
        config = None
    name = config.get("similarity_fn_name") if isinstance(config, Mapping) else None
    if name is None:
        published = _published(model)
        return "cos" if published is None else published.similarity
    if name not in _SIMILARITIES:
        raise ConfigError(
            f"{model}, {PROMPT_FILE}: similarity_fn_name={name!r}: expected one of "
            f"{', '.join(_SIMILARITIES)} (train another model, or give model.similarity)"
        )
    return _SIMILARITIES[name]


def _short(model: str) -> str:
    """A name on the hub as it is; of a folder, its last part."""
    return model if not os.path.isdir(os.path.expanduser(model)) else _last_part(model)


def _last_part(model: str) -> str:
    return model.rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def _published(model: str | None) -> _Published | None:
    last = "" if model is None else _last_part(model).lower()
    matches = (one for one in _TABLE if re.fullmatch(one.name, last))
    return next(matches, None)


def _is_decoder(config: PretrainedConfig) -> bool:
    architectures = getattr(config, "architectures", None) or []
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        return True
    kind = config.model_type
    return (
        not architectures
        and kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )


def _json_of(model: str | None, name: str) -> Any:
    """The content of a JSON file of a model; None where the model has no such file.

    Raises:
        _NotKnown: it is not cached, and the hub cannot be asked.
        ConfigError: a file that is not JSON.
    """
    path = None if model is None else _file_of(model, name)
    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: cannot be read as JSON: {error} (mend the file; or give data.recipe and "
            "model.pooling, which take its place)"
        ) from error


def _file_of(model: str, name: str) -> Path | None:
    folder = Path(os.path.expanduser(model))
    if folder.is_dir():
        path = folder / name
        return path if path.is_file() else None
    try:
        cached = try_to_load_from_cache(model, name)
        if cached is not None:  # a path, or a sign that the hub was asked and has no such file
            return Path(cached) if isinstance(cached, str) else None
        return Path(hf_hub_download(model, name))
    except HFValidationError:
        return None  # neither a folder nor a name on the hub
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _NotKnown from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise _NotKnown from error
