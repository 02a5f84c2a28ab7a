"""``score``: write teacher scores of training rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from llm_embedder_data.cli.bi_encoder_teacher import bi_encoder_teacher
from llm_embedder_data.cli.named_encoder import launch
from llm_embedder_data.cli.output_files import check_output_file, store_folder
from llm_embedder_data.cli.run_objects import overridden_keys
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.mining.rank_group import ranks_fail_together
from llm_embedder_data.mining.scoring.bi_encoders import BiEncoderTeacher
from llm_embedder_data.mining.scoring.building import (
    Kind,
    TeacherSettings,
    build_teacher,
    kind_of_teacher,
)
from llm_embedder_data.mining.scoring.score_parts import ScoreParts
from llm_embedder_data.mining.scoring.scored_rows import RowsToScore
from llm_embedder_data.mining.scoring.scoring import (
    ScoringPlan,
    parts_of_scores,
    plan_parts,
    score_parts,
)
from llm_embedder_data.mining.scoring.teacher import Teacher
from llm_embedder_data.mining.store_filling import Share
from llm_embedder_data.rows.settings.key_templates import unless_default

# Settings that a single kind of teacher reads.
_OF_KIND = {
    "instruction": "yes-no",
    "yes_word": "yes-no",
    "no_word": "yes-no",
    "activation": "cross-encoder",
}


def score(cfg: DictConfig) -> None:
    """Write the teacher's scores of ``data.train_data`` to ``out``.

    Raises:
        ConfigError: a setting cannot be used.
        DataError: the data cannot be read or scored, or a file cannot be written.
    """
    name, out = _checked_teacher(cfg), _checked_out(cfg.out)
    share = Share() if cfg.shard is None else Share.parse(cfg.shard)
    settings = _settings(cfg, name)
    store = _checked_store(cfg, settings.kind)
    rows = _rows(cfg, needs_answers=settings.kind == "likelihood")
    fabric = launch(cfg)
    on_accelerator = fabric.device.type != "cpu"
    plan = plan_parts(rows, cfg.inputs_per_part)
    show(rows.report)
    if (templates := settings.templates()) is not None:
        for task in plan.tasks:
            templates.of(task)  # refuse a task without a template before weights are loaded
    teacher = _teacher(name, settings, cfg, on_accelerator=on_accelerator)
    parts = parts_of_scores(teacher, plan, out)
    missing = parts.missing()
    show(_choices(name, settings, teacher, plan, fabric))
    if len(missing) < parts.n_parts:
        show(f"{parts.n_parts - len(missing):,} of {parts.n_parts:,} parts are there from before")
    left = [part for part in share.of(parts.n_parts) if part in {*missing}]
    fabric.barrier()  # no rank writes a part before all ranks have listed the missing parts
    began = time.monotonic()
    teacher.model.to(fabric.device)
    with ranks_fail_together() as (rank, n_ranks):
        if left and isinstance(teacher, BiEncoderTeacher):
            folder = parts.folder / "embeddings" if store is None else store
            say = None if store is None else show
            teacher.embed(rows, folder, share, say=say, show_progress=True)
        of_rank = left[rank::n_ranks]
        n_inputs = sum(plan.n_inputs[part] for part in of_rank)
        with _progress_bar(n_inputs, is_shown=rank == 0) as progress:
            score_parts(of_rank, rows, teacher, plan, parts, progress)
    if fabric.is_global_zero:
        n_new = sum(plan.n_inputs[part] for part in left)
        _finish(parts, out, n_new, time.monotonic() - began)


# --------------------------------------------------------------------------------------------------


def _checked_teacher(cfg: DictConfig) -> str:
    if cfg.teacher == "demo":
        return demo_encoder()
    if not isinstance(cfg.teacher, str) or not cfg.teacher.strip():
        raise ConfigError(
            f"teacher={cfg.teacher!r}: expected the model that scores (a folder, or a name on the "
            "Hugging Face hub)"
        )
    return cfg.teacher


def _checked_out(out: Any) -> Path:
    if not isinstance(out, str) or Path(out).suffix != ".jsonl":
        raise ConfigError(f"out={out!r}: expected a file for the scores, which ends in .jsonl")
    check_output_file("out", out)
    return with_home(out).absolute()


def _checked_store(cfg: DictConfig, kind: Kind) -> Path | None:
    if cfg.store is None:
        return None
    if kind != "bi-encoder":
        raise ConfigError(
            f"store={cfg.store!r}: kind={kind} has no embeddings to store, as bi-encoder has "
            "(leave store out)"
        )
    return store_folder("store", cfg.store)


def _settings(cfg: DictConfig, teacher: str) -> TeacherSettings:
    names = [field.name for field in fields(TeacherSettings) if field.name != "kind"]
    given = {name: cfg[name] for name in names}
    if OmegaConf.is_config(given["template"]):
        given["template"] = OmegaConf.to_container(given["template"])
    settings = TeacherSettings(kind=kind_of_teacher(teacher, cfg.kind), **given)
    for name in sorted(overridden_keys() & {*_OF_KIND}):
        if settings.kind != _OF_KIND[name]:
            raise ConfigError(
                f"{name}={given[name]!r}: only kind={_OF_KIND[name]} reads it, and "
                f"kind={settings.kind} is in force (leave it out, or give another kind)"
            )
    return settings


def _rows(cfg: DictConfig, *, needs_answers: bool) -> RowsToScore:
    data = OmegaConf.to_container(cfg.data, resolve=True)
    assert isinstance(data, dict)
    if data.get("train_data") is None:
        raise ConfigError("data.train_data=null: there are no rows to score (name training data)")
    template = data["key_template"]
    return RowsToScore(
        _with_corpora(data["train_data"], data["corpus"]),
        needs_answers=needs_answers,
        default_task=data["default_task"],
        settings={
            "data_root": data["data_root"],
            "cache_dir": data["cache_dir"],
            "on_bad_row": data["on_bad_row"],
            "key_template": unless_default(template),
        },
    )


def _with_corpora(source: Any, corpus: Any) -> Any:
    """Add ``data.corpus`` to sources with ``negatives``, so that documents are found as in fit.

    A source that names a ``corpus`` keeps it. For any other source, documents are looked up in the
    corpus of ``data.corpus`` that has the dataset's name, or in all corpora if none has it.
    """
    if corpus is None or not isinstance(source, dict):
        return source
    if "path" in source:
        needs_corpus = "negatives" in source and source.get("corpus") is None
        return {**source, "corpus": corpus} if needs_corpus else source
    is_named = isinstance(corpus, dict) and "path" not in corpus
    return {
        name: _with_corpora(entry, corpus.get(name, corpus) if is_named else corpus)
        for name, entry in source.items()
    }


def _teacher(
    name: str, settings: TeacherSettings, cfg: DictConfig, *, on_accelerator: bool
) -> Teacher:
    if settings.kind != "bi-encoder":
        return build_teacher(name, settings, on_accelerator=on_accelerator)
    return bi_encoder_teacher(cfg, name, settings, on_accelerator=on_accelerator)


def _choices(
    name: str, settings: TeacherSettings, teacher: Teacher, plan: ScoringPlan, fabric: Fabric
) -> str:
    """Return a line on the settings in force, and how to change them."""
    dtype = str(settings.torch_dtype(fabric.device.type != "cpu")).removeprefix("torch.")
    return (
        f"kind={settings.kind}, dtype={dtype}, {fabric.world_size} x "
        f"{fabric.device.type}, {teacher.described(plan.tasks)} "
        f"({name}; see llm-embedder-data score --help)"
    )


def _finish(parts: ScoreParts, out: Path, n_new: int, seconds: float) -> None:
    """Join the parts, and print what was scored."""
    if n_new:
        rate = n_new / seconds
        show(f"{n_new:,} inputs scored in {seconds:,.1f} s ({rate:,.1f} a second)")
    counts = parts.join()
    if counts is None:
        missing = len(parts.missing())
        show(
            f"{parts.n_parts - missing:,} of {parts.n_parts:,} parts are there; the job that "
            f"writes the last one writes {out}"
        )
        return
    others = [f"{n:,} {what}" for what, n in counts.items() if what not in ("rows", "inputs") and n]
    show("; ".join([f"{counts['rows']:,} rows written to {out}", *others]))
    for folder in parts.others():
        show(
            f"parts of other settings or rows are left in {folder} (delete it, if nobody needs it)"
        )


@contextmanager
def _progress_bar(n_inputs: int, *, is_shown: bool) -> Iterator[Callable[[int], None]]:
    """Show this rank's progress on a terminal; yield a function that advances the bar."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("scoring"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} inputs"),
        _Rate(),
        TimeRemainingColumn(),
        disable=not (is_shown and console.is_terminal),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task("", total=n_inputs)
        yield lambda n: progress.advance(bar, n)


class _Rate(ProgressColumn):
    """A column with the number of inputs per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.1f}/s")
