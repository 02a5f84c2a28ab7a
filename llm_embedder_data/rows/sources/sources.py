"""Sources: the datasets that ``train_data``, ``eval_data`` and ``corpus`` name, and their files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm_embedder_data.config.negative_limits import LIMIT_RULES, LIMITS, Limit, normal_limit
from llm_embedder_data.config.recipe_rules import LARGEST_BATCH, check_value
from llm_embedder_data.config.recipes import NormalizeScores
from llm_embedder_data.core.errors import ConfigError, check_choice, did_you_mean
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.records.memory_records import is_data, is_dataset_dict
from llm_embedder_data.rows.schema.canonical_rows import Kind
from llm_embedder_data.rows.settings.field_names import column_names
from llm_embedder_data.rows.sources.data_places import chosen_split
from llm_embedder_data.rows.sources.dataset_names import by_unique_name, names_from_paths
from llm_embedder_data.rows.sources.reader_settings import READER_OPTIONS, check_reader_options
from llm_embedder_data.rows.sources.source_paths import addresses_of, paths_of

# The options that a source may have, besides ``path`` and names of fields.
OPTIONS = (
    "task",
    "task_description",
    "format",
    "weight",
    "batch_size",
    "in_batch_negatives",
    "max_sample_num",
    *LIMITS,
    "normalize_scores",
    "streaming",
    *READER_OPTIONS["train"],
)


# Options that name files of (query id, document id, score), which are joined to the rows.
SIDE_CARS = ("negatives", "scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A dataset and its settings.

    Attributes:
        name: the name of the dataset, unique among the sources of a setting.
        files: absolute paths of files, or of one folder that is a dataset. Row numbers count
            through all files in this order. For data in memory, one name for messages.
        data: rows in memory; None if they are in files.
        task: the task of rows that name none; None for the data module's ``default_task``.
        task_description: replaces the description in an instruct model's prompt, also if it is
            empty; None for the recipe's.
        format: the format of all files: ``auto``, a container, or the name of a format of
            :mod:`llm_embedder_data.rows.formats`.
        fields: the columns in the files by canonical field, for fields whose column has another
            name, such as ``{"query": "question"}``. ``a.b`` is the part ``b`` of column ``a``. The
            values of several columns are joined to a list.
        reader_options: options that only readers of foreign formats need, such as ``corpus`` or
            ``split``.
        weight: passes over the dataset per epoch.
        batch_size: queries per rank and step; None for the data module's.
        in_batch_negatives: whether the keys of other queries are negatives; None: yes, unless the
            file's name says otherwise.
        max_sample_num: maximum number of rows to use; None for the data module's.
        limits: limits on hard negatives, by name, which replace the data module's.
        normalize_scores: how teacher scores are scaled; None for the data module's.
        key_template: how a corpus record becomes the text of a key; None for the data module's.
        streaming: whether parts of the files are fetched when they are needed. ``files`` are
            addresses then.
    """

    name: str
    files: tuple[str, ...]
    data: Any = None
    task: str | None = None
    task_description: str | None = None
    format: str = "auto"
    fields: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    reader_options: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    batch_size: int | None = None
    in_batch_negatives: bool | None = None
    max_sample_num: int | None = None
    limits: Mapping[str, Limit | None] = field(default_factory=dict)
    normalize_scores: NormalizeScores | None = None
    key_template: str | None = None
    streaming: bool = False


