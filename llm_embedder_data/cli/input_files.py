"""Refuses output files that would replace a file that the same run reads, or each other.

The check reads the configuration only, so it comes before a model or data are loaded.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llm_embedder_data.cli.output_files import path_of_rejected
from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.home_paths import with_home

# Settings that name a file to write.
_OUTPUTS = ("out", "json", "html", "rejected", "run_file", "metrics_file")

# Settings that name a folder to write to, with the ending of the files that are written there.
_FOLDERS = {"out": ".tsv", "fix": ".jsonl"}

_DATA = ("train_data", "eval_data", "corpus")

# Settings that name a file, a list of files or the folder of a model to read.
_OTHER_INPUTS = ("encoder", "teacher", "ckpt_path", "diff", "merge", "text_file")


def check_no_input_is_replaced(cfg: DictConfig, made_by_verb: Collection[str] = ()) -> None:
    """Refuse output files that the run reads, or that two settings name.

    Args:
        cfg: the composed configuration of a verb.
        made_by_verb: keys of a source whose files the verb makes and does not read. A second run
            replaces them.

    Raises:
        ConfigError: two settings name the same file, an output is a file that is read, or a folder
            for outputs has such files.
    """
    outputs = _outputs(cfg)
    _check_different(outputs)
    existing = {name: path for name, path in outputs.items() if os.path.isfile(path)}
    folders = {
        name: with_home(cfg[name])
        for name in _FOLDERS
        if isinstance(cfg.get(name), str) and os.path.isdir(os.path.expanduser(cfg[name]))
    }
    if not existing and not folders:
        return
    for setting, read in _files_read(cfg, made_by_verb):
        for name, path in existing.items():
            if path.samefile(read):
                raise ConfigError(
                    f"{name}={cfg[name]!r}{_written_too(cfg[name], path)}: {setting} is read from "
                    "this file (name another)"
                )
        for name, folder in folders.items():
            if read.suffix == _FOLDERS[name] and folder.samefile(read.parent):
                raise ConfigError(
                    f"{name}={cfg[name]!r}: in this folder is {read.name}, from which {setting} "
                    "is read, and which a file of that name would replace (name another folder)"
                )


def _outputs(cfg: DictConfig) -> dict[str, Path]:
    """Return the path of each file that settings name, also of those named after another file."""
    outputs = {
        name: with_home(cfg[name])
        for name in _OUTPUTS
        if isinstance(cfg.get(name), str) and "://" not in cfg[name]
    }
    if cfg.get("rejected") == "auto":
        beside = next((outputs[name] for name in ("out", "json", "html") if name in outputs), None)
        del outputs["rejected"]
        if beside is not None and beside.name:
            outputs["rejected"] = path_of_rejected(beside)
    return outputs


def _written_too(value: str, path: Path) -> str:
    """Return where a file lies that a setting does not name itself, for a message."""
    return "" if with_home(value) == path else f" ({str(path)!r})"


def _check_different(outputs: Mapping[str, Path]) -> None:
    first: dict[str, str] = {}
    for name, path in outputs.items():
        other = first.setdefault(os.path.realpath(path), name)
        if other != name:
            raise ConfigError(
                f"{other} and {name} name the same file, {str(path)!r} (name two files)"
            )


def _files_read(cfg: DictConfig, made_by_verb: Collection[str]) -> Iterator[tuple[str, Path]]:
    """Yield the setting and the path of each existing file that a run reads."""
    data = _plain(cfg.get("data")) or {}
    for name in _DATA:
        for text, is_folder in _texts(data.get(name), made_by_verb):
            for path in _files_of_source(text, data.get("data_root"), is_folder):
                yield f"data.{name}", path
    others = [(name, cfg.get(name)) for name in _OTHER_INPUTS]
    others += [(f"data.{name}", data.get(name)) for name in ("tokenizer", "recipe")]
    for setting, value in others:
        for text, _ in _texts(_plain(value), ()):
            path = Path(os.path.expanduser(text))  # not all of these texts are paths
            for file in path.iterdir() if os.path.isdir(path) else (path,):
                if os.path.isfile(file):
                    yield setting, file


def _plain(value: Any) -> Any:
    if not OmegaConf.is_config(value):
        return value
    try:
        return OmegaConf.to_container(value, resolve=True)
    except OmegaConfBaseException:  # Hydra's resolvers only work inside a job
        return OmegaConf.to_container(value)


def _texts(
    value: Any, left_out: Collection[str], is_dataset: bool = False
) -> Iterator[tuple[str, bool]]:
    """Yield the texts of a nested value; any of them may be a path.

    With each comes whether its source has options of readers, such as ``format`` and ``split``, so
    that a folder is a data set as a whole.
    """
    from llm_embedder_data.rows.sources.reader_settings import READER_OPTIONS

    if isinstance(value, str):
        yield value, is_dataset
    elif isinstance(value, Mapping):
        is_dataset = "path" in value and bool({"format", *READER_OPTIONS["train"]} & value.keys())
        for key, entry in value.items():
            if key not in left_out:
                yield from _texts(entry, left_out, is_dataset)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry, left_out, is_dataset)


def _files_of_source(text: str, data_root: Any, folder_is_one: bool) -> Iterator[Path]:
    """Yield the files that a text of a source stands for, if it is a path on this machine.

    For a folder that is a data set as a whole, these are all files in it and in its subfolders.
    """
    # Loads the readers, which takes seconds: most runs write new files and never come here.
    from llm_embedder_data.core.addresses import is_address
    from llm_embedder_data.rows.sources.path_prefixes import without_prefix
    from llm_embedder_data.rows.sources.source_paths import paths_of

    try:
        path = without_prefix(text, "source", data_root)
        if is_address(path):
            return
        path = os.path.expanduser(path)
        if not glob.has_magic(path) and not os.path.exists(path):
            return
        found = paths_of(path, "source", folder_is_one=folder_is_one).paths
    except (ConfigError, DataError, OSError, ValueError):
        return  # those who read the source report the fault
    for one in map(Path, found):
        yield from (file for file in (one.rglob("*") if one.is_dir() else (one,)) if file.is_file())
