"""Sources written, and datasets built from them, for the tests of datasets."""

import itertools
import json

from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.rows.corpora import build_corpus
from llm_embedder_data.rows.eval_sets import build_eval_sets
from llm_embedder_data.rows.schema.evaluation import eval_fields
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS
from llm_embedder_data.rows.selection.train_settings import TrainSettings
from llm_embedder_data.rows.settings.key_templates import template_fields
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.sources import resolve_sources
from llm_embedder_data.rows.train_sets import build_train_sets

COUNT = itertools.count()
ROW = {"query": "q", "pos": ["p"], "neg": ["n", "m"]}

SCORED = {**ROW, "teacher_scores": [3.0, 2.0, 1.0]}

BEST = {**ROW, "teacher_scores": [9.0, 2.0, 1.0]}


def write(folder, lines, name="train.jsonl"):
    path = folder / str(next(COUNT)) / "qa" / name
    path.parent.mkdir(parents=True)
    lines = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(lines))
    return path


def train(
    path,
    *,
    source=None,
    recipe="llm_embedder",
    default_task="qa",
    on_bad_row="raise",
    on_no_negatives="drop",
    seed=42,
    settings=None,
    asked=None,
    **given,
):
    """The training sets of a file, in ``path``'s own cache."""
    asked = frozenset(given if asked is None else asked)
    [resolved] = resolve_sources(
        {"path": str(path), **(source or {})}, setting="data.train_data", fields=TRAIN_FIELDS
    )
    return build_train_sets(
        resolved,
        ReadingSettings(
            load_recipe(recipe),
            default_task=default_task,
            on_bad_row=on_bad_row,
            cache_dir=path.parent / "cache",
        ),
        settings_of=settings
        or (
            lambda task: TrainSettings(**given, asked=frozenset(given if asked is None else asked))
        ),
        on_no_negatives=on_no_negatives,
        seed=seed,
    )


def evaluate(path, method="retrieve", **more):
    [source] = resolve_sources(str(path), setting="data.eval_data", fields=eval_fields(method))
    return build_eval_sets(
        source,
        ReadingSettings(load_recipe("llm_embedder"), cache_dir=path.parent / "cache", **more),
        eval_method=method,
    )


def corpus(path, template="{title} {text}", **more):
    [source] = resolve_sources(
        {"path": str(path), **more.pop("source", {})},
        setting="data.corpus",
        fields=template_fields(template),
        options=("format", "key_template"),
    )
    return build_corpus(
        source,
        ReadingSettings(load_recipe("bge"), cache_dir=path.parent / "cache", **more),
        key_template=template,
    )
