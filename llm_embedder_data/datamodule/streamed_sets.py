"""What streamed training sets cannot have, and what an epoch of them fetches."""

from __future__ import annotations

from collections.abc import Iterable

from llm_embedder_data.batches.plan.row_shuffle import CHUNKS
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.settings import DataSettings
from llm_embedder_data.rows.streaming.streamed_texts import StreamedTexts
from llm_embedder_data.rows.train_sets import TrainSet

# Decoded texts take about this many times the bytes of a compressed file.
_DECODED = 2.0

# An epoch that fetches more than this many times the data is worth a note.
_MUCH = 1.5


def check_streamed(train_sets: Iterable[TrainSet], settings: DataSettings) -> None:
    """Refuse settings that need all texts of a training set before the first step.

    Raises:
        ConfigError: there is such a setting, and a streamed training set.
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


def traffic_note(train_set: TrainSet, settings: DataSettings) -> str | None:
    """Return a note on how often an epoch fetches a streamed training set; None if about once.

    It is an estimate: pieces are taken to be equally large, and decoded to twice their size.
    """
    streamed = train_set.streamed
    if streamed is None:
        return None
    cache = (settings.stream_cache_mib << 20) / _DECODED  # in bytes as fetched
    times = _times_fetched(streamed, len(train_set.kept), cache, settings.shuffle_window)
    if times < _MUCH:
        return None
    advice = f"data.stream_cache_mib={_mib(streamed.n_bytes * _DECODED)} keeps all of it"
    window = _window_within(streamed, cache)
    if window is not None and window != settings.shuffle_window:
        advice = f"data.shuffle_window={window} fetches it about once; {advice}"
    return (
        f"streamed: an epoch fetches about {times:,.0f} times its {streamed.n_bytes / 1e6:,.0f} "
        f"MB, for data.shuffle_window={settings.shuffle_window or 'null'} takes rows from more "
        f"places than data.stream_cache_mib={settings.stream_cache_mib} keeps ({advice})"
    )


def _times_fetched(streamed: StreamedTexts, n_rows: int, cache: float, window: int | None) -> float:
    """Return how many times its size an epoch fetches of a training set."""
    n_bytes = streamed.n_bytes
    if n_bytes <= cache:
        return 1.0
    per_piece = n_bytes / streamed.n_pieces
    if window is None:
        return max(1.0, n_rows * (1 - cache / n_bytes) * per_piece / n_bytes)
    rows_per_piece = len(streamed) / streamed.n_pieces
    pieces = _pieces_of_window(window, rows_per_piece)
    once = pieces * rows_per_piece / window  # a chunk begins and ends within a piece
    if pieces * per_piece <= cache:
        return once
    missed = 1 - cache / (pieces * per_piece)
    return max(once, n_rows * missed * per_piece / n_bytes)


def _pieces_of_window(window: int, rows_per_piece: float) -> float:
    return CHUNKS * (window / CHUNKS / rows_per_piece + 1)


def _window_within(streamed: StreamedTexts, cache: float) -> int | None:
    """Return the largest round number of rows whose pieces take half of the cache, or None."""
    rows_per_piece = len(streamed) / streamed.n_pieces
    per_piece = streamed.n_bytes / streamed.n_pieces
    most = (cache / 2 / per_piece - CHUNKS) * rows_per_piece
    if most < 4 * CHUNKS:
        return None
    digits: int = 10 ** (len(str(int(most))) - 1)
    return max(CHUNKS, int(most) // digits * digits)


def _mib(n_bytes: float) -> int:
    return -int(-n_bytes // (1 << 20))
