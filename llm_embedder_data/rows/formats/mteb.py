"""MTEB's repositories of retrieval tasks: configs of corpus, queries and judgments, as tables.

The records of the configs ``corpus``, ``queries``, ``default`` (or ``qrels``), ``top_ranked`` and
``instruction``; the last two are optional::

    {"_id": "d1", "title": "Tides", "text": "Tides follow the moon."}
    {"_id": "q1", "text": "what causes tides"}
    {"query-id": "q1", "corpus-id": "d1", "score": 1}
    {"query-id": "q1", "corpus-ids": ["d1", "d7"]}
    {"query-id": "q1", "instruction": "Find an explanation."}

A folder is known by its configs ``corpus`` and ``queries``. The YAML at the head of the README
names the files of each config; without it, each sub-folder is a config. A repository of several
tasks has configs such as ``TASK-corpus``. ``top_ranked`` has the candidates of each query: they are
reranked in evaluation, and are negatives in training unless they are judged positive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.formats.beir import chosen_split, corpus_texts, query_texts
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.id_text import read_passages
from llm_embedder_data.rows.formats.judgments import eval_rows, train_rows
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.trec import grades_of_folder
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Kind, Row, document_id, ids_of

_TABLES = (".parquet", ".jsonl", ".json", ".arrow", ".gz", ".tsv")

Configs = dict[str, dict[str, list[Path]]]  # {config: {split: files}}


def _is_folder(folder: Path) -> bool:
    configs = configs_of(folder)
    return any(name == "corpus" or name.endswith("-corpus") for name in configs) and any(
        name == "queries" or name.endswith("-queries") for name in configs
    )


def names_candidates(folder: Path) -> bool:
    """Return whether a folder is an MTEB repository with candidates to rerank (``top_ranked``)."""
    return _is_folder(folder) and any(
        name == "top_ranked" or name.endswith("-top_ranked") for name in configs_of(folder)
    )


def configs_of(folder: Path) -> Configs:
    """Return ``{config: {split: files}}`` of a repository, by its README or its sub-folders."""
    readme = folder / "README.md"
    if readme.is_file():
        found = _from_readme(folder, readme)
        if found:
            return found
    configs: Configs = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir():
            name = "default" if path.name == "data" else path.name
            for file in sorted(path.iterdir()):
                if file.suffix in _TABLES:
                    configs.setdefault(name, {}).setdefault(_split(file), []).append(file)
    return configs


def _split(file: Path) -> str:
    return file.name.split(".")[0].split("-")[0]


def _from_readme(folder: Path, readme: Path) -> Configs:
    """Return the configs that the YAML at the head of a README names; {} if there is none."""
    text = readme.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---"):
        return {}
    try:
        front = yaml.safe_load(text.split("---", 2)[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    listed = front.get("configs") if isinstance(front, Mapping) else None
    configs: Configs = {}
    for config in listed if isinstance(listed, list) else []:
        name = config.get("config_name") if isinstance(config, Mapping) else None
        if not isinstance(name, str):
            continue
        for split, patterns in _data_files(config.get("data_files")):
            paths = [path for pattern in patterns for path in _globbed(folder, pattern)]
            if paths:
                configs.setdefault(name, {})[split] = paths
    for name in ("top_ranked", "instruction"):  # some repositories do not name them
        if name not in configs and (folder / name).is_dir():
            for file in sorted((folder / name).iterdir()):
                configs.setdefault(name, {}).setdefault(_split(file), []).append(file)
    return configs


def _data_files(value: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield (split, patterns of paths) for each entry of ``data_files``.

    Args:
        value: a list of ``{"split": ..., "path": ...}``, or a pattern, which is of the split test.
    """
    for entry in value if isinstance(value, list) else [{"split": "test", "path": value}]:
        if isinstance(entry, str):
            entry = {"split": "test", "path": entry}
        if isinstance(entry, Mapping):
            path = entry.get("path")
            patterns = path if isinstance(path, list) else [path]
            yield (
                str(entry.get("split")),
                [pattern for pattern in patterns if isinstance(pattern, str) and pattern],
            )


def _globbed(folder: Path, pattern: str) -> list[Path]:
    """Return the files that match a pattern, never any outside the folder."""
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts or "\0" in pattern:
        return []
    try:
        return sorted(path for path in folder.glob(pattern) if path.is_file())
    except (ValueError, NotImplementedError, OSError):
        return []


def _name(configs: Configs, part: str, parts: Parts) -> str | None:
    """Return the name of the config that holds a part of a task; None if there is none.

    Args:
        configs: the configs of the repository.
        part: ``corpus``, ``queries``, ``default`` (judgments), ``top_ranked`` or ``instruction``.
        parts: the parts of the source; its options name the task.

    Raises:
        ConfigError: the repository holds several tasks, and the user names none.
    """
    names = {"default": ("default", "qrels", "data")}.get(part, (part,))
    task = parts.options.config
    suffix = "qrels" if part == "default" else part
    if task is not None:
        of_task = [name for name in configs if name in (f"{task}-{suffix}", f"{task}-{part}")]
        if of_task:
            return of_task[0]
        if task in configs and part == "default":
            return task
    for name in names:
        if name in configs:
            return name
    of_tasks = [name for name in configs if name.endswith(f"-{suffix}")]
    if task is None and len(of_tasks) > 1:
        tasks = ", ".join(name.removesuffix(f"-{suffix}") for name in of_tasks)
        raise ConfigError(f"{parts.source} holds several tasks: {tasks} (give config: one of them)")
    return of_tasks[0] if of_tasks and task is None else None


