"""What ``train_data``, ``eval_data`` or ``corpus`` names: datasets, each with its files."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from llm_embedder_data.core.errors import ConfigError, DataError, check_choice, did_you_mean
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.containers import COMPRESSIONS, compression_suffix
from llm_embedder_data.rows.dataset_names import by_unique_name
from llm_embedder_data.rows.field_names import column_name
from llm_embedder_data.rows.package_paths import PACKAGE_PREFIX, package_path

Format = Literal["auto", "json", "parquet", "arrow"]

# Endings, compression taken off, and the format that "auto" reads them as.
ENDINGS: dict[str, Format] = {
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
DATA_ROOT_PREFIX = "llm-embedder:"

# s3://, hf://, https://, ...: at least two letters, as C:// is a drive.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

# What a dict source may say beside ``path`` and the names of its fields.
SETTINGS = (
    "task",
    "task_description",
    "format",
    "weight",
    "batch_size",
    "in_batch_negatives",
    "max_sample_num",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One dataset as the user named it.

    Attributes:
        name: of the dataset, unique among its kind.
        files: absolute paths, in the order in which their rows are counted.
        task: of rows that name none; None leaves it to ``default_task``.
        task_description: for the prompt of an instruct model; None for the recipe's.
        format: of the files.
        fields: what a canonical field is called in the files, where it is called otherwise.
        weight: passes over the dataset per epoch.
        batch_size: queries per rank and step; None for the module's.
        in_batch_negatives: whether other queries' keys are negatives.
        max_sample_num: rows to sample; None for the module's.
        key_template: of a corpus; None for the module's.
    """

    name: str
    files: tuple[str, ...]
    task: str | None = None
    task_description: str | None = None
    format: Format = "auto"
    fields: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    batch_size: int | None = None
    in_batch_negatives: bool = True
    max_sample_num: int | None = None
    key_template: str | None = None


def resolve_sources(
    data: Any,
    *,
    key: str,
    fields: Sequence[str],
    settings: Sequence[str] = SETTINGS,
    data_root: str | os.PathLike[str] | None = None,
) -> list[Source]:
    """Datasets from a path, a glob, a folder, a list of them, or a mapping {name: source}.

    A source is a path or a dict with ``path``, settings and names of fields. A dataset that the
    user did not name is called after its file's folder, with as many more parts of the path as make
    it unique; a path that is listed again is a dataset of its own, ``name#2``. Files come in the
    order in which the user lists them; what one glob or folder holds is sorted.

    Args:
        data: what the user gave.
        key: the setting's full name, for messages.
        fields: canonical fields that a dict source may rename.
        settings: other keys that a dict source may have.
        data_root: what the prefix ``llm-embedder:`` stands for.

    Raises:
        ConfigError: a setting that is unknown or has an impossible value.
        DataError: a file that is not there, or a glob that matches nothing.
    """
    if data is None:
        return []
    if isinstance(data, Mapping) and "path" not in data:
        named = []
        for name, entry in data.items():
            where = f"{key}.{_dataset_name(name, key)}"
            if entry is None:
                raise ConfigError(f"{where}: no source (give a path, or take it out with ~{where})")
            options = _options(entry, where, fields, settings)
            files = _expand_all(options.pop("path"), where, data_root)
            named.append(Source(name=str(name), files=tuple(files), **options))
        by_unique_name(named, key)  # 1 and "1" are two keys of a mapping, and one name
        return named

    entries = data if isinstance(data, Sequence) and not isinstance(data, str) else [data]
    found: list[tuple[str, dict[str, Any]]] = []
    for number, entry in enumerate(entries):
        where = key if entries is not data else f"{key}[{number}]"
        options = _options(entry, where, fields, settings)
        path = options.pop("path")
        found += [(file, options) for file in _expand_all(path, where, data_root)]
    names = _dataset_names([file for file, _ in found])
    return [
        Source(name=name, files=(file,), **options)
        for name, (file, options) in zip(names, found, strict=True)
    ]


