"""The ways to pool the tokens of a text and to compare two embeddings."""

from __future__ import annotations

from typing import Literal

# The vector of the first token, the mean of all token vectors, or the vector of the last token.
PoolingMode = Literal["cls", "mean", "last"]

# Cosine similarity, or the inner product of embeddings that are not normalized.
SimilarityName = Literal["cos", "dot"]
