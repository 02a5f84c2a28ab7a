"""Makes up texts whose words are as frequent, as varied and as long as in real rows.

The cost of a data path depends on the words of its texts: a tokenizer that remembers words is fast
on words that it has seen, and slow on new ones. So the words follow a Zipf-Mandelbrot law with two
exponents and no last rank: new words keep appearing in a text of any length, as in real text
(Heaps' law). The numbers below were measured on real rows of LLM-Embedder's six tasks (1.5 million
running words in 12 datasets) and fitted by

    python benchmarks/real_text.py FOLDER

which also compares the texts of this module with real ones. Words are separated by spaces, so
``word,`` and ``word`` are two words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class ZipfLaw(NamedTuple):
    """Frequencies of words by rank r = 1, 2, ...: (r + shift)^-head, and ^-tail beyond a rank."""

    shift: float
    head: float
    bend: float
    tail: float

    def weights(self, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Relative frequencies."""
        shifted = (ranks + self.shift) / self.bend
        return np.where(shifted < 1, shifted**-self.head, shifted**-self.tail)

    def weight_beyond(self, rank: int) -> float:
        """The sum of the relative frequencies above a rank, which must be beyond the bend."""
        last = (rank + 0.5 + self.shift) / self.bend
        return float(self.bend * last ** (1 - self.tail) / (self.tail - 1))


LAW = ZipfLaw(shift=2.7, head=1.10, bend=10_000, tail=1.545)

# By rank: the mean of a word's tokens under all-MiniLM-L6-v2's tokenizer, and the shares of words
# with punctuation, with a capital, and with digits.
_RANKS = np.array([10, 100, 1000, 10_000, 30_000, 60_000])
_TOKENS = np.array([1.0, 1.05, 1.22, 1.63, 2.40, 3.40])
_PUNCTUATED = np.array([0.0, 0.08, 0.14, 0.38, 0.58, 0.72])
_CAPITAL = np.array([0.07, 0.12, 0.20, 0.25, 0.28, 0.28])
_DIGITS = np.array([0.0, 0.02, 0.04, 0.06, 0.09, 0.12])

# How words are punctuated, by frequency.
_MARKS = ["{},"] * 18 + ["{}."] * 13 + ["{}:"] * 4 + ["{}?"] * 3 + ["({})"] * 3 + ["{};"] * 3
_MARKS += ['"{}"'] * 2 + ["{}!"]

# Words up to this rank are in a table. Rarer words are made from their rank when drawn.
_TABLE_SIZE = 1 << 16
_LARGEST_RANK = 1 << 47
_SCRAMBLE = 0x9E3779B97F4B


