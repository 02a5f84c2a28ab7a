"""The negative policy of each epoch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from llm_embedder_data.config.negative_limits import RANK_LIMITS, Limit, limit_at
from llm_embedder_data.rows.selection.negative_policy import NegativePolicy


@dataclass(frozen=True, slots=True)
class PolicySchedule:
    """Negative policies; each applies from an epoch on, until the next policy begins.

    Attributes:
        first_epochs: the first epoch of each policy, ascending, beginning with 0.
        policies: the policies; a policy may have no limits.
    """

    first_epochs: tuple[int, ...]
    policies: tuple[NegativePolicy, ...]

    @classmethod
    def of(cls, limits: Mapping[str, Limit]) -> PolicySchedule | None:
        """Return the schedule of some limits; None if no epoch has a limit.

        Args:
            limits: a number or a mapping {epoch: number}, by the name of the limit.

        Raises:
            ConfigError: a limit is not allowed, or limits of an epoch leave no negative.
        """
        first_epochs: list[int] = []
        policies: list[NegativePolicy] = []
        changing = [limit for limit in limits.values() if isinstance(limit, Mapping)]
        for epoch in sorted({0}.union(*changing)):
            policy = _policy_at(limits, epoch)
            if not policies or policy != policies[-1]:
                first_epochs.append(epoch)
                policies.append(policy)
        if all(policy.is_empty for policy in policies):
            return None
        return cls(tuple(first_epochs), tuple(policies))

    def at(self, epoch: int) -> NegativePolicy | None:
        """Return the policy of an epoch; None if the epoch has no limit."""
        policy = self.policies[bisect_right(self.first_epochs, epoch) - 1]
        return None if policy.is_empty else policy


def _policy_at(limits: Mapping[str, Limit], epoch: int) -> NegativePolicy:
    values = {name: limit_at(limit, epoch) for name, limit in limits.items()}
    ranks = {name: int(v) for name, v in values.items() if name in RANK_LIMITS and v is not None}
    return NegativePolicy(**values | ranks)  # type: ignore[arg-type]
