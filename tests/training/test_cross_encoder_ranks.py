"""A cross-encoder on two real processes trains and measures exactly what one does."""

import lightning
import pytest
import torch
from processes import returned, run_on_ranks
from test_cross_encoder import RECIPE, pair_batch, tiny_classifier
from torch.testing import assert_close
from training_cases import Batches, quiet_trainer, rerank_batch, share, texts

from llm_embedder_data import CrossEncoder

pytestmark = pytest.mark.ranks

STEPS = [pair_batch(task, seed) for seed, task in enumerate(["contrast", "alone", "stable", "kl"])]


def eval_batch(rows):
    """The rows of the rerank batch as pairs; every row has the same pairs in any batch."""
    batch = rerank_batch("tools", rows)
    whole = texts(160, 77, length=9)
    of_rows = torch.cat([torch.arange(4 * row, 4 * row + 4) for row in rows])
    pairs = {name: values[of_rows] for name, values in whole.items()}
    others = {name: value for name, value in batch.items() if name not in ("query", "key")}
    return {"cross": pairs, "batch_size": len(rows), **others}


EVALUATION = [
    [[eval_batch([5, 6, 0, 17]), eval_batch([9])]],
    [[eval_batch([4]), eval_batch([1, 2, 30, 31, 8])]],
]


class Gradients(lightning.Callback):
    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append({name: one.grad.clone() for name, one in pl_module.named_parameters()})


def run(rank, n_ranks):
    # A learning rate of 0: each step's gradient is taken at the same weights.
    model = CrossEncoder(tiny_classifier(), recipe=RECIPE, learning_rate=0.0, schedule="constant")
    steps = [share(batch, rank, n_ranks) for batch in STEPS]
    evaluation = EVALUATION[rank] if n_ranks > 1 else [EVALUATION[0][0] + EVALUATION[1][0]]
    ranks = {"devices": n_ranks, "strategy": "ddp"} if n_ranks > 1 else {}
    gradients = Gradients()
    trainer = quiet_trainer(max_epochs=1, callbacks=gradients, **ranks)
    trainer.fit(model, datamodule=Batches(steps, evaluation))
    metrics = {
        name: value.item()
        for name, value in trainer.callback_metrics.items()
        if name.startswith("val/")
    }
    return gradients.seen, metrics


def test_two_ranks_train_and_measure_as_one_does(tmp_path):
    alone, metrics = run(0, 1)
    results = returned(run_on_ranks(run, 2, tmp_path, 2))

    assert metrics["val/tools/mrr@10"] not in (0, 1)
    for gradients, of_rank in results:
        assert of_rank == metrics  # to the last bit
        assert len(gradients) == len(STEPS)
        for found, expected in zip(gradients, alone, strict=True):
            assert_close(found, expected, atol=1e-6, rtol=1e-4)
