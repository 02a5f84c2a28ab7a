"""The fingerprint of an embedding store: everything that its vectors depend on."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import xxhash
from torch import Tensor

from llm_embedder_data.batches.tokens.tokenizer_digest import tokenizer_digest
from llm_embedder_data.core.errors import check_choice
from llm_embedder_data.mining.text_embedder import TextEmbedder
from llm_embedder_data.mining.text_inventory import TextInventory

StoredType = Literal["float32", "float16", "bfloat16"]

# Increase it when the meaning of a store's files or the way to compute embeddings changes.
STORE_VERSION = 1

# Weights are hashed in pieces of this size, so that those on an accelerator are copied to the CPU
# piece by piece.
_HASHED_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFingerprint:
    """Everything that the vectors of a store depend on, up to rounding.

    Layout, device and batch size are not part of it: they only change the rounding.

    Attributes:
        version: version of the store's files.
        weights: digest of the names, types, shapes and values of the encoder's weights.
        encoder: the encoder's class, configuration, pooling and similarity.
        tokenizer: digest of the tokenizer.
        prompt: put before each text that has no instruction.
        max_length: limit of a text in tokens.
        precision: precision that the encoder computes in.
        dtype: type of the vectors in the files.
        n_texts: number of texts.
        texts: digest of the texts and their instructions, in order.
        ids: digest of the ids, in order.
    """

    version: int
    weights: str
    encoder: Mapping[str, Any]
    tokenizer: str
    prompt: str
    max_length: int
    precision: str
    dtype: StoredType
    n_texts: int
    texts: str
    ids: str

    @classmethod
    def of(
        cls, embedder: TextEmbedder, inventory: TextInventory, dtype: StoredType = "float32"
    ) -> StoreFingerprint:
        """Return the fingerprint of the embeddings of some texts.

        Args:
            embedder: the encoder with its tokenizer, prompt and length limit.
            inventory: the inventory of the texts.
            dtype: type of the vectors in the files.

        Raises:
            ConfigError: the dtype is unknown.
        """
        check_choice(dtype, StoredType, "dtype")
        return cls(
            version=STORE_VERSION,
            weights=weights_digest(embedder.encoder.state_dict()),
            # Through JSON, so that it equals the fingerprint that is read from store.json.
            encoder=json.loads(json.dumps(embedder.encoder.embedding_facts(), default=str)),
            tokenizer=tokenizer_digest(embedder.tokenizer),
            prompt=embedder.prompt,
            max_length=embedder.max_length,
            precision=embedder.precision,
            dtype=dtype,
            n_texts=inventory.n_texts,
            texts=inventory.texts_digest,
            ids=inventory.ids_digest,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON data."""
        return asdict(self)

    def differs_in(self, other: Mapping[str, Any], ignored: Collection[str] = ()) -> list[str]:
        """Return the names of the fields that have another value in another fingerprint.

        Args:
            other: the other fingerprint, as :meth:`as_dict` returns it. It may lack fields.
            ignored: names of fields that are not compared.
        """
        return [
            name
            for name, value in self.as_dict().items()
            if name not in ignored and other.get(name) != value
        ]

    def digest(self) -> str:
        """Return the name of the store's folder: 32 hexadecimal digits."""
        content = json.dumps(self.as_dict(), sort_keys=True)
        return str(xxhash.xxh3_128_hexdigest(content.encode()))


def weights_digest(weights: Mapping[str, Any]) -> str:
    """Return a digest of the names, types, shapes and values of weights: 32 hexadecimal digits.

    The order of the weights does not matter. Each tensor is read once: about 10 GB/s on a CPU.
    """
    hashed = xxhash.xxh3_128()
    for name in sorted(weights):
        tensor = weights[name]
        if not isinstance(tensor, Tensor):
            hashed.update(json.dumps([name, tensor], default=str).encode())
            continue
        hashed.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        for start in range(0, len(flat), _HASHED_BYTES):
            part = flat[start : start + _HASHED_BYTES]
            hashed.update(part.cpu().numpy().data)
    return str(hashed.hexdigest())
