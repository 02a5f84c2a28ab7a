"""How the training rows of a task are filtered, and how their keys are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from llm_embedder_data.config.negative_limits import SCORE_LIMITS, Limit
from llm_embedder_data.config.recipes import NegativeStrategy, NormalizeScores, PositiveStrategy

OnNoNegatives = Literal["drop", "keep"]

# The default strategy: the first labelled positive, or in a row without one the candidate with the
# highest teacher score.
FIRST_ELSE_TEACHER: Literal["first-else-teacher"] = "first-else-teacher"

# Fields that hold several settings, or none.
_NOT_SETTINGS = ("limits", "asked")

PositiveInForce = PositiveStrategy | Literal["first-else-teacher"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """The settings of one task's rows; they have the data module's names.

    Attributes:
        limits: on hard negatives, by the names of :class:`NegativePolicy`; none that is None.
        asked: names of the settings that the user gave. The others come from the recipe or are
            defaults. If the data has no teacher scores, a setting that needs them is an error if
            the user asked for it, and is dropped otherwise.
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
        """Return all settings by name, and those limits that there are."""
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
