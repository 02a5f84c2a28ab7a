"""Repositories of MTEB retrieval tasks: Parquet configs corpus, queries, default (judgments).

The README's YAML names the files of each config; without it the folders of these names are read.
``CFG-corpus`` and so on are the parts of one of several tasks. ``top_ranked`` names each query's
candidates, ``instruction`` its instruction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.canonical_rows import Kind, Row
from llm_embedder_data.rows.formats.beir import chosen_split, corpus_texts, query_texts
from llm_embedder_data.rows.formats.format import Format, Parts
from llm_embedder_data.rows.formats.id_text import ID_TEXT
from llm_embedder_data.rows.formats.judgments import by_query, eval_rows, train_rows
from llm_embedder_data.rows.formats.trec import judgments_of
from llm_embedder_data.rows.raw_files import RawFile

_FOLDERS = {"default": ("data", "default", "qrels"), "corpus": ("corpus",), "queries": ("queries",)}
_TABLES = (".parquet", ".jsonl", ".json", ".arrow", ".gz", ".tsv")

Configs = dict[str, dict[str, list[Path]]]  # config: {split: files}


def _is_folder(folder: Path) -> bool:
    configs = configs_of(folder)
    return any(name == "corpus" or name.endswith("-corpus") for name in configs) and any(
        name == "queries" or name.endswith("-queries") for name in configs
    )


@cache
def configs_of(folder: Path) -> Configs:
    """The configs of a repository with their files by split."""
    readme = folder / "README.md"
    if readme.is_file():
        found = _from_readme(folder, readme)
        if found:
            return found
    configs: Configs = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and path.name != "qrels":
            name = "default" if path.name == "data" else path.name
            for file in sorted(path.iterdir()):
                if file.suffix in _TABLES:
                    configs.setdefault(name, {}).setdefault(_split(file), []).append(file)
    return configs


def _split(file: Path) -> str:
    return file.name.split(".")[0].split("-")[0]


def _from_readme(folder: Path, readme: Path) -> Configs:
    text = readme.read_text(encoding="utf-8")
    if not text.startswith("---"):
        return {}
    try:
        front = yaml.safe_load(text.split("---", 2)[1])
    except yaml.YAMLError:
        return {}
    configs: Configs = {}
    for config in (front or {}).get("configs") or ():
        files = config.get("data_files")
        entries = files if isinstance(files, list) else [{"split": "test", "path": files}]
        for entry in entries:
            patterns = entry["path"] if isinstance(entry["path"], list) else [entry["path"]]
            paths = [path for pattern in patterns for path in sorted(folder.glob(str(pattern)))]
            if paths:
                configs.setdefault(config["config_name"], {})[str(entry["split"])] = paths
    for name in ("top_ranked", "instruction"):  # some repositories do not name them
        if name not in configs and (folder / name).is_dir():
            for file in sorted((folder / name).iterdir()):
                configs.setdefault(name, {}).setdefault(_split(file), []).append(file)
    return configs


def _name(configs: Configs, part: str, parts: Parts) -> str | None:
    """The config of a part: corpus, queries, default, top_ranked or instruction."""
    alone = {"default": ("default", "qrels", "data")}.get(part, (part,))
    wanted = parts.options.config
    suffix = "qrels" if part == "default" else part
    if wanted is not None:
        own = [name for name in configs if name in (f"{wanted}-{suffix}", f"{wanted}-{part}")]
        if own:
            return own[0]
        if wanted in configs and part == "default":
            return wanted
    for name in alone:
        if name in configs:
            return name
    several = [name for name in configs if name.endswith(f"-{suffix}")]
    if wanted is None and len(several) > 1:
        tasks = ", ".join(name.removesuffix(f"-{suffix}") for name in several)
        raise ConfigError(f"{parts.source} holds several tasks: {tasks} (give config: one of them)")
    return several[0] if several and wanted is None else None


def _files(configs: Configs, part: str, parts: Parts, split: str | None) -> list[Path]:
    name = _name(configs, part, parts)
    if name is None:
        return []
    splits = configs[name]
    if split in splits:
        return splits[split or ""]
    return [path for paths in splits.values() for path in paths]


def _prepared(parts: Parts, kind: Kind) -> tuple[Configs, str, Parts]:
    configs = configs_of(Path(parts.source))
    judged = _name(configs, "default", parts)
    if judged is None:
        raise DataError.at(
            parts.source, "the repository has no judgments (config default or qrels)"
        )
    split = chosen_split(list(configs[judged]), kind, parts.options.split, parts.source)
    parts.files = [RawFile(str(path)) for path in configs[judged][split]]
    queries = _files(configs, "queries", parts, split)
    corpus = _files(configs, "corpus", parts, split)
    if parts.texts_of_queries is None:
        parts.texts_of_queries = cache(lambda: query_texts(parts, queries))
    if parts.texts_of_corpus is None:
        parts.texts_of_corpus = cache(lambda: corpus_texts(parts, corpus))
    return configs, split, parts


def _train(parts: Parts) -> Iterator[Row]:
    configs, split, parts = _prepared(parts, "train")
    grades = by_query(judgments_of(parts), parts)
    others = {
        str(value.get("query-id")): [str(one) for one in value.get("corpus-ids") or ()]
        for value in _records(_files(configs, "top_ranked", parts, split))
    }
    instructions = {
        str(value.get("query-id")): str(value["instruction"])
        for value in _records(_files(configs, "instruction", parts, split))
        if value.get("instruction")
    }
    yield from train_rows(grades, parts, others, instructions)


def _eval(parts: Parts) -> Iterator[Row]:
    _, _, parts = _prepared(parts, "eval")
    yield from eval_rows(by_query(judgments_of(parts), parts), parts)


def _corpus(parts: Parts) -> Iterator[Row]:
    configs = configs_of(Path(parts.source))
    parts.files = [
        RawFile(str(path)) for path in _files(configs, "corpus", parts, parts.options.split)
    ]
    assert ID_TEXT.corpus is not None
    yield from ID_TEXT.corpus(parts)


def _records(files: list[Path]) -> Iterator[Mapping[str, Any]]:
    for path in files:
        for record in RawFile(str(path)):
            if isinstance(record.value, Mapping):
                yield record.value


MTEB = Format(
    name="mteb",
    what="an MTEB repository of corpus, queries and judgments",
    recognizes_folder=_is_folder,
    train=_train,
    eval=_eval,
    corpus=_corpus,
)
