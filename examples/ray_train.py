"""Training on two workers of Ray Train, which starts them again after a failure:

python examples/ray_train.py FOLDER

FOLDER keeps the checkpoints. It must be on a disk that all workers reach.
"""

import sys
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer
from ray.train.torch import TorchTrainer

from llm_embedder_data import BiEncoder, RetrievalDataModule
from llm_embedder_data.demo import demo_encoder


def train(folder: str) -> None:
    """Train on this worker, from the last checkpoint if there is one."""
    last = Path(folder, "last.ckpt")
    trainer = prepare_trainer(
        lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            strategy=RayDDPStrategy(),
            plugins=[RayLightningEnvironment()],
            callbacks=[ModelCheckpoint(folder, every_n_train_steps=2, save_last=True)],
            logger=False,
            enable_progress_bar=False,
        )
    )
    datamodule = RetrievalDataModule(
        tokenizer=demo_encoder(),
        train_data="pkg://llm_embedder_data/sample/qa/train.jsonl",
        max_sample_num=32,  # few rows, so that this takes seconds
        batch_size=2,
        train_group_size=2,
        query_max_length=32,
        key_max_length=32,
    )
    trainer.fit(
        BiEncoder(demo_encoder()),
        datamodule=datamodule,
        ckpt_path=last if last.exists() else None,
    )
    print(f"rank {trainer.global_rank}: {trainer.global_step} steps")


if __name__ == "__main__":
    [folder] = sys.argv[1:]
    TorchTrainer(
        lambda: train(folder),
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(storage_path=folder, failure_config=FailureConfig(max_failures=1)),
    ).fit()