def _files(configs: Configs, part: str, parts: Parts, split: str | None) -> list[Path]:
    name = _name(configs, part, parts)
    if name is None:
        return []
    splits = configs[name]
    if split in splits:
        return splits[split or ""]
    return [path for paths in splits.values() for path in paths]


def _checked_configs(parts: Parts) -> Configs:
    """Return the configs of the repository.

    Raises:
        ConfigError: the config that the user names does not exist.
    """
    configs, wanted = configs_of(parts.folder), parts.options.config
    if wanted is not None and not any(
        name == wanted or name.startswith(f"{wanted}-") for name in configs
    ):
        known = ", ".join(sorted(configs)) or "none"
        raise ConfigError(
            f"config={wanted!r}: the configs of {parts.source} are {known} (name one of these, or "
            "what several of them begin with)"
        )
    return configs


def _prepared(parts: Parts, kind: Kind) -> tuple[Configs, str, Parts]:
    configs = _checked_configs(parts)
    judged = _name(configs, "default", parts)
    if judged is None:
        raise DataError.at(
            parts.source, "the repository has no judgments (config default or qrels)"
        )
    split = chosen_split(list(configs[judged]), kind, parts.options.split, parts.source)
    parts.files = [RawFile(str(path)) for path in configs[judged][split]]
    queries = _files(configs, "queries", parts, split)
    corpus = _files(configs, "corpus", parts, split)
    if not queries:
        raise DataError.at(parts.source, "the repository has no queries (config queries)")
    if parts.texts_of_queries is None:
        parts.texts_of_queries = cache(lambda: _as_text(query_texts(parts, queries)))
    if parts.texts_of_corpus is None and corpus:
        parts.texts_of_corpus = cache(lambda: corpus_texts(parts, corpus))
    return configs, split, parts


def _as_text(queries: Mapping[str, tuple[Any, str]]) -> dict[str, tuple[Any, str]]:
    """Return queries whose ids are texts, since MTEB turns all ids into texts."""
    return {query_id: (query_id, text) for query_id, (_, text) in queries.items()}


def _train(parts: Parts) -> Iterator[Row]:
    configs, split, parts = _prepared(parts, "train")
    grades = grades_of_folder(parts)
    others = {
        query: dict.fromkeys(ids) for query, ids in _top_ranked(configs, parts, split).items()
    }
    yield from train_rows(grades, parts, others, _instructions(configs, parts, split))


def _eval(parts: Parts) -> Iterator[Row]:
    configs, split, parts = _prepared(parts, "eval")
    grades = grades_of_folder(parts)
    to_rerank = _top_ranked(configs, parts, split)
    yield from eval_rows(grades, parts, to_rerank, _instructions(configs, parts, split))


def _top_ranked(configs: Configs, parts: Parts, split: str) -> dict[str, list[str]]:
    """Return the ids of the candidates of each query; {} if there are none."""
    return {
        query_id: ids_of(value.get("corpus-ids", value.get("corpus_ids")), "corpus-ids")
        for query_id, value in _by_query_id(_files(configs, "top_ranked", parts, split))
    }


def _instructions(configs: Configs, parts: Parts, split: str) -> dict[str, str]:
    return {
        query_id: value["instruction"]
        for query_id, value in _by_query_id(_files(configs, "instruction", parts, split))
        if isinstance(value.get("instruction"), str) and value["instruction"]
    }


def _by_query_id(files: list[Path]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in files:
        for record in RawFile(str(path)):
            try:
                if not isinstance(record.value, Mapping):
                    raise BadRowError("expected an object with query-id")
                value = record.value
                names = ("query-id", "query_id", "_id", "id")
                given = next((value[name] for name in names if value.get(name) is not None), None)
                yield document_id(given, "query-id"), value
            except BadRowError as error:
                raise DataError.at(str(path), str(error), row=record.row) from error


def _corpus(parts: Parts) -> Iterator[Row]:
    configs = _checked_configs(parts)
    files = _files(configs, "corpus", parts, parts.options.split)
    if not files:
        raise DataError.at(parts.source, "the repository has no corpus (config corpus)")
    parts.files = [RawFile(str(path)) for path in files]
    yield from read_passages(parts)


MTEB = Format(
    name="mteb",
    what="an MTEB repository of corpus, queries and judgments",
    recognizes_folder=_is_folder,
    train=_train,
    eval=_eval,
    corpus=_corpus,
    settings=("config",),
)