def resolve_sources(
    data: Any,
    *,
    setting: str,
    fields: Sequence[str],
    options: Sequence[str] = OPTIONS,
    data_root: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    kind: Kind = "train",
) -> list[Source]:
    """Return the sources that a setting names.

    The setting is one of:

    - a mapping {name: source}. Each name is a dataset with all files of its source, so that a
      dataset may consist of many files: ``{qa: qa/*.jsonl}``.
    - a source, or a list of sources. Without names, each file is a separate dataset:
      ``[qa/train.jsonl, tool/train.jsonl]`` are the datasets ``qa`` and ``tool``. See
      :func:`~llm_embedder_data.rows.sources.dataset_names.names_from_paths` for the names.

    A source is a path (a file, a folder, a glob or an address), a list of paths, data in memory, or
    a mapping with the key ``path``, options and names of fields. A folder that is a dataset as a
    whole, such as BEIR's, is a single dataset. Files keep the order in which the user lists them;
    the files of a glob or folder are sorted. Data in memory is named after the setting.

    Args:
        data: the value of the setting.
        setting: the full name of the setting, for messages.
        fields: the canonical fields that a source may rename.
        options: other options that a source may have.
        data_root: the folder that the prefix ``llm-embedder:`` of a path stands for.
        cache_dir: where fetched files are kept.
        kind: the kind of the rows; it decides which of several splits is read.

    Raises:
        ConfigError: an option is unknown or has a value that is not allowed.
        DataError: a file does not exist, or a glob matches nothing.
    """
    if data is None:
        return []
    roots = _Roots(data_root, cache_dir, kind)
    if isinstance(data, Mapping) and "path" not in data and not is_dataset_dict(data):
        return _named_sources(data, setting, fields, options, roots)
    is_list = isinstance(data, Sequence) and not isinstance(data, str) and not is_data(data)
    entries = data if is_list else [data]
    found: list[tuple[str, dict[str, Any]]] = []
    for number, entry in enumerate(entries):
        where = f"{setting}[{number}]" if is_list else setting
        arguments = _arguments(entry, where, fields, options)
        for place in _places(arguments, where, setting, roots):
            found.append((place.pop("named_after"), arguments | place))
    names = names_from_paths([path for path, _ in found])
    return [
        Source(name=name, **arguments) for name, (_, arguments) in zip(names, found, strict=True)
    ]


# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Roots:
    """The arguments that are needed to resolve the paths of all sources of a setting."""

    data_root: str | os.PathLike[str] | None
    cache_dir: str | os.PathLike[str] | None
    kind: Kind


def _places(
    arguments: dict[str, Any], where: str, setting: str, roots: _Roots
) -> Iterator[dict[str, Any]]:
    """Yield the ``files`` or ``data`` of each dataset of a source, and a path to name it after.

    ``path`` is removed from the arguments.
    """
    path = arguments.pop("path")
    options = arguments["reader_options"]
    if is_dataset_dict(path):
        split = chosen_split(list(path), roots.kind, options.get("split"), where)
        path = path[split]
    if arguments.get("streaming"):
        for address in addresses_of(path, where, roots.data_root):
            yield {"files": (address,), "named_after": f"/{address.split('?')[0]}"}
        return
    if is_data(path):
        name = setting.removeprefix("data.")
        yield {"data": path, "files": (where,), "named_after": f"/{name}/{name}"}
        return
    is_dataset = arguments.get("format") is not None or bool(options)
    for found in paths_of(
        path, where, roots.data_root, roots.cache_dir, folder_is_one=is_dataset, kind=roots.kind
    ):
        named_after = os.path.join(found, "rows") if os.path.isdir(found) else found
        yield {"files": (found,), "named_after": named_after}


def _named_sources(
    data: Mapping[Any, Any],
    setting: str,
    fields: Sequence[str],
    options: Sequence[str],
    roots: _Roots,
) -> list[Source]:
    """Return the sources of a mapping {name: source}."""
    sources = []
    for name, entry in data.items():
        where = f"{setting}.{_checked_name(name, setting)}"
        if entry is None:
            raise ConfigError(f"{where}: no source (give a path, or take it out with ~{where})")
        arguments = _arguments(entry, where, fields, options)
        places = list(_places(arguments, where, setting, roots))
        files = tuple(file for place in places for file in place["files"])
        rows = places[0].get("data")
        sources.append(Source(name=str(name), files=files, data=rows, **arguments))
    by_unique_name(sources, setting)  # refuses a mapping with the keys 1 and "1"
    return sources


