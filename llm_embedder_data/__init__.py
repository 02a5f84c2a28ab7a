"""The data path of retrieval-embedding training, as a PyTorch Lightning DataModule."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_embedder_data.batches.collator import RetrievalDataCollator
    from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
    from llm_embedder_data.compat import TASK_CONFIG, RetrievalDataset, SameDatasetTrainDataset
    from llm_embedder_data.core.errors import ConfigError, DataError
    from llm_embedder_data.datamodule.module import RetrievalDataModule
    from llm_embedder_data.rows.read_rows import read_rows
    from llm_embedder_data.training.bi_encoder import BiEncoder
    from llm_embedder_data.training.cross_encoder import CrossEncoder
    from llm_embedder_data.training.evaluate import evaluate

__all__ = [
    "TASK_CONFIG",
    "BiEncoder",
    "ConfigError",
    "CrossEncoder",
    "DataError",
    "EpochPlan",
    "RetrievalDataCollator",
    "RetrievalDataModule",
    "RetrievalDataset",
    "SameDatasetTrainDataset",
    "evaluate",
    "read_rows",
]

# The module of each public name. It is imported with the first use of the name: torch, Lightning
# and transformers take seconds, and neither `--help` nor a worker of another library needs them.
_MODULES = {
    "TASK_CONFIG": "compat",
    "BiEncoder": "training.bi_encoder",
    "ConfigError": "core.errors",
    "CrossEncoder": "training.cross_encoder",
    "DataError": "core.errors",
    "EpochPlan": "batches.plan.epoch_plan",
    "RetrievalDataCollator": "batches.collator",
    "RetrievalDataModule": "datamodule.module",
    "RetrievalDataset": "compat",
    "SameDatasetTrainDataset": "compat",
    "evaluate": "training.evaluate",
    "read_rows": "rows.read_rows",
}

if not TYPE_CHECKING:  # a type checker is to refuse names that are not there

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
