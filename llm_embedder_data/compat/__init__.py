"""LLM-Embedder's names and signatures, thin over the rooms below: change the import line and go on.

``from llm_embedder_data.compat import RetrievalDataset, SameDatasetTrainDataset,
RetrievalDataCollator, TASK_CONFIG`` takes the place of ``from src.retrieval.data import ...`` of
FlagEmbedding, research/llm_embedder. For the deterministic strategies the batches are the
original's, token for token.
"""

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.compat.retrieval_dataset import RetrievalDataset
from llm_embedder_data.compat.same_dataset import SameDatasetTrainDataset
from llm_embedder_data.compat.task_config import TASK_CONFIG

__all__ = ["TASK_CONFIG", "RetrievalDataCollator", "RetrievalDataset", "SameDatasetTrainDataset"]
