"""Matryoshka embeddings, whose leading dimensions can be used alone as smaller embeddings.

Kusupati et al., 2022, "Matryoshka Representation Learning" (arXiv:2205.13147): train on the losses
of the whole embedding and of several truncations, so that an index may keep fewer dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from llm_embedder_data.config.recipe_rules import is_finite_number
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.search import Precision
from llm_embedder_data.training.evaluation.eval_sources import EvalSources
from llm_embedder_data.training.evaluation.evaluator import EvalRun, Evaluation, RetrievalEvaluator


class WeightedDimension(NamedTuple):
    """A number of leading dimensions, and the weight of its loss; the weights sum to 1."""

    width: int
    weight: float


def weighted_dimensions(
    dims: Sequence[int] | None, weights: Sequence[float] | None, full: int
) -> list[WeightedDimension]:
    """Return the widths to train on, the largest first, with weights that sum to 1.

    The full width is always among them. If ``dims`` does not list it, it has weight 1 before all
    weights are scaled.

    Args:
        dims: numbers of leading dimensions; None: only the full width.
        weights: a weight of at least 0 for each of ``dims``; None: 1 each.
        full: width of the encoder's embeddings.

    Raises:
        ConfigError: a width is not in [1, full] or is repeated; or there are too few or too many
            weights, or a weight is negative, or all are 0.

    >>> weighted_dimensions([64, 32], [1, 2], 128)
    [WeightedDimension(width=128, weight=0.25), WeightedDimension(width=64, weight=0.25), \
WeightedDimension(width=32, weight=0.5)]
    """
    if dims is None:
        if weights is not None:
            raise ConfigError(
                f"model.matryoshka_weights={list(weights)}: there is nothing to weigh (set "
                "model.matryoshka_dims, or model.matryoshka_weights to null)"
            )
        return [WeightedDimension(full, 1.0)]
    if (
        not dims
        or not all(type(width) is int and 1 <= width <= full for width in dims)
        or len(set(dims)) < len(dims)
    ):
        raise ConfigError(
            f"model.matryoshka_dims={list(dims)}: expected one or more different integers from 1 "
            f"to {full}, the width of the encoder's embeddings"
        )
    if weights is None:
        weights = [1.0] * len(dims)
    of_width = {full: 1.0} | dict(zip(dims, weights, strict=False))
    if (
        len(weights) != len(dims)
        or not all(is_finite_number(weight) and weight >= 0 for weight in weights)
        or not any(of_width.values())
    ):
        raise ConfigError(
            f"model.matryoshka_weights={list(weights)}: expected {len(dims)} numbers of at least "
            f"0, not all 0, one for each of model.matryoshka_dims={list(dims)}"
        )
    total = sum(of_width.values())
    return [WeightedDimension(width, of_width[width] / total) for width in sorted(of_width)[::-1]]


def truncated(embedding: Tensor, width: int, *, normalize: bool) -> Tensor:
    """Return the leading dimensions of embeddings.

    Args:
        embedding: ``[..., D]``.
        width: number of dimensions to keep, at most D.
        normalize: whether to scale truncated embeddings to length 1.

    Returns:
        ``[..., width]``.
    """
    if width == embedding.shape[-1]:
        return embedding
    cut = embedding[..., :width]
    return F.normalize(cut, dim=-1) if normalize else cut


class TruncatingEvaluator(RetrievalEvaluator):
    """Evaluates full embeddings, and several truncations of them.

    The names of a truncation's metrics contain its width: ``val/<eval set>/dim_128/mrr@10``, and
    ``val/dim_128/mrr@10`` for the mean over eval sets. Rankings are those of the full embeddings.

    Args:
        cutoffs: the k of the metrics.
        widths: widths of the truncations, without the full width.
        normalize: whether truncated embeddings are scaled to length 1.
        settings: further arguments of :class:`RetrievalEvaluator`.
    """

    def __init__(
        self, cutoffs: Sequence[int], widths: Sequence[int], *, normalize: bool, **settings: Any
    ) -> None:
        super().__init__(cutoffs, **settings)
        self._truncations = {width: RetrievalEvaluator(cutoffs, **settings) for width in widths}
        self._normalize = normalize

    def like(
        self,
        *,
        cutoffs: Sequence[int] | None = None,
        drop_identical_ids: bool | None = None,
        precision: Precision | None = None,
    ) -> TruncatingEvaluator:
        """Return a new evaluator with the same truncations and settings, except those given."""
        settings = self._settings(cutoffs, drop_identical_ids, precision)
        return TruncatingEvaluator(
            widths=[*self._truncations], normalize=self._normalize, **settings
        )

    def reset(self, sources: EvalSources | None = None) -> None:
        """Start anew: drop batches that an interrupted evaluation may have left behind."""
        super().reset(sources)
        for evaluator in self._truncations.values():
            evaluator.reset()

    def note_loader(self, name: str, loader_index: int) -> None:
        """Record which loader an eval set or corpus comes from."""
        super().note_loader(name, loader_index)
        for evaluator in self._truncations.values():
            evaluator.note_loader(name, loader_index)

    def add_corpus(self, name: str, embedding: Tensor, index: Tensor) -> None:
        """Keep an encoded corpus batch, in full and truncated."""
        super().add_corpus(name, embedding, index)
        for width, evaluator in self._truncations.items():
            evaluator.add_corpus(name, self._cut(embedding, width), index)

    def add_queries(self, name: str, embedding: Tensor, **about: Any) -> None:
        """Keep an encoded query batch, in full and truncated.

        Queries with ranked keys are not truncated here, because :meth:`add_reranked` ranks the keys
        by truncated embeddings.
        """
        super().add_queries(name, embedding, **about)
        if about.get("ranked") is None:
            for width, evaluator in self._truncations.items():
                evaluator.add_queries(name, self._cut(embedding, width), **about)

    def add_reranked(
        self, name: str, embedding: Tensor, keys: Tensor, key_index: Tensor, **about: Any
    ) -> None:
        """Rerank the keys of an encoded query batch, by full and by truncated embeddings."""
        super().add_reranked(name, embedding, keys, key_index, **about)
        for width, evaluator in self._truncations.items():
            cut_keys = self._cut(keys, width)
            evaluator.add_reranked(name, self._cut(embedding, width), cut_keys, key_index, **about)

    def measure(self, run: EvalRun, warn: Callable[[str], None]) -> Evaluation:
        """Search, and return the metrics of all widths. All ranks must call this."""
        measured = super().measure(run, warn)
        for width, evaluator in self._truncations.items():
            for name, metrics in evaluator.measure(run, warn).metrics.items():
                named = {f"dim_{width}/{metric}": value for metric, value in metrics.items()}
                measured.metrics[name] |= named
        return measured

    def _cut(self, embedding: Tensor, width: int) -> Tensor:
        return truncated(embedding, width, normalize=self._normalize)
