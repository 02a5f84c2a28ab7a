"""A dataset of whole batches: an index in, a batch out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import Dataset

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.sampler import BatchIndex
from llm_embedder_data.core.errors import DataError

# How many rows ahead to look for other steps of a dataset. Only row numbers are kept.
_ROWS_AHEAD = 8192


class WholeBatches(Dataset[Any]):
    """Whole batches by index; an error says which batch it comes from."""

    def __init__(self, dataset: Any, collate: RetrievalDataCollator) -> None:
        self.dataset, self.collate = dataset, collate

    def __repr__(self) -> str:
        return f"{self.dataset!r}"

    def __getitem__(self, index: Any) -> Any:
        try:
            batch = self.collate(self.dataset[index])
        except Exception as error:
            self._refuse_cut_off_files(index)  # a cut-off file explains any error
            # Add a note: it leaves the worker with the message, and keeps the error's type.
            error.add_note(f"(in making the batch of {_location(index)})")
            raise
        self._refuse_cut_off_files(index)
        return batch

    def in_turn(self, indices: Iterator[Any]) -> Iterator[Any]:
        """Make the batches of indices; nearby batches of one dataset are made together."""
        if not isinstance(self.dataset, TrainGroups):
            yield from map(self.__getitem__, indices)
            return
        n_ahead = 1  # do not let the first batch wait for others
        while ahead := list(islice(indices, n_ahead)):
            n_ahead = max(1, _ROWS_AHEAD // len(ahead[0].rows))
            alike: dict[Any, list[BatchIndex]] = {}
            for index in ahead:
                alike.setdefault(_pass_of(index), []).append(index)
            batches = {key: self._together(same) for key, same in alike.items()}
            for index in ahead:
                yield next(batches[_pass_of(index)])

    def _together(self, indices: Sequence[BatchIndex]) -> Iterator[Any]:
        batches = self.collate.several(self.dataset.several(indices))
        made = []  # a variable would keep the batch's memory until the dataset's next batch
        for position, index in enumerate(indices):
            try:
                made.append(next(batches))
                self._refuse_cut_off_files(index)
            except Exception:
                # Maybe a later batch failed. Made one by one, the earlier ones come through.
                yield from map(self.__getitem__, indices[position:])
                return
            yield made.pop()

    def _refuse_cut_off_files(self, index: Any) -> None:
        if (path := self.dataset.cut_off(index)) is not None:
            raise DataError.at(
                path,
                "the cache was cut off while it was in use, so what was read of it for the batch "
                f"of {_location(index)} may be wrong (start again, which writes it anew)",
            )


class SizedBatches(WholeBatches):
    """Whole batches of a dataset with a known number of rows."""

    def __len__(self) -> int:
        """Return the number of rows, not of batches."""
        return len(self.dataset)


def _pass_of(index: BatchIndex) -> tuple[str, int, int]:
    return index.dataset, index.epoch, index.repeat


def _location(index: Any) -> str:
    if isinstance(index, BatchIndex):
        return f"dataset {index.dataset!r}, epoch {index.epoch}, step {index.step}"
    return f"rows {index[0]} to {index[-1]}" if len(index) else "no row"
