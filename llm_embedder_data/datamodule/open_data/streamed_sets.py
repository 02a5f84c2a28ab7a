"""Streamed training sets: settings that they exclude, and how much data an epoch fetches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llm_embedder_data.batches.plan.row_shuffle import CHUNKS
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.settings.settings import DataSettings
from llm_embedder_data.rows.train_set import TrainSet

# Write a note if a pass fetches more than this many times the size of the data.
_MUCH = 1.5


def check_streamed(train_sets: Iterable[TrainSet], settings: DataSettings) -> None:
    """Check that no setting needs all texts of a streamed training set before the first step.

    Raises:
        ConfigError: there is a streamed training set and such a setting.
    """
    names = [train_set.name for train_set in train_sets if train_set.streamed is not None]
    if not names:
        return
    if settings.tokenize == "cached":
        raise ConfigError(
            f"data.tokenize='cached' with the streamed dataset {names[0]!r}: the tokens of all its "
            "texts would be kept on this machine (set data.tokenize=on-the-fly, or leave out "
            "streaming)"
        )
    if settings.length_window is not None:
        raise ConfigError(
            f"data.length_window={settings.length_window} with the streamed dataset {names[0]!r}: "
            "the lengths of its texts are not known beforehand (set data.length_window=null and, "
            "against padding, data.layout=packed or chunked; or leave out streaming)"
        )
    if settings.no_duplicates:
        raise ConfigError(
            f"data.no_duplicates=true with the streamed dataset {names[0]!r}: its texts are not "
            "known beforehand (set data.no_duplicates=false, and the loss masks texts that come "
            "twice; or leave out streaming)"
        )


def traffic_notes(train_sets: Mapping[str, TrainSet], settings: DataSettings) -> dict[str, str]:
    """Return notes on how often a pass fetches the data of streamed training sets, by name.

    A set without a note is fetched about once per pass. The numbers are estimates: they assume that
    the pieces of a set are equally large and have equally many kept rows, and that each set gets a
    share of the cache in proportion to its size.
    """
    sets = {name: one for name, one in train_sets.items() if one.streamed is not None}
    # Several tasks may share the same streamed texts; count these once.
    of_texts = {id(one.streamed): one.streamed for one in sets.values()}
    total = sum(streamed.decoded_bytes for streamed in of_texts.values() if streamed is not None)
    cache = settings.stream_cache_mib << 20
    notes = {}
    for name, train_set in sets.items():
        assert train_set.streamed is not None
        traffic = _Traffic(
            n_rows=len(train_set.kept),
            n_pieces=train_set.streamed.n_pieces,
            n_bytes=train_set.streamed.decoded_bytes,
            cache=cache * train_set.streamed.decoded_bytes / max(total, 1),
        )
        times = traffic.times(settings.shuffle_window)
        if times >= _MUCH:
            advice = f"data.stream_cache_mib={-(-total // (1 << 20))} keeps all"
            window = traffic.window_that_fits()
            if window is not None and traffic.times(window) < min(times, _MUCH):
                advice = f"data.shuffle_window={window} fetches it about once; {advice}"
            notes[name] = (
                f"streamed: a pass fetches its {train_set.streamed.n_bytes / 1e6:,.0f} MB about "
                f"{times:,.0f} times, because the rows that are shuffled together "
                f"(data.shuffle_window={settings.shuffle_window or 'null'}) lie in more parts of "
                f"the files than data.stream_cache_mib={settings.stream_cache_mib} holds "
                f"({advice})"
            )
    return notes


@dataclass(frozen=True, slots=True)
class _Traffic:
    """A streamed training set and its share of the cache.

    Attributes:
        n_rows: number of kept rows.
        n_pieces: number of parts of the files that can be fetched separately.
        n_bytes: size of all pieces in the cache.
        cache: size of the set's share of the cache, in bytes.
    """

    n_rows: int
    n_pieces: int
    n_bytes: int
    cache: float

    def times(self, window: int | None) -> float:
        """Return how many times a pass fetches the set, given a shuffle window."""
        if self.n_bytes <= self.cache:
            return 1.0
        pieces, times_if_they_fit = float(self.n_pieces), 1.0
        if window is not None and window < self.n_rows:
            pieces = self._pieces_of(window)
            times_if_they_fit = max(1.0, pieces / window * self.n_rows / self.n_pieces)
        share_kept = self.cache / (pieces * self.n_bytes / self.n_pieces)
        if share_kept >= 1:
            return times_if_they_fit
        return max(times_if_they_fit, (1 - share_kept) * self.n_rows / self.n_pieces)

    def window_that_fits(self) -> int | None:
        """Return the largest round window whose pieces fit into half of the cache, or None."""
        most = self.cache / 2 / (self.n_bytes / self.n_pieces)
        rows = int((most - CHUNKS) * self.n_rows / self.n_pieces)
        if rows < CHUNKS:
            return None
        digits: int = 10 ** (len(str(rows)) - 1)
        return max(CHUNKS, rows // digits * digits)

    def _pieces_of(self, window: int) -> float:
        """Return over how many pieces the rows of a window are spread.

        Each chunk of the window may add one piece, because it need not end where a piece ends.
        """
        return min(self.n_pieces, window / self.n_rows * self.n_pieces + CHUNKS)
