"""``score``: write teacher scores of training rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.cli.ranks_of_trainer import build_trainer, run_on_ranks
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.building import (
    TeacherSettings,
    build_teacher,
    kind_of_teacher,
)
