"""Building a teacher from its name and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerBase,
)

from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.mining.scoring.cross_encoders import CrossEncoderTeacher, activation_of
from llm_embedder_data.mining.scoring.language_models import LikelihoodTeacher, YesNoTeacher
from llm_embedder_data.mining.scoring.prompts import LengthLimits
from llm_embedder_data.mining.scoring.teacher import (
    Dtype,
    load_config_of,
    load_model_of,
    load_tokenizer_of,
)
from llm_embedder_data.mining.scoring.templates import (
    LIKELIHOOD_TEMPLATES,
    YES_NO_INSTRUCTION,
    YES_NO_TEMPLATE,
    TaskTemplates,
    templates_by_task,
)
from llm_embedder_data.mining.text_embedder import Precision

Kind = Literal["cross-encoder", "bi-encoder", "likelihood", "yes-no"]
LANGUAGE_MODEL_KINDS = ("likelihood", "yes-no")

# Default limit of an input in tokens; a teacher with fewer positions has a lower limit. A
# bi-encoder embeds query and key separately: its limit comes from the model's files.
_MAX_LENGTH = {"cross-encoder": 512, "likelihood": 2048, "yes-no": 2048}

# Default limit of a query, a context and a key in a language model's input, in tokens.
_PART_MAX_LENGTH = 512

# A bi-encoder's weights stay float32: its precision follows from the setting dtype.
PRECISION: Mapping[torch.dtype, Precision] = {
    torch.float32: "32-true",
    torch.bfloat16: "bf16-mixed",
    torch.float16: "16-mixed",
}

# Default limit of a batch in tokens, padding included.
_BATCH_TOKENS_ON_CPU = 4096
_BATCH_TOKENS_ON_ACCELERATOR = 32768

# Types of models that number positions from the padding token's id + 1, so they have that many
# positions fewer for tokens.
_POSITIONS_BEHIND_PADDING = {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherSettings:
    """How a teacher scores.

    Attributes:
        kind: how scores are computed.
        dtype: type of the weights; auto: bfloat16 for a language model on an accelerator, else
            float32.
        max_length: limit of an input in tokens. None: 512 for cross-encoders and 2,048 for language
            models, but at most the number of the teacher's positions; for bi-encoders, the limit in
            the model's files.
        key_max_length: limit of a key in tokens. None: for bi-encoders, the limit in the model's
            files; else 512.
        query_max_length: limit of a query in tokens, in a language model also of a context. None:
            as for a key.
        batch_tokens: limit of a batch in tokens, padding included; None: 4,096 on a CPU, else
            32,768.
        template: template of a language model's input, or a mapping of templates by task; None:
            LLM-Embedder's for likelihood, Qwen3-Reranker's for yes-no.
        instruction: the task as the template of yes-no states it; None: Qwen3-Reranker's.
        yes_word: the word whose logit counts for a key; must be a single token.
        no_word: the word whose logit is subtracted; must be a single token.
        activation: activation of a cross-encoder: auto, or a class of torch.nn, such as Identity.

    Raises:
        ConfigError: a setting is out of range, or a template cannot be used.
    """

    kind: Kind
    dtype: Dtype = "auto"
    max_length: int | None = None
    key_max_length: int | None = None
    query_max_length: int | None = None
    batch_tokens: int | None = None
    template: str | Mapping[str, str] | None = None
    instruction: str | None = None
    yes_word: str = "yes"
    no_word: str = "no"
    activation: str = "auto"

    def __post_init__(self) -> None:
        check_choice(self.kind, Kind, "kind")
        check_choice(self.dtype, Dtype, "dtype")
        for name in ("max_length", "key_max_length", "query_max_length", "batch_tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"{name}={value!r}: expected a whole number of at least 1")
        for name in ("instruction", "yes_word", "no_word", "activation"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (name == "instruction" and value is None):
                raise ConfigError(f"{name}={value!r}: expected a text")
        self.templates()

    def templates(self) -> TaskTemplates | None:
        """Return the templates of a language model; None for other kinds.

        Raises:
            ConfigError: a template cannot be used, or is given for a kind without templates.
        """
        if self.kind == "likelihood":
            needed = ("key", "query", "answer")
            return templates_by_task(self.template, LIKELIHOOD_TEMPLATES, needed)
        if self.kind == "yes-no":
            return templates_by_task(self.template, {"*": YES_NO_TEMPLATE}, ("key", "query"))
        if self.template is not None:
            raise ConfigError(
                f"template={self.template!r}: kind={self.kind} has none (leave it out, or give "
                "kind=likelihood or kind=yes-no)"
            )
        return None

    def torch_dtype(self, on_accelerator: bool) -> torch.dtype:
        """Return the type of the weights; for a bi-encoder, the type that it computes in."""
        is_language_model = self.kind in LANGUAGE_MODEL_KINDS
        name = self.dtype
        if name == "auto":
            name = "bfloat16" if on_accelerator and is_language_model else "float32"
        found: torch.dtype = getattr(torch, name)
        return found

    def tokens_of_a_batch(self, on_accelerator: bool) -> int:
        """Return the limit of a batch in tokens."""
        default = _BATCH_TOKENS_ON_ACCELERATOR if on_accelerator else _BATCH_TOKENS_ON_CPU
        return default if self.batch_tokens is None else self.batch_tokens


def kind_of_teacher(teacher: str, given: str) -> Kind:
    """Return how a teacher scores.

    Args:
        teacher: a folder, or a name on the Hugging Face hub.
        given: a kind; or ``auto``, to choose by the model's architecture.

    Raises:
        ConfigError: there is no such model or kind; or the kind is ``auto`` and the model is a
            causal language model, which can score in two ways.
    """
    if given != "auto":
        check_choice(given, [*Kind.__args__, "auto"], "kind")  # type: ignore[attr-defined]
        return given  # type: ignore[return-value]
    architectures = getattr(load_config_of(teacher), "architectures", None) or [""]
    if architectures[0].endswith("ForSequenceClassification"):
        return "cross-encoder"
    if architectures[0].endswith("ForCausalLM"):
        raise ConfigError(
            f"teacher={teacher!r} is a causal language model, which scores in two ways (give "
            "kind=likelihood: of the rows' answers; or kind=yes-no: as an LLM reranker)"
        )
    return "bi-encoder"


def max_length_of(
    config: Any, tokenizer: PreTrainedTokenizerBase, settings: TeacherSettings
) -> int:
    """Return the limit of an input in tokens.

    Args:
        config: the teacher's transformers configuration.
        tokenizer: the teacher's tokenizer.
        settings: how the teacher scores, by any kind except bi-encoder.

    Raises:
        ConfigError: ``settings.max_length`` exceeds the number of the teacher's positions.
    """
    positions = getattr(config, "max_position_embeddings", None)
    known = positions if isinstance(positions, int) and positions > 0 else None
    if known is not None and config.model_type in _POSITIONS_BEHIND_PADDING:
        known -= int(config.pad_token_id or 0) + 1
    limit = min(tokenizer.model_max_length, known or tokenizer.model_max_length)
    if settings.max_length is None:
        return min(_MAX_LENGTH[settings.kind], limit)
    if settings.max_length > limit:
        raise ConfigError(
            f"max_length={settings.max_length}: the teacher was made for {limit} tokens at most"
        )
    return settings.max_length


def build_teacher(
    teacher: str, settings: TeacherSettings, *, on_accelerator: bool = False
) -> CrossEncoderTeacher | LikelihoodTeacher | YesNoTeacher:
    """Load a teacher, on the CPU.

    Args:
        teacher: a folder, or a name on the Hugging Face hub.
        settings: how it scores; any kind except bi-encoder.
        on_accelerator: whether it will compute on an accelerator.

    Raises:
        ConfigError: the model cannot be loaded, or cannot score in this way.
    """
    config, tokenizer = load_config_of(teacher), load_tokenizer_of(teacher)
    dtype = settings.torch_dtype(on_accelerator)
    max_length = max_length_of(config, tokenizer, settings)
    batch_tokens = settings.tokens_of_a_batch(on_accelerator)
    if settings.kind == "cross-encoder":
        activation = activation_of(teacher, config, settings.activation)
        return CrossEncoderTeacher(
            load_model_of(teacher, AutoModelForSequenceClassification, dtype),
            tokenizer,
            max_length=max_length,
            batch_tokens=batch_tokens,
            activation=activation,
        )
    templates = settings.templates()
    assert templates is not None
    limits = LengthLimits(
        max_length,
        settings.key_max_length or _PART_MAX_LENGTH,
        settings.query_max_length or _PART_MAX_LENGTH,
    )
    model = load_model_of(teacher, AutoModelForCausalLM, dtype)
    if settings.kind == "likelihood":
        return LikelihoodTeacher(model, tokenizer, templates, limits, batch_tokens)
    instruction = YES_NO_INSTRUCTION if settings.instruction is None else settings.instruction
    return YesNoTeacher(
        model,
        tokenizer,
        templates,
        limits,
        batch_tokens,
        instruction=instruction,
        yes=settings.yes_word,
        no=settings.no_word,
    )
