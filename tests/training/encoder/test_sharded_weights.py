"""Weights sharded over two ranks (torch's fully_shard) get the gradients of one process."""

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from processes import returned, run_on_ranks
from test_grad_cache import Recorder
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close
from training_cases import Batches, quiet_trainer, share, tiny_bert, training_batch

from llm_embedder_data.training.bi_encoder import BiEncoder

pytestmark = pytest.mark.ranks
STEP = training_batch("both", seed=1)


class Sharded(BiEncoder):
    """A model whose layers are sharded, as docs/training.md shows it."""

    def configure_model(self):
        mesh = self.device_mesh["data_parallel"]
        for layer in self.encoder.encoder.layer:
            fully_shard(layer, mesh=mesh)
        fully_shard(self.encoder, mesh=mesh)


class WholeGradients(Recorder):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        named = pl_module.named_parameters()
        self.gradients.append({name: one.grad.full_tensor() for name, one in named})


def fit(rank, **settings):
    model = Sharded(tiny_bert(), temperature=0.5, learning_rate=0.01, **settings)
    strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    trainer = quiet_trainer(
        devices=2, strategy=strategy, max_epochs=1, callbacks=(recorder := WholeGradients())
    )
    trainer.fit(model, datamodule=Batches([share(STEP, rank, 2)]))
    return recorder.gradients


def plainly(rank):
    return fit(rank)


def in_mini_batches(rank):
    return fit(rank, mini_batch_size=2)


def test_gradients_are_those_of_the_whole_batch(tmp_path):
    model = BiEncoder(tiny_bert(), temperature=0.5)
    model.loss(STEP).backward()
    expected = {name: one.grad for name, one in model.named_parameters()}

    for (found,) in returned(run_on_ranks(plainly, 2, tmp_path)):
        assert set(found) == set(expected)
        for name, one in expected.items():
            assert_close(torch.as_tensor(found[name]), one, atol=1e-5, rtol=1e-4)


def test_mini_batches_are_refused(tmp_path):
    for failure in run_on_ranks(in_mini_batches, 2, tmp_path):
        assert failure.kind == "ConfigError"
        assert "model.mini_batch_size: no weight of the encoder got a gradient" in failure