def _checked_name(name: Any, setting: str) -> str:
    """Return a dataset's name as part of a setting's name.

    Raises:
        ConfigError: the name is empty, or cannot be encoded.
    """
    try:
        str(name).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{setting}: the name {name!r} holds a lone surrogate (give another)"
        ) from error
    if not str(name).strip():
        raise ConfigError(f"{setting}: a dataset is called {str(name)!r} (give it a name)")
    return one_line(name)


def _arguments(
    entry: Any, where: str, fields: Sequence[str], options: Sequence[str]
) -> dict[str, Any]:
    """Return the arguments of a :class:`Source` that an entry sets, and its ``path``.

    Args:
        entry: a path, a list of paths, data in memory, or a mapping.
        where: the name of the setting, for messages.
        fields: the canonical fields that the entry may rename. A name that is also an option, such
            as ``task``, is read as the option.
        options: other options that the entry may have.

    Raises:
        ConfigError: an option is unknown or has a value that is not allowed.
    """
    if isinstance(entry, str | os.PathLike | Sequence) or is_data(entry) or is_dataset_dict(entry):
        return {"path": entry, "reader_options": {}}
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}={entry!r}: expected a path, or a mapping with the key 'path'")
    fields = [name for name in fields if name not in options]
    allowed = ["path", *options, *fields]
    for name in entry:
        if name not in allowed:
            raise ConfigError(
                f"{where}: unknown key {name!r}, expected one of "
                f"{', '.join(map(one_line, allowed))}{did_you_mean(name, allowed)}"
            )
    if entry.get("path") is None:
        raise ConfigError(f"{where}: no path (name the file or files to read)")
    arguments = {name: entry[name] for name in ("path", *options) if entry.get(name) is not None}
    arguments["reader_options"] = {
        name: arguments.pop(name) for name in READER_OPTIONS["train"] if name in arguments
    }
    arguments["fields"] = {
        name: column_names(entry[name], f"{where}.{one_line(name)}")
        for name in fields
        if entry.get(name) is not None
    }
    _check_arguments(arguments, where)
    limits = {name: arguments.pop(name) for name in LIMITS if name in arguments}
    arguments["limits"] = {name: normal_limit(limit) for name, limit in limits.items()}
    return arguments


def _check_arguments(arguments: Mapping[str, Any], where: str) -> None:
    """Check the values of options.

    Raises:
        ConfigError: a value is not allowed.
    """
    if "normalize_scores" in arguments:
        scaling = arguments["normalize_scores"]
        check_choice(scaling, NormalizeScores, f"{where}.normalize_scores")
    check_reader_options(arguments.get("format"), arguments["reader_options"], where)
    weight = arguments.get("weight", 1.0)
    if (
        isinstance(weight, bool)
        or not isinstance(weight, int | float)
        or not 0 < weight < float("inf")
    ):
        raise ConfigError(
            f"{where}.weight={weight!r}: expected a number above 0 (passes over the dataset per "
            "epoch; to leave it out, remove the source)"
        )
    for name in ("batch_size", "max_sample_num"):
        number = arguments.get(name, 1)
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ConfigError(f"{where}.{name}={number!r}: expected an integer of at least 1")
    if arguments.get("batch_size", 1) > LARGEST_BATCH:
        raise ConfigError(
            f"{where}.batch_size={arguments['batch_size']}: expected an integer of at most "
            f"{LARGEST_BATCH:,}"
        )
    for name, rule in LIMIT_RULES.items():
        if name in arguments:
            check_value(arguments[name], rule, f"{where}.{name}")
    for name in ("in_batch_negatives", "streaming"):
        flag = arguments.get(name, True)
        if not isinstance(flag, bool):
            raise ConfigError(f"{where}.{name}={flag!r}: expected true or false")
    for name in ("task", "task_description", "key_template"):
        if name in arguments and not isinstance(arguments[name], str):
            raise ConfigError(f"{where}.{name}={arguments[name]!r}: expected a string")
