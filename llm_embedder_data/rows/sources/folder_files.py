"""Which files of a folder, or of a pattern, hold rows: one rule for all that reads them.

The rule looks at names and sizes only:

- Hidden files and folders, whose names begin with a dot, hold no rows. Neither do marks such as
  ``_SUCCESS``, documents such as ``README.md``, and descriptions such as ``dataset_infos.json``.
- The files of the folder itself are read; if there are none, those of all folders below it.
- JSON, Parquet and Arrow files are read; if there are none, text tables; if there are none, files
  with another ending or without one, such as ``part-00000``.

Files that could hold rows and are not read are named, each with the reason.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.files.file_formats import ENDINGS, plain_stem, plain_suffix

# Endings of text tables.
TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".trec", ".qrels", ".run")

# Endings of files that never hold rows.
_OTHER_ENDINGS = (".md", ".rst", ".py", ".yaml", ".yml", ".lock", ".idx", ".index", ".npy", ".log")
_DOCUMENT = re.compile(r"(README|LICEN[CS]E|NOTICE|CITATION)(_[^.]*|\.txt|\.cff)?", re.IGNORECASE)
# Descriptions of a dataset: by Hugging Face datasets, and by contrastors.
_DESCRIPTIONS = ("dataset_infos", "dataset_info", "dataset_dict", "counts", "offsets")

# Folders in which Spark and its table formats keep their records.
_FOLDERS_OF_SPARK = ("_temporary", "_delta_log", "_spark_metadata", "_symlink_format_manifest")

_MOST_NAMED = 5  # files for each reason


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of rows of a folder or pattern.

    Attributes:
        files: the files to read, sorted.
        left_out: why a file or folder that could hold rows is not read, by its path.
    """

    files: list[Path]
    left_out: dict[Path, str] = field(default_factory=dict)

    def of_one_kind(self) -> FolderFiles:
        """Return the files of the first kind that there is: see the module's docstring."""
        for endings in (tuple(ENDINGS), TEXT_ENDINGS):
            if files := [path for path in self.files if _ending(path) in endings]:
                return self.only(files, f"of another kind than {files[0].name}")
        return self

    def only(self, files: Sequence[Path], why: str) -> FolderFiles:
        """Return some of the files; the others are left out.

        Args:
            files: the files to keep.
            why: why the others are left out.
        """
        kept = set(files)
        others = {path: why for path in self.files if path not in kept}
        return FolderFiles(list(files), self.left_out | others)


def files_in(folder: Path) -> FolderFiles:
    """Return the files of a folder that may hold rows; if it has none, those of folders below it.

    Args:
        folder: a folder, which may be a link.
    """
    found = _that_may_hold_rows(path for path in folder.iterdir() if not path.is_dir())
    if not found.files:
        return _that_may_hold_rows(files_below(folder))
    below = {
        path: f"beside {found.files[0].name}"
        for path in sorted(folder.iterdir())
        if path.is_dir()
        and not _is_hidden_folder(path.name)
        and any(_may_hold_rows(file) for file in files_below(path))
    }
    return FolderFiles(found.files, found.left_out | below)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of all folders below it; hidden ones are skipped.

    Links to folders are followed, but no folder is visited twice. Links to nothing are among the
    files.
    """
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _is_hidden_folder(name))
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith("."):
                yield path


def matches_of(pattern: str) -> FolderFiles:
    """Return the files that a pattern matches; the folders it matches, if it matches no file."""
    matches = [Path(match) for match in sorted(set(glob.glob(pattern, recursive=True)))]
    files = [path for path in matches if path.is_file()]
    if not files:
        return FolderFiles([Path(match) for match in sorted(glob.glob(pattern))])
    # With ** a folder only leads to its files.
    folders = [path for path in matches if path.is_dir()] if "**" not in pattern else []
    why = f"beside {files[0].name}"
    return FolderFiles(files, dict.fromkeys(folders, why))


def is_saved_dataset(folder: str | os.PathLike[str]) -> bool:
    """Return whether ``save_to_disk`` wrote a folder. Its JSON files hold no rows."""
    if os.path.isfile(os.path.join(folder, "dataset_dict.json")):
        return True
    names = ("state.json", "dataset_info.json")
    return all(os.path.isfile(os.path.join(folder, name)) for name in names)


def counts_of_left_out(left_out: Mapping[Path, str], root: str | Path) -> Counter[str]:
    """Return the numbers of files that are left out, by a phrase with the reason and some names.

    Args:
        left_out: as in :class:`FolderFiles`.
        root: the folder that names are relative to.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for path, why in left_out.items():
        noun = "folder" if path.is_dir() else "file"
        names.setdefault((noun, why), []).append(one_line(os.path.relpath(path, root)))
    counts = Counter[str]()
    for (noun, why), listed in names.items():
        more = ", ..." if len(listed) > _MOST_NAMED else ""
        plural = "s" * (len(listed) > 1)
        counts[f"{noun}{plural} {one_line(why)} ({', '.join(listed[:_MOST_NAMED])}{more})"] = len(
            listed
        )
    return counts


# --------------------------------------------------------------------------------------------------


def _that_may_hold_rows(paths: Iterable[Path]) -> FolderFiles:
    named = sorted(path for path in paths if _may_hold_rows(path))
    left_out = {
        path: "without content" if path.is_file() else "that a link does not find"
        for path in named
        if not path.is_file() or not path.stat().st_size
    }
    return FolderFiles([path for path in named if path not in left_out], left_out)


def _may_hold_rows(path: Path) -> bool:
    """Return whether the name of a file does not say that it holds no rows."""
    name, ending = path.name, _ending(path)
    if name.startswith(".") or ending in _OTHER_ENDINGS or _DOCUMENT.fullmatch(name):
        return False
    if name.startswith("_") and ending not in (*ENDINGS, *TEXT_ENDINGS):
        return False  # _SUCCESS, _metadata
    if plain_stem(path) in _DESCRIPTIONS and ending in ("", ".json"):
        return False
    return not (name == "state.json" and is_saved_dataset(path.parent))


def _ending(path: Path) -> str:
    """Return the ending in lower case, without that of a compression."""
    return plain_suffix(path.name).lower()


def _is_hidden_folder(name: str) -> bool:
    return name.startswith((".", "__")) or name in _FOLDERS_OF_SPARK


assert not set(_OTHER_ENDINGS) & set(chain(ENDINGS, TEXT_ENDINGS))
