"""Limits on hard negatives: their names, and values that may change over the epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from llm_embedder_data.config.recipe_rules import Rule, is_finite_number

# A number, or a mapping from the epoch at which a number comes into force to that number. In a
# mapping, None means no limit.
Limit: TypeAlias = float | Mapping[int, float | None]

# A limit on ranks. LightningCLI converts values to the annotated type: 2 would become 2.0.
RankLimit: TypeAlias = int | Mapping[int, int | None]

RANK_LIMITS = ("range_min", "range_max")
SCORE_LIMITS = ("min_score", "max_score", "absolute_margin", "relative_margin")
LIMITS = (*RANK_LIMITS, *SCORE_LIMITS)


def limit_at(limit: Limit | None, epoch: int) -> float | None:
    """Return the value that a limit has in an epoch.

    >>> limit_at({0: 0.1, 3: 0.02}, 2)
    0.1

    Before the first epoch of a mapping there is no limit.
    """
    if not isinstance(limit, Mapping):
        return limit
    begun = [first for first in limit if first <= epoch]
    return limit[max(begun)] if begun else None


def normal_limit(limit: Limit | None) -> Limit | None:
    """Return a limit in its shortest equivalent form: a number if it never changes.

    >>> normal_limit({0: 0.1, 2: 0.1, 5: 0.02})
    {0: 0.1, 5: 0.02}
    >>> normal_limit({0: 0.1})
    0.1
    """
    if not isinstance(limit, Mapping):
        return limit
    changes: dict[int, float | None] = {}
    for first in sorted({0, *limit}):
        value = limit_at(limit, first)
        if not changes or value != list(changes.values())[-1]:
            changes[first] = value
    return changes if len(changes) > 1 else changes[0]


def _limit_rule(is_value: Callable[[Any], bool], value: str) -> Rule:
    def is_limit(limit: Any) -> bool:
        if not isinstance(limit, Mapping):
            return is_value(limit)
        return bool(limit) and all(
            type(first) is int and first >= 0 and (number is None or is_value(number))
            for first, number in limit.items()
        )

    by_epoch = "such numbers by the epoch from which they hold ({0: ..., 3: ...})"
    return is_limit, f"{value}, or {by_epoch}"


_RANK = _limit_rule(lambda value: type(value) is int and value >= 0, "a whole number of at least 0")
_SCORE = _limit_rule(is_finite_number, "a finite number")
LIMIT_RULES: dict[str, Rule] = {
    **dict.fromkeys(RANK_LIMITS, _RANK),
    **dict.fromkeys(SCORE_LIMITS, _SCORE),
}
