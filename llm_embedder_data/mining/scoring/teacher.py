"""What a teacher is, and the loading of its model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.scored_rows import ScoredRow

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# A score for each key of a row; None for a row that cannot be scored.
RowScore = list[float] | None


class Teacher(Protocol):
    """Scores the keys of rows."""

    @property
    def model(self) -> nn.Module:
        """What computes; to be moved to the device."""

    @property
    def counts(self) -> Counter[str]:
        """What was cut so far, by what it is."""

    def facts(self) -> Mapping[str, Any]:
        """Return all that scores depend on beside weights and rows, as plain JSON."""

    def said(self, tasks: Sequence[str]) -> str:
        """Return the settings in force for some tasks, for one line on a terminal."""

    def prepare(self, rows: Sequence[ScoredRow]) -> Any:
        """Return what :meth:`scores` takes: the tokens of rows. Runs in a thread of its own."""

    def scores(self, prepared: Any, progress: Callable[[int], None]) -> list[RowScore]:
        """Return the scores of rows.

        Args:
            prepared: the rows.
            progress: called with the number of inputs of each batch.
        """


def load_config_of(teacher: str) -> Any:
    """Return a teacher's transformers configuration.

    Raises:
        ConfigError: there is no such model.
    """
    return _loaded(AutoConfig, teacher)


def load_tokenizer_of(teacher: str) -> PreTrainedTokenizerBase:
    """Return a teacher's tokenizer.

    Raises:
        ConfigError: there is none.
    """
    tokenizer: PreTrainedTokenizerBase = _loaded(AutoTokenizer, teacher)
    return tokenizer


def load_model_of(teacher: str, auto_class: Any, dtype: torch.dtype) -> PreTrainedModel:
    """Load a teacher's model to evaluate it.

    Args:
        teacher: a folder, or a name on the Hugging Face hub.
        auto_class: of transformers, such as AutoModelForCausalLM.
        dtype: of the weights.

    Raises:
        ConfigError: the model cannot be loaded, or its files lack weights, which transformers
            would make at random.
    """
    model, report = _loaded(auto_class, teacher, dtype=dtype, output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ConfigError(
            f"teacher={teacher!r}: its files lack the weights {', '.join(missing[:3])}"
            f"{' and others' if len(missing) > 3 else ''} of {type(model).__name__}, which would "
            "be random (give a model that was trained for this kind of scores)"
        )
    return model.eval().requires_grad_(False)  # type: ignore[no-any-return]


def facts_of_model(model: PreTrainedModel) -> dict[str, Any]:
    """Return a model's class and configuration, without where it comes from, as plain JSON."""
    config = json.loads(json.dumps(model.config.to_dict(), default=str))
    kept = {name: config[name] for name in config if name not in _NO_FACTS}
    return {"class": type(model).__name__, "config": kept}


# Entries of a configuration that change no score.
_NO_FACTS = ("_name_or_path", "transformers_version")


def _loaded(auto_class: Any, teacher: str, **arguments: Any) -> Any:
    try:
        return auto_class.from_pretrained(teacher, **arguments)
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"teacher={teacher!r}: {auto_class.__name__} cannot load it: {first} (give a folder, "
            "or a name on the Hugging Face hub)"
        ) from error
