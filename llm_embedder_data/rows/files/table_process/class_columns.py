"""Names of classes that Hugging Face datasets writes into the metadata of Arrow and Parquet files.

A column of the type ``ClassLabel`` holds integers, and the metadata names the class of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# The key of the metadata that datasets writes.
_KEY = b"huggingface"


def features_in(schema: pa.Schema) -> dict[str, Any]:
    """Return the features of the columns that datasets declares in a schema's metadata.

    {} if there is no such metadata, or if it cannot be read: a table is complete without it.
    """
    try:
        features = json.loads((schema.metadata or {})[_KEY])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def names_in(feature: Any) -> list[str] | None:
    """Return the names of a feature's classes, by number; None if it is no ``ClassLabel``."""
    if not isinstance(feature, Mapping) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list else None


def item_in(feature: Any) -> Any:
    """Return the feature of the items of a list feature; None if it is no list feature."""
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    if isinstance(feature, Mapping) and feature.get("_type") in ("Sequence", "List", "LargeList"):
        return feature.get("feature")
    return None


def class_names_of(array: pa.Array, feature: Any) -> pa.Array:
    """Return a column of class numbers, or of lists of them, as the classes' names.

    A number without a class becomes null. Other columns are returned as they are.

    Args:
        array: a column whose values are valid.
        feature: the column's feature, from :func:`features_in`.
    """
    found = array.type
    if (names := names_in(feature)) is not None and pa.types.is_integer(found):
        has_name = pc.and_(pc.greater_equal(array, 0), pc.less(array, len(names)))
        numbers = pc.if_else(has_name, array, pa.scalar(None, found))
        return pa.array(names, pa.string()).take(numbers)
    if (item := item_in(feature)) is not None and pa.types.is_list(found):
        lengths = pc.list_value_length(array).fill_null(0).cast(pa.int64())
        ends = pc.cumulative_sum(lengths).cast(pa.int32())
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
        values = class_names_of(array.flatten(), item)
        return pa.ListArray.from_arrays(offsets, values, mask=array.is_null())
    return array
