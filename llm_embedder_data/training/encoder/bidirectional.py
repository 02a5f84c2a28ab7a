"""Bidirectional attention for decoders: every token attends to later tokens too.

BehnamGhader et al., 2024, "LLM2Vec" (arXiv:2404.05961), turn decoders into text encoders this way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llm_embedder_data.core.errors import ConfigError


def attend_both_ways(encoder: PreTrainedModel) -> None:
    """Turn off the causal masks of a model, in place. An encoder has none and is not changed.

    The model's configuration records this, so a saved model is bidirectional when it is loaded.
    """
    encoder.config.is_causal = False
    # If nothing is padded there is no mask; attention functions then read the module's is_causal.
    for module in encoder.modules():
        if not getattr(module, "is_causal", False):
            continue
        module.is_causal = False  # type: ignore[assignment]
        # transformers' bidirectional masks include the token at distance sliding_window; its causal
        # masks do not.
        if getattr(module, "sliding_window", None) is not None:
            module.sliding_window += 1  # type: ignore[operator, assignment]


def check_both_ways(encoder: PreTrainedModel) -> None:
    """Check on two short texts that tokens of a model attend to later tokens.

    Raises:
        ConfigError: tokens do not, because the model builds its causal masks in another way.
    """
    if not _sees_later_tokens(encoder):
        raise ConfigError(
            f"model.bidirectional=True: the masks of {type(encoder).__name__} stay causal (set "
            "model.bidirectional=false, or choose a decoder such as Qwen2, Qwen3, Llama, Mistral "
            "or Gemma)"
        )


def _sees_later_tokens(encoder: PreTrainedModel) -> bool:
    """Return whether changing the last token changes the hidden state of the token before it.

    Checked with and without padding, because attention functions treat the two differently.
    """
    device, was_training = encoder.device, encoder.training
    ids = torch.tensor([[1, 2, 3], [1, 2, 3]], device=device)
    other = torch.tensor([[1, 2, 4], [1, 2, 4]], device=device)
    sees = True
    encoder.train(False)  # without dropout
    with torch.no_grad():
        for mask in ([[1, 1, 1], [1, 1, 1]], [[1, 1, 1], [0, 1, 1]]):

            def second_token(tokens: Tensor, mask: list[list[int]] = mask) -> Tensor:
                real = torch.tensor(mask, device=device)
                hidden = encoder(input_ids=tokens, attention_mask=real).last_hidden_state
                return hidden[:, 1]  # type: ignore[no-any-return]

            differs = second_token(ids) != second_token(other)
            sees &= bool(differs.any(1).all())
    encoder.train(was_training)
    return sees
