"""A dataset whose items are whole batches of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import Dataset

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.sampler import BatchIndex
from llm_embedder_data.core.errors import DataError

# How many rows to look ahead for steps that can be made together. Only row numbers are held in
# memory, no texts or tokens.
_ROWS_AHEAD = 8192


class WholeBatches(Dataset[Any]):
    """A dataset whose items are whole batches; errors name the batch that they come from.

    Args:
        dataset: maps an index to the rows of a batch: training groups, eval queries or passages.
            Its ``mapped`` has the files that they are read from.
        collate: turns these rows into the tensors of a batch.
    """

    def __init__(self, dataset: Any, collate: RetrievalDataCollator) -> None:
        self.dataset, self.collate = dataset, collate

    def __repr__(self) -> str:
        return f"{self.dataset!r}"

    def __getitem__(self, index: Any) -> Any:
        try:
            batch = self.collate(self.dataset[index])
        except Exception as error:
            self._refuse_cut_off_files(index)  # a truncated file can cause any error
            # A note, because it reaches the training process with the error, whose type it keeps.
            error.add_note(f"(in making the batch of {_location(index)})")
            raise
        self._refuse_cut_off_files(index)
        return batch

    def in_turn(self, indices: Iterator[Any]) -> Iterator[Any]:
        """Yield the batch of each index, in the order of ``indices``.

        It takes the next few steps at a time and groups them by pass over a dataset. The batches of
        a group are made together, which is faster because their rows and tokens are looked up in
        one call. (Random choices depend on the pass, so batches of two passes are not made
        together.)
        """
        # Rows of streamed sets should not be requested long before their step: they would have to
        # be fetched too early.
        if not isinstance(self.dataset, TrainGroups) or self.dataset.is_streamed:
            yield from map(self.__getitem__, indices)
            return
        n_steps = 1  # make the first batch alone, so that it does not wait for others
        while steps := list(islice(indices, n_steps)):
            n_steps = max(1, _ROWS_AHEAD // len(steps[0].rows))
            of_pass: dict[Any, list[BatchIndex]] = {}
            for index in steps:
                of_pass.setdefault(_pass_of(index), []).append(index)
            batches = {key: self._made_together(group) for key, group in of_pass.items()}
            for index in steps:
                yield next(batches[_pass_of(index)])

    def _made_together(self, indices: Sequence[BatchIndex]) -> Iterator[Any]:
        """Yield the batches of one pass over a dataset.

        If one fails, the remaining ones are made one by one, so that the error is raised at the
        right step and names the right batch.
        """
        batches = self.collate.several(
            self.dataset.several(indices), lambda: self._refuse_cut_off_files(indices[0])
        )
        made = []  # a plain variable would keep the memory of a batch until the next one is made
        for position in range(len(indices)):
            try:
                made.append(next(batches))
            except Exception:
                # Make this batch alone: the one that failed may be a later one.
                yield from map(self.__getitem__, indices[position:])
                return
            yield made.pop()

    def _refuse_cut_off_files(self, index: Any) -> None:
        """Check that no memory-mapped file of the batch's dataset has been truncated.

        Data read beyond the new end would be zeros. The check costs one ``os.stat`` per file of the
        dataset, some microseconds: up to a twentieth of a step with cached tokens.

        Raises:
            DataError: a file has been truncated.
        """
        mapped = self.dataset.mapped
        files = mapped[index.dataset] if isinstance(index, BatchIndex) else mapped
        if (path := files.cut_off()) is not None:
            raise DataError.at(
                path,
                "the cache file was truncated while it was in use, so the batch of "
                f"{_location(index)} may be wrong (start again, which writes the file anew)",
            )


class SizedBatches(WholeBatches):
    """Whole batches of a dataset with a known number of rows."""

    def __len__(self) -> int:
        """Return the number of rows, not of batches."""
        return len(self.dataset)


def _pass_of(index: BatchIndex) -> tuple[str, int, int]:
    """Return the key of the pass over a dataset that a batch belongs to."""
    return index.dataset, index.epoch, index.repeat


def _location(index: Any) -> str:
    if isinstance(index, BatchIndex):
        return f"dataset {index.dataset!r}, epoch {index.epoch}, step {index.step}"
    return f"rows {index[0]} to {index[-1]}" if len(index) else "no row"
