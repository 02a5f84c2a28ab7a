"""Checks of the arguments of an epoch plan."""

from __future__ import annotations

from collections.abc import Mapping

from llm_embedder_data.core.errors import ConfigError, did_you_mean
from llm_embedder_data.core.printable import one_line


class TooSmallError(ConfigError):
    """A dataset is smaller than a global batch, or all datasets were dropped for that reason."""


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
        ConfigError: a dataset has no batch size, or ``batch_size`` names an unknown dataset.
    """
    if isinstance(batch_size, int):
        return dict.fromkeys(sizes, batch_size)
    check_names("batch_size", batch_size, sizes)
    if missing := [name for name in sizes if name not in batch_size]:
        raise ConfigError(
            f"batch_size has no value for dataset {missing[0]!r} (give one for each dataset)"
        )
    return {name: batch_size[name] for name in sizes}


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
        ConfigError: a batch size is below 1.
        TooSmallError: a dataset is too small, and ``small_datasets`` is ``error``.
    """
    faults, small = [], {}
    for name, n_rows in sizes.items():
        per_rank = batch_size[name]
        if per_rank < 1:
            raise ConfigError(f"batch_size={per_rank} of dataset {name!r}: expected at least 1")
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
