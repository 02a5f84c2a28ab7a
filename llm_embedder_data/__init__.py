"""The data path of retrieval-embedding training, as a PyTorch Lightning DataModule."""

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.plan import EpochPlan
from llm_embedder_data.compat import TASK_CONFIG, RetrievalDataset, SameDatasetTrainDataset
from llm_embedder_data.config import ConfigError
from llm_embedder_data.datamodule import RetrievalDataModule
from llm_embedder_data.rows.schema import DataError
from llm_embedder_data.training.bi_encoder import BiEncoder

__all__ = [
    "TASK_CONFIG",
    "BiEncoder",
    "ConfigError",
    "DataError",
    "EpochPlan",
    "RetrievalDataCollator",
    "RetrievalDataModule",
    "RetrievalDataset",
    "SameDatasetTrainDataset",
]
