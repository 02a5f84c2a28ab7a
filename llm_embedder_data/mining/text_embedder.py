"""Texts to embeddings: sorted by length, in batches of so many tokens, one block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.model_inputs import Layout, ModelInputs
from llm_embedder_data.batches.tokens.prompt_lengths import prompt_length
from llm_embedder_data.batches.tokens.row_instructions import Instructions, RowInstructions
from llm_embedder_data.batches.tokens.side_tokenizer import SideTokenizer
from llm_embedder_data.batches.tokens.tensor_layout import TensorLayout
from llm_embedder_data.batches.tokens.token_slices import Tokens
from llm_embedder_data.config.pooling_modes import PoolingMode
from llm_embedder_data.core.errors import ConfigError, check_choice

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

# Tokens of a batch, padding included, if the user names no number.
_BATCH_TOKENS = {"cpu": 1024}
_BATCH_TOKENS_ON_ACCELERATOR = 32768

# Texts whose tokens are in memory at a time.
_TEXTS_AT_ONCE = 16384


class Encoder(Protocol):
    """What embeds tokenized texts; BiEncoder does."""

    pooling: PoolingMode
    include_prompt: bool

    def encode(
        self, inputs: Any, inverse: Tensor | None = None, prompt_length: int | Tensor = 0
    ) -> Tensor:
        """Return the embeddings of texts in any layout, ``[N, D]`` float32."""

    def embedding_facts(self) -> Mapping[str, Any]:
        """Return all that embeddings depend on beside weights, tokens and precision."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the weights by name."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the weights; the first of them shows the device."""

    def modules(self) -> Iterable[nn.Module]:
        """Return all modules, which are put into evaluation mode for a while."""


class TextEmbedder:
    """An encoder with all that stands between a text and its embedding.

    Tokens, prompts and truncation are those of training batches and evaluations, so embeddings
    equal theirs up to rounding.

    Args:
        encoder: a BiEncoder, or what does as it does, on the device to compute on.
        tokenizer: of the encoder.
        prompt: put before each text that has no instruction of its own; may be empty.
        max_length: most tokens of a text, special tokens included.
        layout: ``padded``, ``chunked`` or ``packed``: see :class:`TensorLayout`.
        batch_tokens: most tokens of a batch, padding included, unless one text has more. None:
            1,024 on a CPU, else 32,768.
        precision: that the encoder computes in: ``32-true``, or automatic mixed precision.
        pad_to_multiple_of: pad to a multiple of this many tokens.
        chunk_size: most texts in a chunk of the layout ``chunked``.

    Attributes:
        n_full: texts embedded so far that have ``max_length`` tokens; longer ones were cut.

    Raises:
        ConfigError: a setting is out of range; the prompt and special tokens use up
            ``max_length``; or the layout needs a padding token and the tokenizer has none.
    """

    def __init__(
        self,
        encoder: Encoder,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prompt: str = "",
        max_length: int = 256,
        layout: Layout = "padded",
        batch_tokens: int | None = None,
        precision: Precision = "32-true",
        pad_to_multiple_of: int | None = 8,
        chunk_size: int = 32,
    ) -> None:
        check_choice(precision, Precision, "precision")
        for name, value in (("max_length", max_length), ("batch_tokens", batch_tokens)):
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"{name}={value!r}: expected a whole number of at least 1")
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.prompt = prompt
        self.max_length = max_length
        self.n_full = 0
        self.layout: Layout = layout
        self.precision: Precision = precision
        self.device = next(iter(encoder.parameters())).device
        self.batch_tokens = batch_tokens or _BATCH_TOKENS.get(
            self.device.type, _BATCH_TOKENS_ON_ACCELERATOR
        )
        self._multiple = pad_to_multiple_of or 1
        self._tensors = TensorLayout(tokenizer, layout, pad_to_multiple_of, chunk_size)
        self._side = SideTokenizer(tokenizer, max_length)
        self._side.check_room(prompt, "max_length")

    def embed(
        self, texts: Sequence[str], own_instructions: Sequence[str | None] | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of texts, ``[N, D]`` float32; equal texts are encoded once.

        Args:
            texts: N texts, without prompt.
            own_instructions: what stands in place of the prompt of each text; None for the prompt.
        """
        own = own_instructions or [None] * len(texts)
        number: dict[tuple[str, str | None], int] = {}
        row = [number.setdefault(pair, len(number)) for pair in zip(texts, own, strict=True)]
        distinct = list(number)
        blocks = (
            distinct[start : start + _TEXTS_AT_ONCE]
            for start in range(0, len(distinct), _TEXTS_AT_ONCE)
        )
        parts = self.embed_blocks(
            ([text for text, _ in block], [instruction for _, instruction in block])
            for block in blocks
        )
        embedded = [np.empty((0, 0), np.float32)] if not texts else list(parts)
        return np.concatenate(embedded)[row] if texts else embedded[0]

    def embed_blocks(
        self,
        blocks: Iterable[tuple[Sequence[str], Sequence[str | None] | None]],
        progress: Callable[[int], None] = lambda n_texts: None,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the embeddings of each block of texts, ``[n, D]`` float32.

        Texts are sorted by length within a block. The embeddings of a block depend on nothing
        outside it, not even in their last bits. While a block is encoded, the next is tokenized.

        Args:
            blocks: texts, and their own instructions as in :meth:`embed`; at least one text each.
            progress: called with the number of texts of each batch.
        """
        waiting = iter(blocks)

        def next_block() -> tuple[Tokens, int | Tensor] | None:
            block = next(waiting, None)
            return None if block is None else self._tokenized(*block)

        with ThreadPoolExecutor(1) as thread, _evaluating(self.encoder):
            ahead = thread.submit(next_block)
            while (block := ahead.result()) is not None:
                ahead = thread.submit(next_block)
                yield self._encoded(*block, progress)

    def _tokenized(
        self, texts: Sequence[str], own: Sequence[str | None] | None
    ) -> tuple[Tokens, int | Tensor]:
        instruction: Instructions = self.prompt
        if own is not None and any(text is not None for text in own):
            instruction = RowInstructions(self.prompt, own)
        length: int | Tensor = 0
        if not self.encoder.include_prompt and self.encoder.pooling == "mean":
            length = prompt_length(self.tokenizer, instruction)
        return self._side(texts, instruction), length

    @torch.inference_mode()
    def _encoded(
        self, tokens: Tokens, length: int | Tensor, progress: Callable[[int], None]
    ) -> NDArray[np.float32]:
        """Return the embeddings of texts, ``[n, D]``, each batch encoded at once."""
        self.n_full += int((tokens.lengths >= self.max_length).sum())
        order = np.argsort(-tokens.lengths, kind="stable")  # [n], the longest text first
        parts = []
        for texts in self._batches(tokens.lengths[order], order):
            inputs, inverse = self._tensors(tokens.take(texts))
            of_texts = length[torch.from_numpy(texts)] if isinstance(length, Tensor) else length
            with self._autocast():
                embedding = self.encoder.encode(
                    self._moved(inputs),
                    None if inverse is None else torch.from_numpy(inverse).to(self.device),
                    of_texts.to(self.device) if isinstance(of_texts, Tensor) else of_texts,
                )
            parts.append(embedding.float())
            progress(len(texts))
        embedded = np.empty((len(order), parts[0].shape[1]), np.float32)
        embedded[order] = torch.cat(parts).cpu().numpy()  # one wait for the device a block
        return embedded

    def _batches(
        self, lengths: NDArray[np.int64], order: NDArray[np.int64]
    ) -> Iterator[NDArray[np.int64]]:
        """Yield the texts of each batch; ``lengths`` falls."""
        ends = np.cumsum(lengths)
        start = 0
        while start < len(order):
            if self.layout == "packed":
                before = ends[start] - lengths[start]
                stop = int(np.searchsorted(ends, before + self.batch_tokens, "right"))
            else:
                width = -(-int(lengths[start]) // self._multiple) * self._multiple
                stop = start + self.batch_tokens // max(width, 1)
            stop = max(stop, start + 1)
            yield order[start:stop]
            start = stop

    def _moved(self, inputs: ModelInputs | list[ModelInputs]) -> Any:
        if isinstance(inputs, list):
            return [self._moved(call) for call in inputs]
        return {
            name: value.to(self.device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }

    def _autocast(self) -> Any:
        dtype = _AUTOCAST.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)


@contextmanager
def _evaluating(encoder: Encoder) -> Iterator[None]:
    """Put all modules into evaluation mode for a while."""
    modes = [(module, module.training) for module in encoder.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode
