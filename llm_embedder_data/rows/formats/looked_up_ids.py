"""Counts ids that are looked up in other files, and refuses ids that belong to other files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.records.raw_files import RawRecord

# A larger share of unknown ids is an error, unless bad rows are skipped: the files do not belong
# together.
MOST_UNKNOWN = 0.01


@dataclass
class LookedUpIds:
    """The ids by which rows name documents of a corpus, or queries.

    Attributes:
        what: what the ids name: ``document`` or ``query``.
        where: where they are looked up: ``corpus`` or ``queries``.
        n_asked: the number of ids that were looked up.
        n_unknown: the number of these that were not found.
        example: the first of these.
        at: the file and record that name it, if they are known.
    """

    what: str
    where: str
    n_asked: int = 0
    n_unknown: int = 0
    example: str | None = None
    at: tuple[str, RawRecord] | None = None

    def note(self, n_asked: int, unknown: Sequence[str], at: tuple[str, RawRecord] | None) -> None:
        """Count the ids of a row.

        Args:
            n_asked: the number of its ids.
            unknown: those that were not found.
            at: the file and record of the row.
        """
        self.n_asked += n_asked
        self.n_unknown += len(unknown)
        if unknown and self.example is None:
            self.example, self.at = unknown[0], at

    def check(self, known: Iterable[str], source: str, *, skips: bool) -> None:
        """Refuse ids that belong to another corpus or other queries; call this after the last row.

        Args:
            known: the ids that there are.
            source: the path of the rows, for an error without a record.
            skips: whether rows with unknown ids are skipped.

        Raises:
            DataError: no id was found; or rows are not skipped, and over 1 % were not found.
        """
        such_as = f"such as {next(iter(known), None)!r}"
        if self.n_unknown == self.n_asked:
            sentence = (
                f"no {self.what} id is in the {self.where}: {self.example!r} is asked for, and the "
                f"ids there are {such_as} (give the {self.where} of these rows)"
            )
        elif not skips and self.n_unknown > MOST_UNKNOWN * self.n_asked:
            sentence = (
                f"{self.n_unknown} of {self.n_asked} {self.what} ids are not in the {self.where}, "
                f"such as {self.example!r}; the ids there are {such_as} (data.on_bad_row=skip "
                "leaves them out)"
            )
        else:
            return
        path, record = self.at or (source, None)
        row, line = (None, None) if record is None else (record.row, record.line)
        raise DataError.at(path, sentence, row=row, line=line)
