"""How an encoder pools its tokens and compares embeddings, read from the model's own files.

With the wrong pooling, an encoder silently gives worse embeddings. The pooling is taken from the
first of these that says something: the user's setting, the model's files, a published convention,
the usual pooling for the type of model.

The files are those of sentence-transformers. ``modules.json`` lists the steps from texts to
embeddings, each with a type and a folder, such as ``("sentence_transformers.models.Pooling",
"1_Pooling")``. The folder of the pooling step holds its configuration. The similarity is in
``config_sentence_transformers.json``, as are the prompts.

A file that cannot be looked up, because it is not cached and the hub is out of reach, counts as
missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from llm_embedder_data.config.model_files import (
    MODULES_FILE,
    PROMPT_FILE,
    UnknownFile,
    read_model_json,
    short_name,
)
from llm_embedder_data.config.pooling_modes import PoolingMode, SimilarityName
from llm_embedder_data.config.pretrained import is_encoder_of_pair
from llm_embedder_data.config.published_conventions import published_convention
from llm_embedder_data.core.errors import ConfigError

# Flags of a pooling configuration, in the older format of sentence-transformers.
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
# Names in the model's files, and the names that this package uses.
_POOLINGS: dict[str, PoolingMode] = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
_SIMILARITIES: dict[str, SimilarityName] = {"cosine": "cos", "dot": "dot", "dot_product": "dot"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """How a model pools tokens and compares embeddings, and the source of that information.

    Attributes:
        pooling: how token vectors are pooled.
        similarity: how embeddings are compared.
        include_prompt: whether mean pooling includes the prompt's tokens.
        dense: folders of the dense layers that follow the pooling, inside the model's own folder.
        origin: the file, publication or argument that the pooling comes from, for messages.
    """

    pooling: PoolingMode
    similarity: SimilarityName
    include_prompt: bool = True
    dense: tuple[str, ...] = ()
    origin: str


def pooled(
    model: str | None,
    config: PretrainedConfig,
    *,
    pooling: PoolingMode | None = None,
    similarity: SimilarityName | None = None,
) -> Pooled:
    """Return how a model pools tokens and compares embeddings.

    This is taken from the model's ``modules.json`` and pooling configuration; if these are missing,
    from the published conventions; if there is none, a decoder uses the last token, an encoder the
    first, and the encoder of an encoder-decoder the mean.

    Args:
        model: a folder, or a name on the Hugging Face hub; None if unknown.
        config: the model's configuration.
        pooling: the user's choice, which overrides all others; the model's modules are then not
            checked.
        similarity: the user's choice, which overrides all others.

    Raises:
        ConfigError: the model has a module other than pooling, dense layers and normalization,
            pools in another way than cls, mean and last, or has an invalid file.
    """
    modules = None if model is None else _modules(model)
    found = _from_modules(model, modules, pooling, similarity) if model and modules else None
    if found is None and model is not None:
        published = published_convention(model)
        if published is not None:
            found = Pooled(
                pooling=published.pooling,
                similarity=published.similarity,
                origin=published.origin(model),
            )
    if found is None:
        mode, kind = _usual_pooling(config)
        found = Pooled(
            pooling=mode,
            similarity="cos",
            origin=f"usual for {kind}, as the model has no {MODULES_FILE}",
        )
    return replace(
        found,
        pooling=pooling or found.pooling,
        similarity=similarity or found.similarity,
        origin="model.pooling" if pooling is not None else found.origin,
    )


def leaves_prompt_out(model: str | None) -> bool:
    """Return whether a model's files say that mean pooling leaves out the prompt's tokens.

    This is the opposite of :attr:`Pooled.include_prompt`, for the data module: it must count the
    prompt's tokens, and has no model configuration to call :func:`pooled` with.
    """
    modules = None if model is None else _modules(model)
    if model is None or modules is None:
        return False
    try:
        return not _includes_prompt(_pooling_config(model, modules))
    except UnknownFile:
        return False


def _modules(model: str) -> list[tuple[str, str]] | None:
    """Return (type, folder) of each of a model's modules, or None if the model lists none."""
    try:
        modules = read_model_json(model, MODULES_FILE)
    except UnknownFile:
        return None
    if modules is None:
        return None
    if not isinstance(modules, list) or not all(
        isinstance(module, Mapping) and isinstance(module.get("type"), str) for module in modules
    ):
        raise ConfigError(
            f"{model}, {MODULES_FILE}: expected a list of modules, each with its type (correct "
            "the file, or give model.pooling)"
        )
    return [(module["type"], str(module.get("path") or "")) for module in modules]


def _kind(module: str) -> str:
    """Return the class name of a module of sentence-transformers, or the dotted type of another.

    A repository may bring a class of its own that is also called Transformer, and does something
    else.
    """
    package = module.partition(".")[0]
    return module.rpartition(".")[2] if package == "sentence_transformers" else module


def _pooling_config(model: str, modules: list[tuple[str, str]]) -> Any:
    """Return the content of the pooling module's configuration.

    Returns:
        The parsed JSON; None if there is no or more than one pooling module, or if its file is
        missing or null.

    Raises:
        UnknownFile: it is unknown whether the file exists.
    """
    folders = [folder for module, folder in modules if _kind(module) == "Pooling"]
    return read_model_json(model, f"{folders[0]}/config.json") if len(folders) == 1 else None


