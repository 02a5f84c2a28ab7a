"""Short descriptions of a data module's settings and datasets, for its ``repr`` and ``str``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from reprlib import Repr
from typing import Any

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxdict = _SHORT.maxlist = 4
_KINDS = {"train_data": "train", "eval_data": "eval", "corpus": "corpus"}


def in_a_line(name: str, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Describe a data module by the settings that differ from their defaults.

    Args:
        name: the name of the class.
        settings: settings by name, in plain Python.
        defaults: the defaults of all settings, by name.
    """
    shown = ", ".join(
        f"{key}={_SHORT.repr(value)}"
        for key, value in settings.items()
        if key == "tokenizer" or value != defaults[key]
    )
    return f"{name}({shown})"


def sources_in_lines(settings: Mapping[str, Any]) -> list[str]:
    """Describe the sources of data that is not opened yet, a line for each kind of data.

    Args:
        settings: settings by name, in plain Python.
    """
    return [
        f"{kind}: {_sources(settings[key])} (not set up)"
        for key, kind in _KINDS.items()
        if settings[key] is not None
    ]


def datasets_in_lines(
    train: Iterable[TrainSet],
    evals: Iterable[EvalSet],
    corpora: Iterable[Corpus],
    plan: EpochPlan | str | None,
    eval_batch_size: int,
) -> list[str]:
    """Describe the open datasets, with their sizes and batches.

    Args:
        train: the training sets.
        evals: the eval sets.
        corpora: the corpora.
        plan: the plan of any epoch; if there can be no plan, the reason; None without training
            data.
        eval_batch_size: queries or passages per rank and step.
    """
    lines = []
    sizes = plan.batch_size if isinstance(plan, EpochPlan) else {}
    parts = [
        f"{train_set.name!r} {_count(len(train_set.kept), 'row')}"
        + (f" in batches of {sizes[train_set.name]}" if train_set.name in sizes else "")
        for train_set in train
    ]
    if parts:
        lines.append("train: " + _listed(parts))
    if isinstance(plan, EpochPlan):
        ranks = _count(plan.num_replicas, "rank")
        lines.append(f"  {_count(len(plan), 'step')} an epoch on {ranks}, seed {plan.seed}")
    elif plan:
        lines.append(f"  no plan: {plan}")
    for kind, datasets, unit in (("eval", evals, "query"), ("corpus", corpora, "passage")):
        parts = [f"{dataset.name!r} {_count(len(dataset.kept), unit)}" for dataset in datasets]
        if parts:
            lines.append(f"{kind}: {_listed(parts)}, in batches of {eval_batch_size}")
    return lines


def _sources(data: Any) -> str:
    """Return the names of named sources, or a short form of the other sources."""
    if isinstance(data, Mapping) and "path" not in data:
        return _listed([repr(name) for name in data])
    if isinstance(data, list):
        return _listed([_SHORT.repr(source) for source in data])
    return _SHORT.repr(data)


def _listed(parts: list[str]) -> str:
    more = f", and {len(parts) - 8} more" if len(parts) > 9 else ""
    return ", ".join(parts[:8] if more else parts) + more


def _count(number: int, unit: str) -> str:
    plural = f"{unit[:-1]}ies" if unit == "query" else f"{unit}s"
    return f"{number:,} {unit if number == 1 else plural}"
