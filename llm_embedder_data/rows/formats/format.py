"""What a format is: how its files are recognized, and how their records become canonical rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Dropped, Kind, Row

Reader = Callable[[Parts], Iterator[Row]]
Recognizer = Callable[[RawFile], bool]


def _never(_: Any) -> bool:
    return False


def most_are(values: Collection[Any], fits: Callable[[Any], bool]) -> bool:
    """Whether at least half of some values fit; False where there are none.

    Formats are known by the shape of most records, not of all: a bad record among the first ones
    is an error that names its line, and must not hide what the file is.
    """
    return bool(values) and 2 * sum(map(fits, values)) >= len(values)


def is_text(value: Any) -> bool:
    """Whether a value is a string."""
    return isinstance(value, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format in which another project stores retrieval data.

    Attributes:
        name: the value of ``format:`` in a source that asks for this format.
        what: what the files hold, in a few words, for messages.
        recognizes: tells from a file's first records whether the file has this format.
        recognizes_folder: tells whether a folder as a whole has this format.
        train: yields canonical training rows; None if the format has none.
        eval: yields canonical eval rows; None if the format has none.
        corpus: yields canonical corpus rows; None if the format has none.
        refusal: why files of this format cannot be used, and what to use instead; None for a
            format that is read.
        settings: settings of a source that affect training rows of this format, but not those of
            most other formats.
    """

    name: str
    what: str
    recognizes: Recognizer = _never
    recognizes_folder: Callable[[Path], bool] = _never
    train: Reader | None = None
    eval: Reader | None = None
    corpus: Reader | None = None
    refusal: str | None = None
    settings: tuple[str, ...] = ()

    def reader(self, kind: Kind) -> Reader | None:
        """Return the function that reads rows of a kind; None if the format has no such rows."""
        return {"train": self.train, "eval": self.eval, "corpus": self.corpus}[kind]


def each_record(make: Callable[[Mapping[str, Any], Parts], Row | list[Row]]) -> Reader:
    """Return a reader of files in which each record becomes one row or several.

    A record that is no mapping, or for which ``make`` raises BadRowError or Dropped, is left out
    and counted.

    Args:
        make: returns the row or the rows of a record.
    """

    def read(parts: Parts) -> Iterator[Row]:
        for record in parts.records():
            try:
                if not isinstance(record.value, Mapping):
                    raise BadRowError(f"expected an object, found {type(record.value).__name__}")
                made = make(parts.watched(record), parts)
            except (BadRowError, Dropped) as error:
                parts.leave_out(error)
                continue
            yield from made if isinstance(made, list) else [made]

    return read
