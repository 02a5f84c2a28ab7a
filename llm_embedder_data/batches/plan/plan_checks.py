"""Checks of the arguments of an epoch plan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llm_embedder_data.config.recipe_rules import LARGEST_BATCH
from llm_embedder_data.core.errors import ConfigError, did_you_mean
from llm_embedder_data.core.printable import one_line

_MOST_ROWS = 2**62  # row numbers are int64, and sums of a row number and a batch fit, too


class PlanError(ConfigError):
    """The data can be read, but no plan can be made of it with these settings."""


class TooSmallError(PlanError):
    """A dataset is smaller than a global batch, or all datasets were dropped for that reason."""


def whole_number(value: object, what: str, least: int, most: int | None = None) -> int:
    """Return a value that has to be a whole number; NumPy's are such, booleans are not.

    Args:
        value: the value.
        what: the name of what it is, for the message.
        least: the smallest number that is allowed.
        most: the largest; None for any.

    Raises:
        ConfigError: it is no whole number, too small, or too large.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        number = int(value)
        if number >= least and (most is None or number <= most):
            return number
    allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ConfigError(f"{what}={value!r}: expected a whole number {allowed}")


def count_of_ranks(num_replicas: object) -> int:
    """Return a number of ranks.

    Raises:
        ConfigError: it is no whole number of at least 1.
    """
    return whole_number(num_replicas, "num_replicas", 1, LARGEST_BATCH)


def rows_of_each(sizes: object) -> dict[str, int]:
    """Return the rows of each dataset.

    Raises:
        ConfigError: it is no mapping of names to whole numbers, or rows do not fit 64-bit numbers.
    """
    if not isinstance(sizes, Mapping):
        raise ConfigError(f"sizes={sizes!r}: expected the rows of each dataset, by its name")
    found = {name: whole_number(rows, f"sizes[{name!r}]", 0) for name, rows in sizes.items()}
    for name, rows in found.items():
        if rows > _MOST_ROWS:
            raise ConfigError(f"sizes[{name!r}]={rows}: a dataset has at most {_MOST_ROWS:,} rows")
    return found


def check_names(setting: str, given: Mapping[str, object], sizes: Mapping[str, int]) -> None:
    """Check that every dataset that a setting names exists.

    Raises:
        ConfigError: a dataset does not exist.
    """
    for name in given:
        if name not in sizes:
            raise ConfigError(
                f"{setting} names dataset {name!r}, expected one of "
                f"{', '.join(map(one_line, sizes))}{did_you_mean(name, sizes)}"
            )


def batch_size_of_each(
    batch_size: int | Mapping[str, int], sizes: Mapping[str, int]
) -> dict[str, int]:
    """Return the batch size of each dataset, given one number or one per dataset.

    Raises:
        ConfigError: a dataset has no batch size, or one that is not a whole number of at least 1;
            or ``batch_size`` names an unknown dataset.
    """
    if not isinstance(batch_size, Mapping):
        return dict.fromkeys(sizes, whole_number(batch_size, "batch_size", 1, LARGEST_BATCH))
    check_names("batch_size", batch_size, sizes)
    if missing := [name for name in sizes if name not in batch_size]:
        raise ConfigError(
            f"batch_size has no value for dataset {missing[0]!r} (give one for each dataset)"
        )
    return {
        name: whole_number(batch_size[name], f"batch_size[{name!r}]", 1, LARGEST_BATCH)
        for name in sizes
    }


def weight_of_each(weights: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Return the weight of each dataset, 1 if none is given.

    Raises:
        ConfigError: a weight is not a number, or ``weights`` names an unknown dataset.
    """
    check_names("weights", weights, sizes)
    for name, weight in weights.items():
        if not isinstance(weight, int | float | np.number) or isinstance(weight, bool):
            raise ConfigError(f"weights[{name!r}]={weight!r}: expected a number above 0")
    return {name: float(weights.get(name, 1.0)) for name in sizes}


def too_small(
    sizes: Mapping[str, int],
    batch_size: Mapping[str, int],
    num_replicas: int,
    small_datasets: str,
) -> dict[str, int]:
    """Return the datasets to drop because they are smaller than a global batch.

    Returns:
        The number of rows of each dropped dataset, by name.

    Raises:
        ConfigError: a global batch has more than :data:`LARGEST_BATCH` rows.
        TooSmallError: a dataset is too small, and ``small_datasets`` is ``error``.
    """
    faults, small = [], {}
    for name, n_rows in sizes.items():
        per_rank = batch_size[name]
        if per_rank * num_replicas > LARGEST_BATCH:
            raise ConfigError(
                f"batch_size={per_rank} of dataset {name!r} on {num_replicas} ranks: a global "
                f"batch has at most {LARGEST_BATCH:,} rows (give a smaller batch size)"
            )
        if n_rows >= per_rank * num_replicas and n_rows > 0:
            continue
        if n_rows > 0 and small_datasets == "repeat":
            continue
        small[name] = n_rows
        faults.append(
            f"dataset {name!r} has {n_rows} rows, fewer than one global batch of "
            f"{per_rank * num_replicas} ({per_rank} per rank x {num_replicas} "
            "ranks)"
        )
    if faults and small_datasets != "drop":
        raise TooSmallError(
            "\n".join(faults)
            + "\n(make data.batch_size smaller, or set data.small_datasets to drop or repeat)"
        )
    return small
