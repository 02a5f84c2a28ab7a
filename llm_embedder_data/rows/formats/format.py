"""What a format is: how it is known, and how its records become canonical rows."""

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
    """A format of other people's files.

    Attributes:
        name: that ``format:`` takes.
        what: what the files hold, in a few words, for messages.
        recognizes: whether a file's first records are of this format.
        recognizes_folder: whether a folder is of this format.
        train: reads training rows; None where the format has none.
        eval: reads eval rows.
        corpus: reads the corpus.
        refusal: why files of this format cannot be used at all.
        settings: the source's settings that only its training rows and those of a few others have.
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
        """What reads one kind of rows."""
        return {"train": self.train, "eval": self.eval, "corpus": self.corpus}[kind]


def each(make: Callable[[Mapping[str, Any], Parts], Row | list[Row]]) -> Reader:
    """A reader of files in which each record is a row, or several."""

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
