"""``evaluate``: retrieval metrics of a model in one call, without a Trainer."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import move_data_to_device
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.core.printable import one_line, printable
from llm_embedder_data.mining.rankings import write_rankings
from llm_embedder_data.mining.search import Precision as SearchPrecision
from llm_embedder_data.mining.text_embedder import Precision
from llm_embedder_data.training.bi_encoder import BiEncoder
from llm_embedder_data.training.evaluation.eval_sources import EvalSources
from llm_embedder_data.training.evaluation.evaluator import EvalRun, Evaluation, RetrievalEvaluator
from llm_embedder_data.training.stored_embeddings import stored_loaders

_log = logging.getLogger(__name__)


def evaluate(
    model: BiEncoder,
    datamodule: LightningDataModule,
    *,
    cutoffs: Sequence[int] | None = None,
    drop_identical_ids: bool | None = None,
    search_precision: SearchPrecision | None = None,
    device: torch.device | str | None = None,
    run_file: str | os.PathLike[str] | None = None,
    metrics_file: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    show_progress: bool = True,
) -> Evaluation:
    """Measure a model on the eval data of a data module.

    The metrics equal those of ``Trainer.validate``, but are not rounded to float32. If a
    torch.distributed group is initialized, all ranks must call this function: each encodes its
    share, and all return the same metrics.

    Args:
        model: the model; its mode and device are restored afterwards. Wrap the call in
            ``torch.autocast`` to encode in a lower precision.
        datamodule: a data module with eval data, and a corpus to search.
        cutoffs: the k of metrics such as nDCG@k; None: the model's.
        drop_identical_ids: remove the document with the query's id from the query's results; None:
            the model's setting.
        search_precision: precision of the search: float32, tf32 or bf16; None: the model's setting.
        device: where to encode and search; None: the model's device.
        run_file: file to write the best passages of each query to: TSV if its name ends in
            ``.tsv``, otherwise TREC. If there are several eval sets, each has a file of its own,
            such as ``run.<eval set>.trec``.
        metrics_file: JSON file to write ``{eval set: {metric: value}}`` to.
        store: folder of embedding stores, as ``embed`` and ``mine`` write them. Embeddings are read
            from a store with the same fingerprint; those that it lacks are computed and added to
            it. None: all embeddings are computed, and none is kept.
        show_progress: whether to show progress bars.

    Returns:
        The metrics by eval set, their means, and the rankings.

    Raises:
        ConfigError: there is nothing to evaluate on; or ``run_file`` is given, but two queries have
            the same id or the corpus is a sample; or ``store`` is given, but the evaluation reranks
            candidates.
        DataError: an id cannot be written to ``run_file``.
        OSError: a file cannot be written.
    """
    datamodule.prepare_data()
    datamodule.setup("validate")
    loaders = _by_name(datamodule.val_dataloader())
    evaluator = model.evaluator.like(
        cutoffs=cutoffs, drop_identical_ids=drop_identical_ids, precision=search_precision
    )
    evaluator.keeps_rankings = True
    evaluator.run_file = run_file
    sources = EvalSources.of_loaders(loaders.values())
    evaluator.reset(sources)
    is_parallel = dist.is_available() and dist.is_initialized()
    is_first = not is_parallel or dist.get_rank() == 0
    with _evaluating(model, evaluator, device):
        if store is not None:
            model.check_data_module(datamodule)
            loaders = stored_loaders(
                loaders,
                model,
                datamodule,
                with_home(store),
                precision=_autocast_precision(model.device),
                say=_log.info if is_first else lambda sentence: None,
                show_progress=show_progress,
            )
    with _evaluating(model, evaluator, device), _bars(show_progress and is_first) as bar:
        for number, (name, loader) in enumerate(loaders.items()):
            for batch in _tracked(loader, bar(f"encoding {name}", len(loader))):
                model.validation_step(move_data_to_device(batch, model.device), 0, number)
        run = EvalRun(
            device=model.device,
            sources=sources,
            n_ranks=dist.get_world_size() if is_parallel else 1,
            progress=lambda name, n_passages: bar(f"searching {name}", n_passages),
        )
        found = evaluator.measure(run, lambda note: _log.warning(printable(note)))
    if is_first and run_file is not None:
        write_rankings(run_file, found.rankings)
    if is_first and metrics_file is not None:
        Path(metrics_file).parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(Path(metrics_file)) as file:
            file.write((json.dumps(found.metrics, indent=2) + "\n").encode())
    return found


# --------------------------------------------------------------------------------------------------


def _by_name(loaders: Any) -> Mapping[str, Any]:
    return loaders if isinstance(loaders, Mapping) else {"eval data": loaders}


def _autocast_precision(device: torch.device) -> Precision:
    """Return the precision that ``torch.autocast``, if it is on, sets for encoding."""
    if not torch.is_autocast_enabled(device.type):
        return "32-true"
    dtype = torch.get_autocast_dtype(device.type)
    return "bf16-mixed" if dtype == torch.bfloat16 else "16-mixed"


@contextmanager
def _evaluating(
    model: BiEncoder, evaluator: RetrievalEvaluator, device: torch.device | str | None
) -> Iterator[None]:
    """Prepare a model for an evaluation; restore its evaluator, mode and device afterwards."""
    was_training, before, old_device = model.training, model.evaluator, model.device
    try:
        model.evaluator = evaluator
        model.eval()
        model.to(old_device if device is None else device)
        with torch.inference_mode():
            yield
    finally:
        model.evaluator = before
        model.train(was_training)
        model.to(old_device)


@contextmanager
def _bars(show: bool) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Yield a function that adds a progress bar and returns a function that advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not show
    ) as progress:

        def bar(description: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(one_line(description), total=total)
            return lambda n_done: progress.advance(task, n_done)

        yield bar


def _tracked(loader: Iterable[Any], advance: Callable[[int], None]) -> Iterator[Any]:
    for batch in loader:
        yield batch
        advance(1)
