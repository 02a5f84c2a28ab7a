"""LLM-Embedder's names and signatures, so that its users only have to change an import line.

``from llm_embedder_data.compat import RetrievalDataset, SameDatasetTrainDataset,
RetrievalDataCollator, TASK_CONFIG`` replaces ``from src.retrieval.data import ...`` of
FlagEmbedding, research/llm_embedder. With the strategies that choose keys without random numbers,
batches equal those of the original, token for token.
"""

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.compat.retrieval_dataset import RetrievalDataset
from llm_embedder_data.compat.same_dataset import SameDatasetTrainDataset
from llm_embedder_data.compat.task_config import TASK_CONFIG

__all__ = ["TASK_CONFIG", "RetrievalDataCollator", "RetrievalDataset", "SameDatasetTrainDataset"]
