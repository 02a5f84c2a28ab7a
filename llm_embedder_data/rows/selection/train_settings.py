"""The settings by which the training rows of a task are filtered and their keys are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from llm_embedder_data.config.negative_limits import SCORE_LIMITS, Limit
from llm_embedder_data.config.recipes import NegativeStrategy, NormalizeScores, PositiveStrategy

OnNoNegatives = Literal["drop", "keep"]

# The default strategy: the first labelled positive; in a row without labelled positives, the
# candidate with the highest teacher score.
FIRST_ELSE_TEACHER: Literal["first-else-teacher"] = "first-else-teacher"

# Fields of TrainSettings that are not settings themselves.
_NOT_SETTINGS = ("limits", "asked")

PositiveInForce = PositiveStrategy | Literal["first-else-teacher"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """The settings for the rows of a task, with the names of the data module's arguments.

    Attributes:
        limits: limits on hard negatives, by the names of :class:`NegativePolicy`, without those
            that are None.
        asked: the names of the settings that the user gave; the others come from the recipe or are
            defaults. If the data has no teacher scores, a setting that needs scores is an error if
            the user gave it, and is dropped otherwise.
    """

    select_positive: PositiveInForce = "first"
    select_negative: NegativeStrategy = "random"
    teacher_scores_min: float | None = None
    teacher_scores_margin: float | None = None
    max_sample_num: int | None = None
    stable_distill: bool = False
    limits: Mapping[str, Limit] = field(default_factory=dict)
    normalize_scores: NormalizeScores | None = None
    asked: frozenset[str] = frozenset()

    def by_name(self) -> dict[str, Any]:
        """Return all settings, including the limits, by name."""
        names = [setting.name for setting in fields(self) if setting.name not in _NOT_SETTINGS]
        return {name: getattr(self, name) for name in names} | dict(self.limits)

    def needing_scores(self) -> dict[str, Any]:
        """Return the settings that have no meaning without teacher scores, by name."""
        needing: dict[str, Any] = {}
        if self.select_positive in ("teacher", "teacher-pos"):
            needing["select_positive"] = self.select_positive
        if self.select_negative in ("teacher+", "teacher-"):
            needing["select_negative"] = self.select_negative
        if self.stable_distill:
            needing["stable_distill"] = True
        return needing | {n: limit for n, limit in self.limits.items() if n in SCORE_LIMITS}
