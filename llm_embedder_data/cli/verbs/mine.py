"""``mine``: write hard negatives of the training queries, which a source names in ``negatives``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lightning.fabric import Fabric
from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.cli.named_encoder import build_embedder, build_encoder, launch
from llm_embedder_data.cli.output_files import (
    check_flag,
    check_output_file,
    check_whole_number,
    output_folder,
    store_folder,
    write_json,
    write_text,
)
from llm_embedder_data.cli.run_objects import build_retrieval_data
from llm_embedder_data.cli.showing import show
from llm_embedder_data.config.negative_limits import LIMITS
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.core.file_errors import writing
from llm_embedder_data.core.file_names import file_names
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.inspection.mining_page import mining_page
from llm_embedder_data.mining.embeddable_texts import PromptedTexts
from llm_embedder_data.mining.minable_passages import MinablePassages
from llm_embedder_data.mining.mining import MakeRetriever, Mined, write_mined
from llm_embedder_data.mining.mining import mine as mine_dataset
from llm_embedder_data.mining.mining_data import MinedQueries, MiningData
from llm_embedder_data.mining.mining_report import mining_report
from llm_embedder_data.mining.retrievers import DenseRetriever, Retriever, WordRetriever
from llm_embedder_data.mining.run_merging import merge_runs
from llm_embedder_data.mining.store_filling import Share
from llm_embedder_data.rows.settings.cache_folder import cache_folder
from llm_embedder_data.rows.side_cars.scores_beside import path_beside
from llm_embedder_data.rows.sources.sources import SIDE_CARS

Kind = Literal["encoder", "bm25"]


def mine(cfg: DictConfig) -> None:
    """Mine negatives for ``data.train_data``, or merge files of negatives; write them to ``out``.

    Raises:
        ConfigError: a setting cannot be used.
        DataError: the data cannot be read.
    """
    out, depth = _checked_out(cfg.out), cfg.depth
    check_whole_number("depth", depth, 1)
    check_choice(cfg.kind, Kind, "kind")
    check_flag("exclude_answers", cfg.exclude_answers)
    for name in ("json", "html"):
        check_output_file(name, cfg[name])
    if cfg.merge is not None:
        _merge(cfg, out, depth)
        return
    kept_store = None if cfg.store is None else store_folder("store", cfg.store)
    limits = _take_limits(cfg)
    fabric = launch(cfg)
    datamodule = _open_data(cfg, fabric)
    work = out / ".mining" if _is_folder(out) else out.with_name(f".{out.name}.mining")
    makes = _retrievers(cfg, datamodule, fabric, kept_store or work / "store")
    datasets = []
    to_mine = datamodule.data_to_mine(with_answers=cfg.exclude_answers)
    if _is_folder(out):
        file_names(to_mine, ".tsv", "out")  # refused before an hour of mining, not after
    with _progress_line(fabric.is_global_zero) as progress:
        for data in to_mine.values():
            datasets.append(
                mine_dataset(
                    data,
                    makes,
                    work / "blocks",
                    depth=depth,
                    share=Share(fabric.global_rank, fabric.world_size),
                    progress=progress,
                )
            )
            fabric.barrier()
    if fabric.is_global_zero:
        _write(cfg, out, datasets, limits, datamodule)
        shutil.rmtree(work, ignore_errors=True)
    fabric.barrier()


# -- settings --------------------------------------------------------------------------------------


def _is_folder(out: Path) -> bool:
    return os.path.isdir(out) or not out.suffix


def _checked_out(out: Any) -> Path:
    if not isinstance(out, str) or not out.strip():
        raise ConfigError(
            f"out={out!r}: expected a file for the negatives, such as run.tsv, or a folder"
        )
    path = with_home(out).absolute()
    if _is_folder(path):
        return output_folder("out", out, "files of negatives").absolute()
    if path.suffix != ".tsv":
        raise ConfigError(f"out={out!r}: expected a file that ends in .tsv, or a folder")
    check_output_file("out", out)
    return path


def _take_limits(cfg: DictConfig) -> dict[str, Any]:
    """Remove the limits on negatives from ``cfg`` and return them; they act at load, not here."""
    limits = {name: cfg.data.get(name) for name in LIMITS if cfg.data.get(name) is not None}
    for name, limit in limits.items():
        if OmegaConf.is_config(limit):
            raise ConfigError(
                f"data.{name}: mine shows what one limit does, not a limit that changes (give a "
                "number)"
            )
        cfg.data[name] = None
    return limits


# -- parts -----------------------------------------------------------------------------------------


def _open_data(cfg: DictConfig, fabric: Fabric) -> RetrievalDataModule:
    """Return the data module with all rows, without negatives from earlier runs of ``mine``."""
    if cfg.data.get("train_data") is None:
        raise ConfigError("data.train_data=None: there are no queries to mine for (give data)")
    cfg.data.eval_data = None
    OmegaConf.set_struct(cfg, False)
    cfg.data.train_data = _without_side_cars(
        OmegaConf.to_object(OmegaConf.create({"train_data": cfg.data.train_data}))
    )["train_data"]
    cfg.data.batch_size = 1  # nothing is trained, so no data set is too small
    cfg.data.on_no_negatives = "keep"
    cfg.data.tokenize = "on-the-fly"
    datamodule = build_retrieval_data(cfg)
    if fabric.is_global_zero:
        datamodule.prepare_data()
    fabric.barrier()
    datamodule.setup("fit")
    return datamodule


def _without_side_cars(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {n: _without_side_cars(entry) for n, entry in value.items() if n not in SIDE_CARS}
    if isinstance(value, list):
        return [_without_side_cars(entry) for entry in value]
    return value


def _retrievers(
    cfg: DictConfig, datamodule: RetrievalDataModule, fabric: Fabric, store: Path
) -> MakeRetriever:
    if cfg.kind == "bm25":
        return lambda data, passages, queries: WordRetriever(passages, queries.texts)
    encoder = build_encoder(cfg, datamodule, fabric.device)

    def make(data: MiningData, passages: MinablePassages, queries: MinedQueries) -> Retriever:
        if fabric.is_global_zero:
            show("\n".join(_choices(data, datamodule)))
        prompted_passages = PromptedTexts(passages.further, data.key_prompt, data.key_max_length)
        prompted_queries = PromptedTexts(queries.texts, data.query_prompt, data.query_max_length)
        return DenseRetriever(
            passages,
            queries.texts,
            build_embedder(cfg, encoder, datamodule, prompted_passages),
            build_embedder(cfg, encoder, datamodule, prompted_queries),
            store,
            show_progress=True,
        )

    return make


def _choices(data: MiningData, datamodule: RetrievalDataModule) -> Iterator[str]:
    prompts = [
        f"{prompt!r}" if prompt else "none" for prompt in (data.query_prompt, data.key_prompt)
    ]
    yield (
        f"{one_line(data.name)}: prompts: query {prompts[0]}, passage {prompts[1]} "
        f"({one_line(datamodule.recipe.origin)}; data.recipe changes them); at most "
        f"{data.query_max_length} and {data.key_max_length} tokens (data.query_max_length, "
        "data.key_max_length)"
    )
    if not data.corpora:
        yield (
            f"{one_line(data.name)}: no corpus is named, so the candidates of its rows are "
            "searched (data.corpus, or corpus: of the source)"
        )


# -- output ----------------------------------------------------------------------------------------


def _write(
    cfg: DictConfig,
    out: Path,
    datasets: list[Mined],
    limits: Mapping[str, Any],
    datamodule: RetrievalDataModule,
) -> None:
    cache = cache_folder(datamodule.cache_dir)
    if _is_folder(out):
        with writing(out, "out"):
            out.mkdir(parents=True, exist_ok=True)
        names = file_names((mined.name for mined in datasets), ".tsv", "out")
        runs = {out / names[mined.name]: [mined] for mined in datasets}
    else:
        runs = {out: datasets}
    for run, of_run in runs.items():
        with writing(run, "out"):
            write_mined(run, of_run, cache)
    reports = {mined.name: mining_report(mined, limits) for mined in datasets}
    for name, report in reports.items():
        for what, number in report["counts"].items():
            if number:
                show(f"{one_line(name)}: {number:,} {what}")
        for limit, number in report["left_out"].items():
            show(f"{one_line(name)}: data.{limit}={limits[limit]} would leave out {number:,}")
    for run in runs:
        show(f"negatives: {run}, scores of positives: {path_beside(run)}")
    if cfg.json:
        write_json("json", cfg.json, reports)
    if cfg.html:
        write_text("html", cfg.html, mining_page(reports))


def _merge(cfg: DictConfig, out: Path, depth: int) -> None:
    runs = OmegaConf.to_container(cfg.merge) if OmegaConf.is_list(cfg.merge) else [cfg.merge]
    assert isinstance(runs, list)
    if len(runs) < 2 or not all(isinstance(run, str) for run in runs):
        raise ConfigError(f"merge={runs!r}: expected a list of at least two files of negatives")
    if _is_folder(out):
        raise ConfigError(f"out={cfg.out!r}: merged negatives are one file (name it, as run.tsv)")
    cache = cache_folder(cfg.data.cache_dir)
    with writing(out, "out"):
        n_negatives, notes = merge_runs([with_home(run) for run in runs], out, depth, cache)
    for note in notes:
        show(note)
    show(
        f"{n_negatives:,} negatives of {len(runs)} files, merged by their ranks: {out}, scores of "
        f"positives: {path_beside(out)}"
    )


@contextmanager
def _progress_line(is_shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that prints the number of queries done, on a terminal."""
    is_shown = is_shown and sys.stderr.isatty()

    def progress(what: str, done: int, of: int) -> None:
        if is_shown:
            sys.stderr.write(f"\r\x1b[K{one_line(what)}: {done:,} of {of:,} queries")
            sys.stderr.flush()

    try:
        yield progress
    finally:
        if is_shown:
            sys.stderr.write("\r\x1b[K")