def format_of(path: str, chosen: Format) -> Format:
    """The format of a file: the chosen one, or what its ending says.

    Raises:
        DataError: ``auto`` and an ending that says nothing.
    """
    found = declared_format(path, chosen)
    if found not in ENDINGS.values():
        raise DataError.at(
            path,
            f"the ending {found!r} is not one of {', '.join(ENDINGS)}, with or without "
            f"{', '.join(COMPRESSIONS)} (rename it, or give the source a format: "
            f"{', '.join(get_args(Format)[1:])})",
        )
    return found  # type: ignore[return-value]


def declared_format(path: str, chosen: Format) -> str:
    """The format of a file as it is said to be; its ending, where that says nothing."""
    if chosen != "auto":
        return chosen
    suffix = _plain_suffix(path)
    return ENDINGS.get(suffix.lower(), suffix)


def _plain_suffix(path: str) -> str:
    """The ending of a path, that of a compression taken off."""
    return Path(path.removesuffix(compression_suffix(path))).suffix


def _options(
    entry: Any, where: str, fields: Sequence[str], settings: Sequence[str]
) -> dict[str, Any]:
    if isinstance(entry, str | os.PathLike):
        return {"path": entry}
    if isinstance(entry, Sequence):
        return {"path": entry}
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}={entry!r}: expected a path, or a mapping with the key 'path'")
    fields = [name for name in fields if name not in settings]
    allowed = ["path", *settings, *fields]
    for name in entry:
        if name not in allowed:
            raise ConfigError(
                f"{where}: unknown key {name!r}, expected one of "
                f"{', '.join(map(one_line, allowed))}{did_you_mean(name, allowed)}"
            )
    if entry.get("path") is None:
        raise ConfigError(f"{where}: no path (name the file or files to read)")
    options = {name: entry[name] for name in ("path", *settings) if entry.get(name) is not None}
    options["fields"] = {
        name: column_name(entry[name], f"{where}.{one_line(name)}")
        for name in fields
        if entry.get(name) is not None
    }
    _check(options, where)
    return options


def _check(options: Mapping[str, Any], where: str) -> None:
    if "format" in options:
        check_choice(options["format"], Format, f"{where}.format")
    weight = options.get("weight", 1.0)
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
        number = options.get(name, 1)
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ConfigError(f"{where}.{name}={number!r}: expected an integer of at least 1")
    flag = options.get("in_batch_negatives", True)
    if not isinstance(flag, bool):
        raise ConfigError(f"{where}.in_batch_negatives={flag!r}: expected true or false")
    for name in ("task", "task_description", "key_template"):
        if name in options and not isinstance(options[name], str):
            raise ConfigError(f"{where}.{name}={options[name]!r}: expected a string")


def _expand_all(path: Any, where: str, data_root: str | os.PathLike[str] | None) -> list[str]:
    paths = path if isinstance(path, Sequence) and not isinstance(path, str) else [path]
    files: list[str] = []
    for one in paths:
        if not isinstance(one, str | os.PathLike):
            raise ConfigError(f"{where}: {one!r} is no path")
        files += _expand(os.fspath(one), where, data_root)
    if not files:
        raise ConfigError(f"{where}: an empty list (name at least one file, or give null)")
    return files


