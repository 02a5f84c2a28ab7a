"""The number of prompt tokens, for encoders that exclude the prompt from mean pooling."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.row_instructions import Instructions, RowInstructions


def prompt_length(tokenizer: PreTrainedTokenizerBase, instruction: Instructions) -> int | Tensor:
    """Return the number of prompt tokens before each text, counted as in sentence-transformers.

    The result is one number for all texts, or int64 ``[N]`` if texts have instructions of their
    own.
    """
    if isinstance(instruction, RowInstructions):
        texts = instruction.texts()
        length = {text: _n_tokens(tokenizer, text) for text in set(texts)}
        return torch.tensor([length[text] for text in texts])
    return _n_tokens(tokenizer, instruction)


def _n_tokens(tokenizer: PreTrainedTokenizerBase, instruction: str) -> int:
    if not instruction:
        return 0
    ids = tokenizer(instruction)["input_ids"]
    return len(ids) - (ids[-1] in tokenizer.all_special_ids)
