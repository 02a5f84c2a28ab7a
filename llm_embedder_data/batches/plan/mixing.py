"""Mixing: how many steps of an epoch each dataset gets, by a power of its rows or by target shares.

Powers come from multilingual training, where a dataset of n rows is drawn in proportion to
``n ** alpha`` (XLM-R, arXiv:1911.02116, section 3.1) or, which is the same,
``n ** (1 / temperature)`` (mT5, arXiv:2010.11934, section 3.2). Here nothing is drawn at random:
each dataset gets its share of the steps of an epoch exactly, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.batches.plan.plan_checks import check_names
from llm_embedder_data.config.recipe_rules import is_finite_number
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.shown_values import shown

_EXPECTED = (
    "expected null or a mapping with one of alpha (from 0, all datasets equally often, to 1, in "
    "proportion to their rows), temperature (1 / alpha, at least 1) and shares ({dataset: share of "
    "the steps}, each above 0 and no less than a millionth of their sum)"
)
# The smallest share. An epoch is made long enough for each dataset to get a step, so a tiny share
# would make it endless.
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Mixing:
    """The share of an epoch's steps that each dataset gets.

    Attributes:
        alpha: shares are in proportion to ``rows ** alpha``; None if ``shares`` is given.
        shares: the share of each dataset, in any unit; empty if ``alpha`` is given.
    """

    alpha: float | None
    shares: Mapping[str, float]

    @classmethod
    def of(cls, setting: Any) -> Mixing | None:
        """Return the mixing that ``data.mixing`` asks for; None if the setting is null.

        Raises:
            ConfigError: the setting has an invalid value; the message says what is allowed.
        """
        if setting is None:
            return None
        if isinstance(setting, Mapping) and len(setting) == 1:
            [(name, value)] = setting.items()
            if name == "alpha" and is_finite_number(value) and 0 <= value <= 1:
                return cls(float(value), {})
            if name == "temperature" and is_finite_number(value) and value >= 1:
                return cls(1 / value, {})
            if name == "shares" and isinstance(value, Mapping) and _are_shares(value.values()):
                return cls(None, {str(key): float(share) for key, share in value.items()})
        raise ConfigError(f"data.mixing={shown(setting)}: {_EXPECTED}")

    def as_dict(self) -> dict[str, Any]:
        """Return the mixing for a checkpoint; equivalent settings give equal values."""
        if self.alpha is not None:
            return {"alpha": self.alpha}
        total = sum(self.shares.values())
        return {"shares": {name: self.shares[name] / total for name in sorted(self.shares)}}

    def __str__(self) -> str:
        return "shares" if self.alpha is None else f"alpha={self.alpha:g}"

    def among(self, datasets: Iterable[str]) -> Mixing:
        """Return the mixing for some of the datasets; their shares keep their proportions."""
        return Mixing(self.alpha, {name: self.shares[name] for name in datasets if self.shares})

    def check(self, datasets: Mapping[str, float]) -> None:
        """Check that the mixing fits the datasets.

        Args:
            datasets: the weight of each dataset, by name.

        Raises:
            ConfigError: a dataset has a weight as well, a share names an unknown dataset, or a
                dataset has no share.
        """
        for name, weight in datasets.items():
            if weight != 1:
                raise ConfigError(
                    f"dataset {name!r} has weight={weight:g}, but data.mixing also says how often "
                    "each dataset comes (give one of the two)"
                )
        if self.alpha is None:
            check_names("data.mixing.shares", self.shares, dict.fromkeys(datasets, 0))
            if missing := [name for name in datasets if name not in self.shares]:
                raise ConfigError(
                    "data.mixing.shares has no share for "
                    f"{', '.join(map(one_line, missing))} (give each dataset a share above 0, or "
                    "take it out of data.train_data)"
                )

    def target_shares(self, sizes: Mapping[str, int]) -> NDArray[np.float64]:
        """Return the target share of each dataset, ``[datasets]`` float64, with sum 1.

        Args:
            sizes: number of rows of each dataset, at least 1.
        """
        if self.alpha is None:
            parts = np.array([self.shares[name] for name in sizes], np.float64)
        else:
            parts = np.array(list(sizes.values()), np.float64) ** self.alpha
        shares: NDArray[np.float64] = parts / parts.sum()
        return shares

    def steps(self, sizes: Mapping[str, int], per_pass: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of steps per epoch of each dataset, ``[datasets]`` int64.

        An epoch has as many steps as one pass over every dataset together, or more if a dataset
        would otherwise get no step. The steps are divided by share; the method of largest
        remainders rounds the numbers so that they add up.

        Args:
            sizes: number of rows of each dataset.
            per_pass: ``[datasets]`` int64, the number of global batches in a pass.
        """
        shares = self.target_shares(sizes)
        n_steps = max(int(per_pass.sum()), math.ceil(1 / shares.min() - 1e-9))
        quotas = shares * n_steps
        steps: NDArray[np.int64] = np.floor(quotas + 1e-9).astype(np.int64)
        n_more = n_steps - int(steps.sum())
        steps[np.argsort(steps - quotas, kind="stable")[:n_more]] += 1
        return steps


def _are_shares(values: Collection[Any]) -> bool:
    if not values or not all(is_finite_number(share) and share > 0 for share in values):
        return False
    return bool(min(values) >= _LEAST * sum(values))
