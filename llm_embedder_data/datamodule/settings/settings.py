"""The data module's arguments as one frozen record, which its parts take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from omegaconf import OmegaConf
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.plan.epoch_plan import OrganizeMethod, Remainder, SmallDatasets
from llm_embedder_data.batches.tokens.model_inputs import Layout
from llm_embedder_data.config.negative_limits import Limit, RankLimit
from llm_embedder_data.config.recipes import NegativeStrategy, NormalizeScores, PositiveStrategy
from llm_embedder_data.rows.schema.evaluation import EvalMethod
from llm_embedder_data.rows.selection.train_settings import OnNoNegatives
from llm_embedder_data.rows.settings.key_templates import DEFAULT_KEY_TEMPLATE
from llm_embedder_data.rows.settings.reading_settings import OnBadRow

Auto = Literal["auto"]
Tokenize = Literal["on-the-fly", "cached"]
OnOtherGlobalBatch = Literal["raise", "continue"]


@dataclass(frozen=True, slots=True)
class DataSettings:
    """The arguments of ``RetrievalDataModule``, with the same defaults; it documents them."""

    tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase
    train_data: Any = None
    eval_data: Any = None
    corpus: Any = None
    data_root: str | os.PathLike[str] | None = None
    recipe: Mapping[str, Any] | str | os.PathLike[str] = "auto"
    default_task: str = "qa"
    add_instruction: bool = True
    use_train_config: bool = True
    train_group_size: int = 8
    select_positive: PositiveStrategy | None = None
    select_negative: NegativeStrategy | None = None
    teacher_scores_min: float | None = None
    teacher_scores_margin: float | None = None
    max_sample_num: int | None = None
    stable_distill: bool | None = None
    range_min: RankLimit | None = None
    range_max: RankLimit | None = None
    min_score: Limit | None = None
    max_score: Limit | None = None
    absolute_margin: Limit | None = None
    relative_margin: Limit | None = None
    normalize_scores: NormalizeScores | None = None
    batch_size: int = 32
    organize_method: OrganizeMethod = "epoch"
    mixing: Mapping[str, Any] | None = None
    remainder: Remainder = "rotate"
    small_datasets: SmallDatasets = "error"
    no_duplicates: bool = False
    length_window: int | None = None
    shuffle_window: int | None = None
    seed: int = 42
    query_max_length: int = 256
    key_max_length: int = 256
    cross: bool = False
    layout: Layout = "padded"
    chunk_size: int = 32
    unique_keys: bool = False
    pad_to_multiple_of: int | None = 8
    tokenize: Tokenize = "on-the-fly"
    key_template: str = DEFAULT_KEY_TEMPLATE
    eval_method: EvalMethod = "retrieve"
    eval_batch_size: int = 256
    eval_corpus_sample: int | None = None
    num_workers: int | Auto = "auto"
    pin_memory: bool | Auto = "auto"
    prefetch_factor: int | Auto = "auto"
    on_bad_row: OnBadRow = "raise"
    on_no_negatives: OnNoNegatives = "drop"
    on_other_global_batch: OnOtherGlobalBatch = "raise"
    cache_dir: str | os.PathLike[str] | None = None
    stream_cache_mib: int = 2048

    def as_dict(self) -> dict[str, Any]:
        """Return the settings by name; the values are not copied."""
        return {setting.name: getattr(self, setting.name) for setting in fields(self)}

    def longest_inputs(self) -> dict[str, tuple[int, int]]:
        """Return (maximum tokens of a text, maximum columns of a padded batch), by setting."""
        lengths = {
            "data.query_max_length": self.query_max_length,
            "data.key_max_length": self.key_max_length,
        }
        if self.cross:
            lengths = {" + ".join(lengths): sum(lengths.values())}
        multiple = self.pad_to_multiple_of
        if multiple is None or self.layout == "packed":
            multiple = 1
        return {name: (length, length + -length % multiple) for name, length in lengths.items()}


DEFAULTS = {setting.name: setting.default for setting in fields(DataSettings)}


def plain(value: Any) -> Any:
    """Convert Hydra's containers to plain Python: torch loads nothing else with weights_only."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