def _expand(path: str, where: str, data_root: str | os.PathLike[str] | None) -> list[str]:
    """The files that one path stands for, absolute; a glob's and a folder's are sorted."""
    shown = path
    if not path.strip():
        raise ConfigError(f"{where}={path!r}: an empty path (name a file or folder, or give null)")
    if path.startswith(DATA_ROOT_PREFIX):
        if data_root is None:
            raise ConfigError(
                f"{where}={path!r}: the prefix {DATA_ROOT_PREFIX!r} stands for data_root, which "
                "is not set (give data.data_root)"
            )
        path = os.path.join(os.fspath(data_root), path.removeprefix(DATA_ROOT_PREFIX))
    elif path.startswith(PACKAGE_PREFIX):
        path = package_path(path, where)
    elif _ADDRESS.match(path):
        raise ConfigError(
            f"{where}={shown!r} is an address, and nothing is fetched from there here: data are "
            "read from files (copy them to this machine or to a mounted folder, and give that path)"
        )
    path = os.path.abspath(os.path.expanduser(path))

    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        _refuse_saved_dataset(path, where)
        files = sorted(
            entry.path
            for entry in os.scandir(path)
            if entry.is_file()
            and not entry.name.startswith(".")  # as glob has it
            and _plain_suffix(entry.name).lower() in ENDINGS
        )
        if not files:
            raise DataError.at(
                path, f"the folder holds no data file ({where}; {', '.join(ENDINGS)})"
            )
        return files
    if glob.has_magic(path):
        files = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
        if not files:
            raise DataError.at(
                path, f"the pattern matches no file ({where}={shown!r}; mend the pattern)"
            )
        return files
    hub = ""
    if _HUB_NAME.fullmatch(shown) and not _plain_suffix(shown):
        hub = (
            f"; if it is a dataset of the Hugging Face hub: hub names are not read, download it "
            f"with 'hf download {shown} --repo-type dataset --local-dir DIR' and give its files"
        )
    raise DataError.at(path, f"there is no such file ({where}={shown!r}; mend the path{hub})")


def _refuse_saved_dataset(folder: str, where: str) -> None:
    """Refuse a folder of ``save_to_disk``, whose JSON files are no rows; name its data files."""
    if os.path.isfile(os.path.join(folder, "dataset_dict.json")):
        splits = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        raise DataError.at(
            folder,
            f"it is a DatasetDict that save_to_disk wrote, of {', '.join(splits) or 'no split'} "
            f"({where}: name the files of one, as in {{train: {folder}/{(splits or ['train'])[0]}"
            "/data-*.arrow})",
        )
    names = ("state.json", "dataset_info.json")
    if all(os.path.isfile(os.path.join(folder, name)) for name in names):
        raise DataError.at(
            folder,
            f"it is a dataset that save_to_disk wrote ({where}: name its files, as in "
            f"{{{Path(folder).name}: {folder}/data-*.arrow}})",
        )


def _dataset_names(files: Sequence[str]) -> list[str]:
    """The folder of each file, and as much more of the path as tells different files apart."""
    paths = {file: Path(file) for file in files}
    stems = Counter((path.parent, _stem(path)) for path in paths.values())
    names = {file: path.parent.name or _stem(path) for file, path in paths.items()}
    for parts in range(1, max((len(path.parts) for path in paths.values()), default=1)):
        clashing = Counter(names.values())
        for file, path in paths.items():
            if clashing[names[file]] > 1:
                folders = [part.strip("/") for part in path.parent.parts[-parts:]]
                stem = _stem(path)  # files that differ in their endings alone keep these
                names[file] = "/".join(
                    [*folders, stem if stems[path.parent, stem] == 1 else path.name]
                )
    taken: set[str] = set()
    unique = []
    for file in files:
        # A folder may be called like another's second dataset, qa#2; and a.json.gz and a.json.jsonl
        # of one folder still share a name here.
        times = 1
        while (name := f"{one_line(names[file])}#{times}".removesuffix("#1")) in taken:
            times += 1
        taken.add(name)
        unique.append(name)
    return unique


def _dataset_name(name: Any, key: str) -> str:
    """A dataset's name as a part of a setting's.

    Raises:
        ConfigError: one that is empty, or that no file or log can hold.
    """
    try:
        str(name).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{key}: the name {name!r} holds half a surrogate pair (give another)"
        ) from error
    if not str(name).strip():
        raise ConfigError(f"{key}: a dataset is called {str(name)!r} (give it a name)")
    return one_line(name)


def _stem(path: Path) -> str:
    name = path.name.removesuffix(compression_suffix(path.name))
    return Path(name).stem
