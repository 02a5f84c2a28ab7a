"""Building a bi-encoder that scores: its weights, its prompts, and its length limits."""

from __future__ import annotations

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.config.model_prompts import with_conventions
from llm_embedder_data.config.recipes import ANY_TASK, Instruction, Recipe, load_recipe
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.bi_encoders import BiEncoderTeacher
from llm_embedder_data.mining.scoring.building import PRECISION, TeacherSettings
from llm_embedder_data.mining.scoring.teacher import load_tokenizer_of
from llm_embedder_data.training.bi_encoder import BiEncoder
from llm_embedder_data.training.encoder.position_limits import most_positions
from llm_embedder_data.training.export.encoder_export import longest_of_model


def bi_encoder_teacher(
    cfg: DictConfig, name: str, settings: TeacherSettings, *, on_accelerator: bool
) -> BiEncoderTeacher:
    """Load a bi-encoder that scores, on the CPU.

    Args:
        cfg: the configuration of ``score``; ``data`` and ``recipe`` decide the prompts.
        name: folder or hub name of the encoder.
        settings: how it scores.
        on_accelerator: whether it will compute on an accelerator.

    Raises:
        ConfigError: a length exceeds the encoder's positions, or a prompt cannot be used.
    """
    tokenizer = load_tokenizer_of(name)
    recipe = _recipe(cfg, name)
    model = BiEncoder(name).eval()
    query, key, origin = _max_lengths(settings, name, model, tokenizer)
    return BiEncoderTeacher(
        model,
        tokenizer,
        recipe,
        query_max_length=query,
        key_max_length=key,
        length_origin=origin,
        batch_tokens=settings.tokens_of_a_batch(on_accelerator),
        precision=PRECISION[settings.torch_dtype(on_accelerator)],
    )


# --------------------------------------------------------------------------------------------------


def _max_lengths(
    settings: TeacherSettings, name: str, model: BiEncoder, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, int, str]:
    """Return the limits of a query and of a key in tokens, and where limits not given come from."""
    positions = most_positions(model.encoder)
    for setting in ("max_length", "query_max_length", "key_max_length"):
        given = getattr(settings, setting)
        if given is not None and positions is not None and given > positions:
            raise ConfigError(
                f"{setting}={given}: the teacher has positions for {positions} tokens (set "
                f"{setting} to at most {positions}, or leave it out)"
            )
    of_model, origin = longest_of_model(name, model.encoder, tokenizer)
    if positions is not None and of_model > positions:
        of_model, origin = positions, "the encoder's positions"
    most = settings.max_length or of_model
    given_limits = settings.query_max_length, settings.key_max_length
    # max_length limits both sides. The encoder's limit applies only where no setting gives a limit.
    query, key = (
        most if given is None else given if settings.max_length is None else min(given, most)
        for given in given_limits
    )
    is_of_model = settings.max_length is None and None in given_limits
    return query, key, origin if is_of_model else ""


def _recipe(cfg: DictConfig, teacher: str) -> Recipe:
    """Return a bi-encoder's prompts, as in training; ``auto`` takes them from the teacher."""
    if not cfg.data.add_instruction:
        return Recipe("none", {ANY_TASK: Instruction()}, origin="data.add_instruction=false")
    data = cast("dict[str, Any]", OmegaConf.to_container(cfg.data))
    if "task_description" in _keys(data["train_data"]):
        raise ConfigError(
            "data.train_data: score reads no task_description of a source (give "
            "recipe.task_description, a description by task)"
        )
    node = OmegaConf.to_container(cfg.recipe, resolve=True)
    recipe = load_recipe(cast("dict[str, Any]", node))
    return with_conventions(recipe, teacher) if recipe.is_auto else recipe


def _keys(value: Any) -> set[str]:
    """Return the keys of mappings at any depth."""
    if isinstance(value, dict):
        return {str(key) for key in value}.union(*map(_keys, value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()