class MadeUpText:
    """Texts of words drawn by :data:`LAW`.

    Args:
        seed: the same texts for the same seed.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        ranks = np.arange(1, _TABLE_SIZE + 1, dtype=np.float64)
        sums = np.cumsum(LAW.weights(ranks))
        self._up_to = sums / (sums[-1] + LAW.weight_beyond(_TABLE_SIZE))
        self._vocabulary = _vocabulary()

    def texts(self, sizes: NDArray[np.int64]) -> list[str]:
        """Return a text with each of the given numbers of words."""
        words = self._vocabulary.words(self._ranks(int(sizes.sum()))).tolist()
        ends = np.cumsum(sizes).tolist()
        return [" ".join(words[start:end]) for start, end in zip([0, *ends], ends, strict=False)]

    def sizes(self, n_texts: int, n_words: int) -> NDArray[np.int64]:
        """Numbers of words, uniform from ``n_words / 2`` to ``1.5 * n_words``."""
        return self._random.integers(max(1, n_words // 2), 3 * n_words // 2 + 1, n_texts)

    def spread_sizes(
        self, n_texts: int, median: float, spread: float, least: int
    ) -> NDArray[np.int64]:
        """Numbers of words of a log-normal distribution.

        Args:
            n_texts: number of texts.
            median: median number of words.
            spread: standard deviation of the logarithm of the number of words.
            least: smallest number of words.
        """
        drawn = median * np.exp(spread * self._random.standard_normal(n_texts))
        return np.maximum(least, np.rint(drawn)).astype(np.int64)

    def scores(self, n_scores: int) -> list[float]:
        """Teacher scores in [0, 1) with four digits."""
        drawn: list[float] = (self._random.integers(10_000, size=n_scores) / 10_000).tolist()
        return drawn

    def _ranks(self, n_words: int) -> NDArray[np.int64]:
        """Draw the ranks of ``n_words`` words, from 0."""
        drawn = self._random.random(n_words)
        ranks = np.searchsorted(self._up_to, drawn, "right")
        beyond = np.flatnonzero(ranks == _TABLE_SIZE)
        left = (1 - drawn[beyond]) / (1 - self._up_to[-1])  # in (0, 1]
        rarer = _TABLE_SIZE * left ** (1 / (1 - LAW.tail))
        ranks[beyond] = np.minimum(rarer, _LARGEST_RANK).astype(np.int64)
        return ranks


class _Vocabulary:
    """A word for each rank, made of the demo tokenizer's words and word pieces.

    Args:
        tokens: the vocabulary of a WordPiece tokenizer, the frequent ones first, as BERT's are.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        words = [one for one in tokens if one.isascii() and one.isalpha() and len(one) > 1]
        pieces = [one[2:] for one in tokens if one.startswith("##") and len(one) > 3]
        pieces = [one for one in pieces if one.isascii() and one.isalpha()]
        self._words = np.array(words, dtype=object)
        self._pieces = np.array(pieces, dtype=object)
        # Seven of ten rare words have a third piece.
        self._thirds = np.array([*pieces, *[""] * (len(pieces) * 3 // 7)], dtype=object)
        ends = [mark.format("") for mark in _MARKS if mark.startswith("{}")]
        self._ends = np.array([*ends, *[""] * (len(ends) // 2)], dtype=object)
        self._table = self._common_words()

    def words(self, ranks: NDArray[np.int64]) -> NDArray[np.object_]:
        """The word of each rank, from 0; no two ranks have the same word."""
        words: NDArray[np.object_] = self._table[np.minimum(ranks, _TABLE_SIZE - 1)]
        beyond = np.flatnonzero(ranks >= _TABLE_SIZE)
        if len(beyond):
            words[beyond] = self._rare_words(ranks[beyond])
        return words

    def _rare_words(self, ranks: NDArray[np.int64]) -> NDArray[np.object_]:
        """Rare words: a word, two or three word pieces, and mostly a punctuation mark."""
        left = ranks.astype(np.uint64) * np.uint64(_SCRAMBLE) % np.uint64(2 * _LARGEST_RANK)
        made: Any = ""
        for parts in (self._words, self._pieces, self._thirds, self._ends):
            left, chosen = np.divmod(left, np.uint64(len(parts)))
            made = made + parts[chosen]
        return np.asarray(made, dtype=object)

    def _common_words(self) -> NDArray[np.object_]:
        random = np.random.default_rng(0)
        logs = np.log(np.arange(1, _TABLE_SIZE + 1))

        def by_rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.interp(logs, np.log(_RANKS), values)

        def drawn(share: NDArray[np.float64]) -> list[bool]:
            chosen: list[bool] = (random.random(_TABLE_SIZE) < by_rank(share)).tolist()
            return chosen

        punctuated, capital, digits = drawn(_PUNCTUATED), drawn(_CAPITAL), drawn(_DIGITS)
        more = np.maximum(0, by_rank(_TOKENS) - 1 - by_rank(_PUNCTUATED))  # pieces after the first
        n_more = random.poisson(more).tolist()
        marks = random.integers(len(_MARKS), size=_TABLE_SIZE).tolist()
        numbers = np.rint(10 ** random.uniform(0, 4, _TABLE_SIZE)).astype(int).tolist()
        any_word = random.choice(self._words, _TABLE_SIZE).tolist()
        any_piece = cycle(random.choice(self._pieces, _TABLE_SIZE).tolist())
        whole = iter(self._words.tolist())
        made: dict[str, None] = {}
        for i in range(_TABLE_SIZE):
            if digits[i]:
                word = str(numbers[i])
            elif punctuated[i] or n_more[i]:
                word = any_word[i]
            else:  # the tokenizer's words in their order; when all are used, a word with a piece
                word = next(whole, None) or any_word[i] + next(any_piece)
            word += "".join(islice(any_piece, n_more[i]))
            word = word.capitalize() if capital[i] else word
            word = _MARKS[marks[i]].format(word) if punctuated[i] else word
            while word in made:
                word = next(any_piece) + word
            made[word] = None
        return np.array(list(made), dtype=object)


@lru_cache
def _vocabulary() -> _Vocabulary:
    from llm_embedder_data.demo import demo_encoder

    tokenizer = json.loads((Path(demo_encoder()) / "tokenizer.json").read_bytes())
    numbers: dict[str, int] = tokenizer["model"]["vocab"]
    return _Vocabulary(sorted(numbers, key=numbers.__getitem__))
