"""Loads a sequence classifier with a single label, which scores (query, key) pairs."""

from __future__ import annotations

from typing import cast

import torch
from lightning.pytorch.utilities import rank_zero_info
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from llm_embedder_data.config.pretrained import cannot_be_loaded, load_model
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import cause, one_line


def classifier(encoder: str | PreTrainedModel) -> PreTrainedModel:
    """Return a classifier with a single label, loaded as float32 if a name or path is given.

    A model without a classification head gets a new, random head; a log line says so.

    Raises:
        ConfigError: the model cannot be loaded, is not a sequence classifier, or has another number
            of labels.
    """
    if not isinstance(encoder, str):
        n_labels = getattr(encoder.config, "num_labels", None)
        if "Classification" not in type(encoder).__name__ or n_labels != 1:
            raise ConfigError(
                f"encoder={type(encoder).__name__} with {n_labels} labels: expected a model for "
                "sequence classification with one label (AutoModelForSequenceClassification."
                "from_pretrained(..., num_labels=1), or give its name or path)"
            )
        return encoder
    try:
        # Always float32: in bfloat16, AdamW updates at a learning rate of 2e-5 round to 0.
        loaded, info = load_model(
            AutoModelForSequenceClassification,
            encoder,
            num_labels=1,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except RuntimeError as error:
        raise ConfigError(
            f"encoder={encoder!r}: it cannot be loaded as a classifier with one label: "
            f"{str(error).splitlines()[0]} (a model with several labels is no reranker; name "
            "another model)"
        ) from error
    except ConfigError:
        raise
    except Exception as error:  # each file format raises exceptions of its own
        raise cannot_be_loaded(encoder, error) from cause(error)
    if missing := sorted(info["missing_keys"]):
        rank_zero_info(
            f"{one_line(encoder)} has no classification head: {', '.join(missing)} are initialized "
            "at random, so scores mean nothing before training"
        )
    return cast(PreTrainedModel, loaded)
