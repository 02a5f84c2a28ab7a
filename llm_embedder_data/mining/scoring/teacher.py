"""The protocol of teachers, and the loading of their models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm_embedder_data.config.model_tokenizer import load_tokenizer
from llm_embedder_data.config.pretrained import load_model, load_model_config
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.scored_rows import ScoredRow

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Entries of a configuration that do not change scores.
_WITHOUT_EFFECT = ("_name_or_path", "transformers_version")

# A score for each key of a row; None for a row that cannot be scored.
RowScore = list[float] | None


class Teacher(Protocol):
    """A model that scores the keys of rows."""

    @property
    def model(self) -> nn.Module:
        """The model, to be moved to the device to compute on."""

    @property
    def counts(self) -> Counter[str]:
        """How many texts were cut and rows not scored so far, by a description for users."""

    def facts(self) -> Mapping[str, Any]:
        """Return what scores depend on, except weights and rows, as plain JSON."""

    def described(self, tasks: Sequence[str]) -> str:
        """Return the settings in force for some tasks, as a line for a terminal."""

    def prepare(self, rows: Sequence[ScoredRow]) -> Any:
        """Return the input of :meth:`scores`, such as tokens. May run in another thread."""

    def scores(self, prepared: Any, progress: Callable[[int], None]) -> list[RowScore]:
        """Return the scores of rows.

        Args:
            prepared: the result of :meth:`prepare`.
            progress: called with the number of inputs of each batch.
        """


def load_config_of(teacher: str) -> Any:
    """Return a teacher's transformers configuration.

    Raises:
        ConfigError: there is no such model.
    """
    with _explained(teacher, "the configuration"):
        return load_model_config(teacher)


def load_tokenizer_of(teacher: str) -> PreTrainedTokenizerBase:
    """Return a teacher's tokenizer.

    Raises:
        ConfigError: it cannot be loaded.
    """
    with _explained(teacher, "the tokenizer"):
        return load_tokenizer(teacher)


def load_model_of(teacher: str, auto_class: Any, dtype: torch.dtype) -> PreTrainedModel:
    """Load a teacher's model, in evaluation mode and without gradients.

    Args:
        teacher: a folder, or a name on the Hugging Face hub.
        auto_class: a class of transformers, such as AutoModelForCausalLM.
        dtype: type of the weights.

    Raises:
        ConfigError: the model cannot be loaded, or its files lack weights, which transformers
            would initialize at random.
    """
    with _explained(teacher, auto_class.__name__):
        model, report = load_model(auto_class, teacher, dtype=dtype, output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ConfigError(
            f"teacher={teacher!r}: its files lack the weights {', '.join(missing[:3])}"
            f"{' and others' if len(missing) > 3 else ''} of {type(model).__name__}, which would "
            "be random (give a model that was trained for this kind of scores)"
        )
    return model.eval().requires_grad_(False)  # type: ignore[no-any-return]


def facts_of_model(model: PreTrainedModel) -> dict[str, Any]:
    """Return a model's class and configuration, without its name and path, as plain JSON."""
    config = json.loads(json.dumps(model.config.to_dict(), default=str))
    kept = {name: config[name] for name in config if name not in _WITHOUT_EFFECT}
    return {"class": type(model).__name__, "config": kept}


@contextmanager
def _explained(teacher: str, what: str) -> Iterator[None]:
    """Turn any error of loading into a ConfigError that names the teacher and the part.

    Args:
        teacher: a folder, or a name on the Hugging Face hub.
        what: the part of the teacher that is loaded, for the message.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # readers of files raise errors of many types
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConfigError(
            f"teacher={teacher!r}: {what} cannot be loaded: {reason} (give a folder, or a name on "
            "the Hugging Face hub)"
        ) from error
