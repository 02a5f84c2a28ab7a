"""``fail_on``: how much each check may find before ``prepare`` fails, for CI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.inspection.doctor.results.findings import MEANING, Check, NearCheck


def check_gates(fail_on: Any, near_duplicates: float | None = None) -> dict[str, float]:
    """Check the setting ``fail_on`` and return it as a dict, {} for None.

    Args:
        fail_on: {check: limit}. An integer limits the count, a float below 1 the share of the rows.
        near_duplicates: the setting of this name; None if near-duplicates are not looked for.

    Raises:
        ConfigError: a check does not exist or will not run, or a limit is neither a count nor a
            share.
    """
    if fail_on is None:
        return {}
    if not isinstance(fail_on, Mapping):
        raise ConfigError(f"fail_on={fail_on!r}: expected a mapping such as {{contamination: 0}}")
    for name, limit in fail_on.items():
        check_choice(name, get_args(Check), "fail_on")
        if near_duplicates is None and name in get_args(NearCheck):
            raise ConfigError(
                f"fail_on.{name}: near-duplicates are not looked for (set near_duplicates=0.8)"
            )
        is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
        if not is_number or limit < 0 or (isinstance(limit, float) and not 0 <= limit < 1):
            raise ConfigError(
                f"fail_on.{name}={limit!r}: expected a count (an integer of at least 0) or a share "
                "of the rows (below 1.0)"
            )
    return dict(fail_on)


def exceeded(
    limits: Mapping[str, float], datasets: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, str], str]:
    """Return the limits that datasets exceed, each with a sentence for the user.

    Args:
        limits: result of :func:`check_gates`.
        datasets: the entry ``datasets`` of a :class:`~.diagnosis.Diagnosis`.

    Returns:
        {(dataset, check): sentence}
    """
    found = {}
    for name, entry in datasets.items():
        for check, limit in limits.items():
            finding = entry["checks"].get(check)
            if finding is None:
                continue
            count, n_rows = finding["count"], finding.get("looked_at") or entry["kept"]
            is_share = isinstance(limit, float)
            if (count > limit * n_rows) if is_share else (count > limit):
                allowed = f"{limit:.2%} of the rows" if is_share else f"{limit:g}"
                found[name, check] = (
                    f"{name}: {check}: {count:g} {MEANING[check]}, allowed: "  # type: ignore[index]
                    f"{allowed} (fail_on.{check})"
                )
    return found