def _includes_prompt(config: Any) -> bool:
    # As in sentence-transformers, any falsy value such as 0 counts as false.
    return not isinstance(config, Mapping) or bool(config.get("include_prompt", True))


def _from_modules(
    model: str,
    modules: list[tuple[str, str]],
    pooling: PoolingMode | None,
    similarity: SimilarityName | None,
) -> Pooled | None:
    """Return the pooling and similarity that a model's modules state.

    None if the configuration of the pooling module could not be looked up.
    """
    is_known, config = True, None
    try:
        config = _pooling_config(model, modules)
    except UnknownFile:
        is_known = False
    if similarity is None:
        # The inner product of normalized embeddings is the cosine.
        normalises = any(_kind(module) == "Normalize" for module, _ in modules)
        similarity = "cos" if normalises else _similarity(model)
    include_prompt = _includes_prompt(config)
    dense = _dense_folders(model, modules)
    if pooling is not None:
        return Pooled(
            pooling=pooling,
            similarity=similarity,
            include_prompt=include_prompt,
            dense=dense,
            origin="",  # pooled() replaces it
        )
    for module, _ in modules:
        if _kind(module) not in ("Transformer", "Pooling", "Dense", "Normalize"):
            raise ConfigError(
                f"{model}, {MODULES_FILE}: the module {module!r} is neither pooling, a dense "
                "layer nor normalization, so the embeddings of this model cannot be computed here "
                "(train another model; or set model.pooling to cls, mean or last, which leaves "
                "that module out)"
            )
    if not is_known:
        return None
    if config is None:
        names = [module for module, _ in modules if _kind(module) == "Pooling"]
        found = "its configuration is missing" if len(names) == 1 else f"there are {len(names)}"
        raise ConfigError(
            f"{model}, {MODULES_FILE}: expected one module for pooling with a config.json in its "
            f"folder, and {found} (complete the folder; or set model.pooling to cls, mean or last)"
        )
    modes = _pooling_modes(config)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ConfigError(
            f"{model}: the pooling configuration asks for {' and '.join(modes) or 'nothing'}, "
            f"expected one of {', '.join(_POOLINGS)} (train another model; or set model.pooling to "
            "cls, mean or last, which overrides it)"
        )
    return Pooled(
        pooling=_POOLINGS[modes[0]],
        similarity=similarity,
        include_prompt=include_prompt,
        dense=dense,
        origin=f"the pooling configuration of {short_name(model)}",
    )


def _dense_folders(model: str, modules: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return the folders of the dense layers, in order.

    Raises:
        ConfigError: one does not stand between pooling and normalization.
    """
    kinds = [_kind(module) for module, _ in modules]
    if "Dense" not in kinds:
        return ()
    rest = kinds[kinds.index("Dense") :]
    n_dense = kinds.count("Dense")
    if "Pooling" not in kinds[: kinds.index("Dense")] or rest[:n_dense] != ["Dense"] * n_dense:
        raise ConfigError(
            f"{model}, {MODULES_FILE}: the modules are {', '.join(kinds)}, and dense layers are "
            "computed between pooling and normalization alone (train another model; or load its "
            "encoder with transformers, and give that)"
        )
    return tuple(folder for module, folder in modules if _kind(module) == "Dense")


def _pooling_modes(config: Any) -> list[str]:
    """Return the modes that a pooling configuration turns on.

    Reads the formats of all versions of sentence-transformers, which take the mean if a
    configuration names no mode.
    """
    if not isinstance(config, Mapping):
        return []
    mode = config.get("pooling_mode")
    if mode is None:
        return [name for flag, name in _POOLING_FLAGS.items() if config.get(flag)] or ["mean"]
    return [str(mode) for mode in (mode if isinstance(mode, list) else [mode])]


def _similarity(model: str) -> SimilarityName:
    """Return the similarity of a model that has no module for normalization."""
    try:
        config = read_model_json(model, PROMPT_FILE)
    except UnknownFile:
        config = None
    name = config.get("similarity_fn_name") if isinstance(config, Mapping) else None
    if name is None:
        published = published_convention(model)
        return "cos" if published is None else published.similarity
    if not isinstance(name, str) or name not in _SIMILARITIES:
        raise ConfigError(
            f"{model}, {PROMPT_FILE}: similarity_fn_name={name!r}: expected one of "
            f"{', '.join(_SIMILARITIES)} (train another model, or give model.similarity)"
        )
    return _SIMILARITIES[name]


def _usual_pooling(config: PretrainedConfig) -> tuple[PoolingMode, str]:
    """Return the usual pooling for a kind of model, and the kind's name with its article.

    Ni et al., 2022, "Sentence-T5" (arXiv:2108.08877), found the mean best for T5's encoder, which
    has no token that stands for the text.
    """
    if is_encoder_of_pair(config):
        return "mean", "the encoder of an encoder-decoder"
    return ("last", "a decoder") if _is_decoder(config) else ("cls", "an encoder")


def _is_decoder(config: PretrainedConfig) -> bool:
    """Return whether a model is a decoder, in which only the last token attends to the whole text.

    The checkpoint's architectures tell. If it names none, the model type does: transformers has a
    causal language model and no masked language model for a decoder. (For BERT it has both.)
    """
    architectures = getattr(config, "architectures", None) or []
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        return True
    model_type = config.model_type
    return (
        not architectures
        and model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
