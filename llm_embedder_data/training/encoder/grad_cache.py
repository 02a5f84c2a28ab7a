"""GradCache: embeds a large batch with the memory of a small one.

Gao et al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"
(arXiv:2101.06983): encode all mini-batches without an autograd graph; compute the gradient of the
loss with respect to the embeddings; then encode each mini-batch again, now with a graph, and
backpropagate its share of that gradient to the weights.

Here the second encoding is the backward pass of an autograd function whose inputs are the weights.
So a training step has a single backward pass, as usual, and each weight gets its gradient once,
however many mini-batches there are. DDP, gradient scaling, accumulation, clipping and Lightning's
automatic optimization therefore work as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.training.encoder.encoder_calls import EncoderCall

Encode = Callable[[EncoderCall], Tensor]


def cached_embeddings(
    encode: Encode, calls: Sequence[EncoderCall], weights: Iterable[nn.Parameter]
) -> list[Tensor]:
    """Return the embeddings of each call; only one call's activations are in memory at a time.

    The gradient equals that of ``[encode(call) for call in calls]`` up to rounding. Each call is
    encoded twice, with the same random numbers (dropout) both times, on the CPU and on the device
    of the inputs.

    Args:
        encode: embeds the texts of a call, ``[n, D]``.
        calls: one or more calls.
        weights: the weights that ``encode`` uses. Those with ``requires_grad`` get a gradient.

    Returns:
        ``[n, D]`` for each call.

    Raises:
        ConfigError: raised in the backward pass if no weight gets a gradient, because a wrapper
            such as FSDP has replaced the weights.
    """
    trained = [weight for weight in weights if weight.requires_grad]
    return list(_Cached.apply(encode, calls, *trained))  # type: ignore[no-untyped-call]


class _Cached(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, encode: Encode, calls: Sequence[EncoderCall], *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.encode, ctx.calls = encode, calls
        ctx.save_for_backward(*weights)  # torch raises if they change before the backward pass
        ctx.device = calls[0].inputs["input_ids"].device
        kind = ctx.device.type
        # Turn off autocast's cache of cast weights. Weights that are cast here have no autograd
        # graph, and later calls would reuse them.
        ctx.autocast = {
            "device_type": kind,
            "dtype": torch.get_autocast_dtype(kind),
            "enabled": torch.is_autocast_enabled(kind),
            "cache_enabled": False,
        }
        ctx.random_states, embeddings = [], []
        with torch.autocast(**ctx.autocast):
            for call in calls:
                ctx.random_states.append(_random_states(ctx.device))
                embeddings.append(encode(call))
        return tuple(embeddings)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        weights = ctx.saved_tensors
        totals: list[Tensor | None] = [None] * len(weights)
        parts = zip(ctx.calls, ctx.random_states, gradients, strict=True)
        for call, states, gradient in parts:
            with _random_states_of(ctx.device, states):
                with torch.enable_grad(), torch.autocast(**ctx.autocast):
                    embedding = ctx.encode(call)
                # Not backward(): it would give each weight a gradient in every call, but
                # data-parallel training expects a single one.
                found = torch.autograd.grad(embedding, weights, gradient, allow_unused=True)
            if all(of_weight is None for of_weight in found):
                raise ConfigError(
                    "model.mini_batch_size: no weight of the encoder got a gradient, as happens "
                    "if FSDP shards the weights (set model.mini_batch_size to null and "
                    "model.gradient_checkpointing to true, or train with trainer.strategy=ddp)"
                )
            for i, of_weight in enumerate(found):
                if of_weight is not None:
                    totals[i] = _added(totals[i], of_weight)
        return (
            None,
            None,
            *(
                None if total is None else total.to(weight.dtype)
                for total, weight in zip(totals, weights, strict=True)
            ),
        )


def _added(total: Tensor | None, more: Tensor) -> Tensor:
    """Add gradients in float32: in half precision, small ones would be lost to rounding."""
    if total is None:
        return more.float()
    return total.add_(more)


def _random_states(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return the states of the random generators that an encoder on a device uses: CPU, device."""
    on_device = None
    if device.type != "cpu":
        on_device = torch.get_device_module(device).get_rng_state(device)
    return torch.get_rng_state(), on_device


@contextmanager
def _random_states_of(device: torch.device, states: tuple[Tensor, Tensor | None]) -> Iterator[None]:
    """Set the random generators to earlier states, and restore their current states afterwards."""
    on_cpu, on_device = states
    devices = [] if on_device is None else [device]
    kind = "cuda" if on_device is None else device.type
    with torch.random.fork_rng(devices, device_type=kind):
        torch.set_rng_state(on_cpu)
        if on_device is not None:
            torch.get_device_module(device).set_rng_state(on_device, device)
        yield
