"""From texts to embeddings: texts are sorted by length and batched by their number of tokens."""

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

# Defaults of batch_tokens.
CPU_BATCH_TOKENS = 1024
_BATCH_TOKENS_ON_ACCELERATOR = 32768

# Number of texts in a block, whose tokens are in memory at the same time.
_TEXTS_AT_ONCE = 16384


class Encoder(Protocol):
    """A model that embeds tokenized texts, such as BiEncoder."""

    pooling: PoolingMode
    include_prompt: bool

    def encode(
        self, inputs: Any, inverse: Tensor | None = None, prompt_length: int | Tensor = 0
    ) -> Tensor:
        """Return the embeddings of N texts, ``[N, D]``.

        Args:
            inputs: the texts in any layout: see :class:`TensorLayout`.
            inverse: ``[N]`` int64, the row of each text, if the layout reorders texts.
            prompt_length: number of prompt tokens, which mean pooling leaves out; an int, or
                ``[N]`` int64.
        """

    def embedding_facts(self) -> Mapping[str, Any]:
        """Return what embeddings depend on, except weights, tokens and precision."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the weights by name."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the weights. They are all on the device to compute on."""

    def modules(self) -> Iterable[nn.Module]:
        """Return all modules; they are put into evaluation mode while texts are embedded."""


class TextEmbedder:
    """Turns texts into embeddings, by an encoder with its tokenizer, prompt and length limit.

    Texts are tokenized, prompted and truncated as in training and evaluation, so the embeddings
    equal those computed there up to rounding.

    Args:
        encoder: a BiEncoder or another :class:`Encoder`, on the device to compute on.
        tokenizer: the encoder's tokenizer.
        prompt: put before each text that has no instruction; may be empty.
        max_length: limit of a text in tokens, prompt and special tokens included.
        layout: ``padded``, ``chunked`` or ``packed``: see :class:`TensorLayout`.
        batch_tokens: limit of a batch in tokens, padding included. A text with more tokens makes a
            batch by itself. None: 1,024 on a CPU, else 32,768.
        precision: precision that the encoder computes in, in Lightning's terms.
        pad_to_multiple_of: pad texts to a multiple of this many tokens; None: no multiple.
        chunk_size: limit of texts per chunk in the layout ``chunked``.

    Attributes:
        n_full: texts embedded so far with ``max_length`` tokens: they fill the limit, and longer
            texts were cut to it.

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
        self.batch_tokens = batch_tokens or (
            CPU_BATCH_TOKENS if self.device.type == "cpu" else _BATCH_TOKENS_ON_ACCELERATOR
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
            own_instructions: for each text, the instruction that replaces the prompt, or None to
                keep the prompt. None in place of the list if no text has an instruction.

        Returns:
            The embeddings; ``[0, 0]`` without texts.
        """
        if not texts:
            return np.empty((0, 0), np.float32)
        instructions = own_instructions or [None] * len(texts)
        number: dict[tuple[str, str | None], int] = {}
        pairs = zip(texts, instructions, strict=True)
        row = [number.setdefault(pair, len(number)) for pair in pairs]
        distinct = list(number)
        blocks = (
            distinct[start : start + _TEXTS_AT_ONCE]
            for start in range(0, len(distinct), _TEXTS_AT_ONCE)
        )
        parts = self.embed_blocks(
            ([text for text, _ in block], [instruction for _, instruction in block])
            for block in blocks
        )
        return np.concatenate(list(parts))[row]

    def embed_blocks(
        self,
        blocks: Iterable[tuple[Sequence[str], Sequence[str | None] | None]],
        progress: Callable[[int], None] = lambda n_texts: None,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the embeddings of each block of texts, ``[n, D]`` float32, in the block's order.

        Batches never cross blocks, so the embeddings of a block depend on nothing outside it, not
        even in their last bits. While a block is encoded, the next is tokenized in a thread.

        Args:
            blocks: texts, at least one, and their instructions as in :meth:`embed`.
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
        self, texts: Sequence[str], own_instructions: Sequence[str | None] | None
    ) -> tuple[Tokens, int | Tensor]:
        """Return the tokens of texts, and the number of prompt tokens to leave out of the mean."""
        instruction: Instructions = self.prompt
        if own_instructions is not None and any(text is not None for text in own_instructions):
            instruction = RowInstructions(self.prompt, own_instructions)
        length: int | Tensor = 0
        if not self.encoder.include_prompt and self.encoder.pooling == "mean":
            length = prompt_length(self.tokenizer, instruction)
        return self._side(texts, instruction), length

    @torch.inference_mode()
    def _encoded(
        self, tokens: Tokens, length: int | Tensor, progress: Callable[[int], None]
    ) -> NDArray[np.float32]:
        """Return the embeddings of a block of texts, ``[n, D]`` float32."""
        self.n_full += int((tokens.lengths >= self.max_length).sum())
        order = np.argsort(-tokens.lengths, kind="stable")  # [n], the longest text first
        # Write the results of all batches into one tensor. Separate tensors would fragment the
        # device's memory: each lies between the activations of two batches, and the free memory
        # between them may be too small for the next batch.
        found: Tensor | None = None  # [n, D], in the order ``order``
        start = 0
        for texts in self._batches(tokens.lengths[order], order):
            inputs, inverse = self._tensors(tokens.take(texts))
            of_texts = length[torch.from_numpy(texts)] if isinstance(length, Tensor) else length
            with self._autocast():
                embedding = self.encoder.encode(
                    self._moved(inputs),
                    None if inverse is None else torch.from_numpy(inverse).to(self.device),
                    of_texts.to(self.device) if isinstance(of_texts, Tensor) else of_texts,
                )
            if found is None:
                found = embedding.new_empty(len(order), embedding.shape[1], dtype=torch.float32)
            found[start : start + len(texts)] = embedding
            start += len(texts)
            progress(len(texts))
        assert found is not None  # a block has texts
        embedded = np.empty(found.shape, np.float32)
        embedded[order] = found.cpu().numpy()  # waits for the device once per block
        return embedded

    def _batches(
        self, lengths: NDArray[np.int64], order: NDArray[np.int64]
    ) -> Iterator[NDArray[np.int64]]:
        """Yield the texts of each batch: consecutive parts of ``order``.

        Args:
            lengths: ``[n]``, tokens of each text, descending.
            order: ``[n]``, the number of the text with each of these lengths.
        """
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
    """Put all modules into evaluation mode, and restore their modes afterwards."""
    modes = [(module, module.training) for module in encoder.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode
