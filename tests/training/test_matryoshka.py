"""Leading dimensions are trained and measured as embeddings of their own."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from training_cases import (
    Batches,
    corpus_batch,
    query_batch,
    quiet_trainer,
    rerank_batch,
    tiny_bert,
    training_batch,
)

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.training.bi_encoder import BiEncoder
from llm_embedder_data.training.matryoshka import truncated


class Cut(BiEncoder):
    """A model whose embeddings have fewer dimensions."""

    def __init__(self, width, **settings):
        super().__init__(tiny_bert(), **settings)
        self.width, self._dimensions = width, [(width, 1.0)]

    def _encode_call(self, call):
        embedding = super()._encode_call(call)
        return truncated(embedding, self.width, normalize=self.similarity == "cos")


def loss_of_width(width, similarity, batch, **settings):
    model = BiEncoder(tiny_bert(), temperature=0.5, similarity=similarity)
    query, key = (model.encode(batch[side])[:, :width] for side in ("query", "key"))
    if similarity == "cos":
        query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
    scores = query @ key.T / (0.5 if similarity == "cos" else 1)
    excluded = (batch["positive_id"][:, :, None] == batch["key_id"]).any(1)
    excluded |= batch["key_mask"].flatten() == 0
    target = torch.arange(4) * 3
    excluded[torch.arange(4), target] = False
    return F.cross_entropy(scores.masked_fill(excluded, -torch.inf), target)


@pytest.mark.parametrize("similarity", ["cos", "dot"])
@pytest.mark.parametrize(
    ("dims", "weights", "shares"),
    [
        ((4, 8), None, {4: 1 / 3, 8: 1 / 3, 16: 1 / 3}),
        ((16, 4), (1, 3), {16: 1 / 4, 4: 3 / 4}),
        ((4,), (0.0,), {16: 1.0}),
    ],
)
def test_the_loss_is_the_weighted_mean_over_the_dimensions(similarity, dims, weights, shares):
    batch = training_batch()
    model = BiEncoder(
        tiny_bert(),
        temperature=0.5,
        similarity=similarity,
        matryoshka_dims=dims,
        matryoshka_weights=weights,
    )

    expected = sum(share * loss_of_width(w, similarity, batch) for w, share in shares.items())
    assert_close(model.loss(batch), expected)


EVALUATION = [
    [query_batch("trivia", [3, 0, 9, 12])],
    [query_batch("news", [2, 33, 11])],
    [rerank_batch("tools", [5, 6, 7])],
    [corpus_batch("wiki", [*range(40)])],
]


def metrics_of(model):
    trainer = quiet_trainer()
    trainer.validate(model, datamodule=Batches(evaluate=EVALUATION), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("similarity", ["cos", "dot"])
def test_the_metrics_of_each_width_are_those_of_a_model_with_these_dimensions(similarity):
    settings = {"similarity": similarity, "cutoffs": (1, 3)}
    found = metrics_of(BiEncoder(tiny_bert(), matryoshka_dims=(4, 2), **settings))

    full = metrics_of(BiEncoder(tiny_bert(), **settings))
    assert {name: value for name, value in found.items() if "dim_" not in name} == full
    assert len(found) == 3 * len(full)
    for width in (4, 2):
        for name, value in metrics_of(Cut(width, **settings)).items():
            prefix, _, metric = name.rpartition("/")
            assert found[f"{prefix}/dim_{width}/{metric}"] == value
    assert found["val/trivia/dim_2/mrr@3"] != found["val/trivia/mrr@3"]
    assert "val/dim_4/mrr@3" in found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"matryoshka_dims": (32,)}, r"model\.matryoshka_dims=\[32\]: .* from 1 to 16"),
        ({"matryoshka_dims": (4, 4)}, r"model\.matryoshka_dims=\[4, 4\]: .*different integers"),
        ({"matryoshka_dims": ()}, r"model\.matryoshka_dims=\[\]: expected one or more"),
        (
            {"matryoshka_dims": (4, 8), "matryoshka_weights": (1.0,)},
            r"model\.matryoshka_weights=\[1\.0\]: expected 2 numbers",
        ),
        (
            {"matryoshka_dims": (4,), "matryoshka_weights": (-1.0,)},
            r"model\.matryoshka_weights=\[-1\.0\]: expected 1 numbers of at least 0",
        ),
        ({"matryoshka_weights": (1.0,)}, r"model\.matryoshka_weights=\[1\.0\]: there is nothing"),
    ],
)
def test_wrong_dimensions_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        BiEncoder(tiny_bert(), **settings)
