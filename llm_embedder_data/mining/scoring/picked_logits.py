"""Computing the logits of a causal language model at chosen positions only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.batching import padded_on_the_right

# Allowed difference from the logits of a usual forward pass, as a share of the largest logit.
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


class PickedLogits:
    """Computes logits at the given positions, without computing all ``[B, L, V]`` logits.

    A hook on the model's output layer passes on the hidden states of the chosen positions only. The
    rest of the forward pass is unchanged, so soft-caps and scales of logits are applied as usual.

    Inputs are padded on the right. In a causal model a token never attends to later tokens, so no
    attention mask is needed, and attention runs without a mask.

    Args:
        model: from AutoModelForCausalLM.

    Attributes:
        n_logits: V, number of logits per position.

    Raises:
        ConfigError: the model has no output embeddings.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        if head is None:
            raise ConfigError(
                f"the teacher {type(model).__name__} has no output embeddings (give a causal "
                "language model)"
            )
        self.model = model
        # The shape of a quantized layer's weights is not its number of outputs.
        self.n_logits = int(getattr(head, "out_features", None) or head.weight.shape[0])
        self._picked: tuple[Tensor, Tensor] | None = None
        head.register_forward_pre_hook(self._pick)

    def __call__(self, ids: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """Return the logits at P positions, ``[P, V]`` in the model's type.

        Args:
            ids: ``[B, L]`` int64, padded on the right.
            rows: ``[P]`` int64, the row of ``ids`` of each position.
            positions: ``[P]`` int64, the position in this row.
        """
        self._picked = rows, positions
        try:
            logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        finally:
            self._picked = None
        return logits.reshape(-1, logits.shape[-1])

    @torch.inference_mode()
    def check(self, ids: list[int]) -> None:
        """Compare logits at chosen positions of a padded batch with those of a usual forward pass.

        Args:
            ids: token ids of a text, at least 4.

        Raises:
            ConfigError: they differ, because the model attends to later tokens, or its logits do
                not come from its output layer position by position.
        """
        device = next(self.model.parameters()).device
        whole = torch.tensor([ids], device=device)
        wanted = (
            self.model(input_ids=whole, attention_mask=torch.ones_like(whole)).logits[0].float()
        )
        short = ids[: len(ids) // 2]
        batch = padded_on_the_right([ids, short], ids[0]).to(device)
        rows = torch.tensor([0, 0, 1], device=device)
        positions = torch.tensor([len(ids) - 1, 1, len(short) - 1], device=device)
        found = self(batch, rows, positions).float()
        wanted = wanted[positions]
        tolerance = _TOLERANCE.get(self.model.dtype, 5e-2)
        largest = wanted.abs().max().item()
        is_other = found.shape != wanted.shape
        if is_other or (found - wanted).abs().max().item() > tolerance * largest:
            raise ConfigError(
                f"the teacher {type(self.model).__name__} gives other logits in a padded batch "
                "than alone, so that it cannot score in batches (give another model, or "
                "another dtype)"
            )

    def _pick(self, head: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._picked is None:
            return None
        rows, positions = self._picked
        hidden, *rest = args
        return hidden[rows, positions][None], *rest
