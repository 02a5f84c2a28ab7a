"""Two real processes train and measure exactly what one does."""

import lightning
import pytest
import torch
from processes import returned, run_on_ranks
from torch.testing import assert_close
from training_cases import (
    Batches,
    corpus_batch,
    query_batch,
    quiet_trainer,
    rerank_batch,
    share,
    tiny_bert,
    training_batch,
)

from llm_embedder_data.training.bi_encoder import BiEncoder

pytestmark = pytest.mark.ranks

RECIPE = {
    "instruction": {"*": {}},
    "model": {"contrastive_weight": 0.2},
    "training": {
        "contrast": {"distill_weight": 0},
        "kl": {"teacher_temperature": 0.5},
        "kl alone": {"contrastive_weight": 0},
        "stable": {"stable_distill": True},
    },
}
# Each step's whole batch, 4 queries; of a rank's 2, rank 1 has one without teacher scores.
STEPS = [
    training_batch("contrast", seed=1),
    training_batch("kl", seed=2),
    training_batch("kl alone", seed=3),
    training_batch("stable", seed=4),
    training_batch("contrast", seed=5, in_batch_negatives=False),
    training_batch("stable", seed=6, in_batch_negatives=False),
]
# Ranks have different numbers of batches, of a loader even none.
EVALUATION = [
    [  # rank 0
        [query_batch("trivia", [3, 0, 9]), query_batch("trivia", [12])],
        [],
        [rerank_batch("tools", [5, 6])],
        [query_batch("chat", [1], corpus=None)],
        [corpus_batch("wiki", [*range(10)]), corpus_batch("wiki", [*range(30, 36)])],
    ],
    [  # rank 1
        [query_batch("trivia", [20], positives=[[-1]])],
        [query_batch("news", [2, 33]), query_batch("news", [11])],
        [rerank_batch("tools", [4]), rerank_batch("tools", [1, 2])],
        [],
        [corpus_batch("wiki", [*range(25, 9, -1)])],
    ],
]
ALONE = [[*first, *second] for first, second in zip(*EVALUATION, strict=True)]


class Recorder(lightning.Callback):
    """Keeps each step's gradients, as the optimizer gets them, and what the sanity check logged."""

    def __init__(self):
        self.gradients, self.after_sanity_check = [], None

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        named = pl_module.named_parameters()
        self.gradients.append({name: one.grad.clone() for name, one in named})

    def on_sanity_check_end(self, trainer, pl_module):
        self.after_sanity_check = sorted(trainer.callback_metrics)


def model(**settings):
    # A learning rate of 0: each step's gradient is taken at the same weights.
    return BiEncoder(
        tiny_bert(),
        temperature=0.05,
        recipe=RECIPE,
        learning_rate=0.0,
        cutoffs=(1, 3, 10),
        **settings,
    )


def train_and_evaluate(steps, evaluation, **trainer_settings):
    recorder, data = Recorder(), Batches(steps, evaluation)
    settings = {"max_epochs": 1, "num_sanity_val_steps": 1, "callbacks": recorder}
    trainer = quiet_trainer(**settings, **trainer_settings)
    trainer.fit(one := model(), datamodule=data)
    val = {name: float(value) for name, value in trainer.callback_metrics.items()}
    trainer.test(one, datamodule=data, verbose=False)
    test = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {
        "gradients": recorder.gradients,
        "after_sanity_check": recorder.after_sanity_check,
        "val": {name: value for name, value in val.items() if name.startswith("val/")},
        "test": {name: value for name, value in test.items() if name.startswith("test/")},
    }


def on_rank(rank):
    steps = [share(step, rank, 2) for step in STEPS]
    return train_and_evaluate(steps, EVALUATION[rank], devices=2, strategy="ddp")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return returned(run_on_ranks(on_rank, 2, tmp_path_factory.mktemp("ranks")))


@pytest.fixture(scope="module")
def alone():
    return train_and_evaluate(STEPS, ALONE)


@pytest.mark.parametrize("step", range(len(STEPS)), ids=lambda step: STEPS[step]["task"])
def test_two_ranks_have_the_gradient_of_the_whole_batch(ranks, step):
    one = model()
    one.loss(STEPS[step]).backward()
    expected = {name: parameter.grad for name, parameter in one.named_parameters()}

    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 1e-2
    for rank in ranks:
        assert_close(rank["gradients"][step], expected, atol=1e-5, rtol=1e-5)


def test_metrics_are_the_same_on_both_ranks_and_alone(ranks, alone):
    for stage in ("val", "test"):
        assert ranks[0][stage] == alone[stage]
        assert ranks[1][stage] == alone[stage]


def test_every_eval_set_that_can_be_measured_is_and_the_mean_is_over_those(alone):
    names = {name.rsplit("/", 1)[0] for name in alone["val"]}
    values = [alone["val"][f"val/{name}/mrr@10"] for name in ("trivia", "news", "tools")]

    assert names == {"val", "val/trivia", "val/news", "val/tools"}  # chat has no corpus
    assert alone["val"]["val/mrr@10"] == pytest.approx(sum(values) / 3)
    assert 0 < values[0] < 1


def test_metrics_are_those_of_every_query_against_every_corpus_row(alone):
    encoder = model().eval()
    corpus = [
        corpus_batch("wiki", [row])
        for row in range(40)
        if row not in (*range(26, 30), *range(36, 40))
    ]
    reciprocal_ranks = []
    with torch.no_grad():
        encoded = {int(one["index"]): encoder.encode(one["content"])[0] for one in corpus}
        for row in (3, 0, 9, 12):  # the fifth has no positive
            query = encoder.encode(query_batch("trivia", [row])["query"])[0]
            order = sorted(encoded, key=lambda index: -float(query @ encoded[index]))
            positive_ranks = [order.index(i) for i in {row, row * 7 % 40} if i in encoded]
            first = min(positive_ranks)
            reciprocal_ranks.append(1 / (1 + first) if first < 10 else 0.0)

    assert alone["val"]["val/trivia/mrr@10"] == pytest.approx(sum(reciprocal_ranks) / 4)


def test_reranking_orders_the_keys_of_each_query_and_no_padding(alone):
    encoder, reciprocal_ranks = model().eval(), []
    for batch in (one for loader in ALONE for one in loader if "key" in one):
        with torch.no_grad():
            query, key = encoder.encode(batch["query"]), encoder.encode(batch["key"])
        for i, positives in enumerate(batch["pos_index"].tolist()):
            scores = query[i] @ key[4 * i : 4 * i + 4].T
            order = sorted(range(4), key=lambda g, scores=scores: -float(scores[g]))
            real = [int(batch["key_index"][i, g]) for g in order if batch["key_mask"][i, g]]
            hits = [place for place, index in enumerate(real) if index in positives]
            reciprocal_ranks.append(1 / (1 + hits[0]) if hits else 0.0)

    assert 0.0 in reciprocal_ranks
    assert alone["val"]["val/tools/mrr@10"] == pytest.approx(sum(reciprocal_ranks) / 5)


def test_the_sanity_check_logs_no_metric(ranks, alone):
    for run in (*ranks, alone):
        assert run["after_sanity_check"] == []
