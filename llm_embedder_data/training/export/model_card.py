"""The model card of an exported model, README.md: its usage, training data and metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_info

from llm_embedder_data.config.model_files import last_part, short_name
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.training.export.run_record import RunRecord

# Entries of the run fingerprint about a dataset are named by this prefix and the dataset's name.
_DATASET = "dataset "

# Settings that say nothing about the trained model, or that another section of the card has.
_UNSHOWN = {"encoder", "cutoffs", "gradient_checkpointing", "recipe", "pooling", "similarity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """The content of a model card; its ``str`` is the Markdown.

    Attributes:
        kind: ``bi-encoder`` or ``cross-encoder``.
        base_model: folder or hub name of the model that was trained; None if unknown.
        facts: how texts are read and compared: (name, value) pairs.
        prompts: texts to put before inputs, by name.
        run: facts about the training and its evaluations.
        checked: a sentence that says how the folder was compared with the model in memory.
        notes: sentences with what a user of the folder must know.
    """

    kind: Literal["bi-encoder", "cross-encoder"]
    base_model: str | None
    facts: Sequence[tuple[str, Any]]
    prompts: Mapping[str, str]
    run: RunRecord
    checked: str
    notes: Sequence[str] = ()

    def write(self, folder: Path) -> None:
        """Write the card into the folder of the model."""
        (folder / "README.md").write_text(str(self), encoding="utf-8")

    def log_notes(self, path: str | os.PathLike[str]) -> None:
        """Log the notes, and how the folder was checked, for an export to ``path``."""
        for sentence in (*self.notes, self.checked):
            rank_zero_info(f"export {one_line(path)}: {sentence}")

    def __str__(self) -> str:
        parts = [
            self._header(),
            f"# {self._title()}",
            self._usage(),
            "## How texts are read",
            _table(("setting", "value"), self.facts),
            *([_table(("prompt", "text"), self._prompts())] if any(self.prompts.values()) else []),
            *self.notes,
            self.checked,
            *self._training(),
            *self._metrics(),
            "## Made with",
            _table(
                ("library", "version"),
                [(name, version(name)) for name in ("llm_embedder_data", "torch", "transformers")],
            ),
        ]
        return "\n\n".join(parts) + "\n"

    def _title(self) -> str:
        name = "a model" if self.base_model is None else last_part(self.base_model)
        verb = "trained from" if self.run.steps else "exported from"
        return f"{self.kind.capitalize()} {verb} {_cell(name)}"

    def _header(self) -> str:
        """Return the YAML that model hubs read."""
        is_bi_encoder = self.kind == "bi-encoder"
        task = "sentence-similarity" if is_bi_encoder else "text-ranking"
        tag = "feature-extraction" if is_bi_encoder else "cross-encoder"
        lines = [
            "library_name: sentence-transformers",
            f"pipeline_tag: {task}",
            f"tags: [sentence-transformers, {tag}]",
        ]
        # Write only a hub name: a folder on this machine means nothing to others.
        if self.base_model is not None and short_name(self.base_model) == self.base_model:
            lines.append(f"base_model: {json.dumps(self.base_model)}")
        return "\n".join(["---", *lines, "---"])

    def _usage(self) -> str:
        if self.kind == "bi-encoder":
            code = [
                "from sentence_transformers import SentenceTransformer",
                "",
                'model = SentenceTransformer("path/of/this/folder")',
                'queries = model.encode(["a query"], prompt_name="query")',
                'passages = model.encode(["a passage"], prompt_name="document")',
                "scores = model.similarity(queries, passages)",
            ]
        else:
            code = [
                "from sentence_transformers import CrossEncoder",
                "",
                'model = CrossEncoder("path/of/this/folder")',
                'scores = model.predict([("a query", "a passage")])',
            ]
        return "\n".join(["```python", *code, "```"])

    def _prompts(self) -> list[tuple[str, str]]:
        return [(name, _quoted(text)) for name, text in self.prompts.items()]

    def _training(self) -> list[str]:
        data = self.run.data
        if not self.run.steps:
            return ["## Training", "Not trained here."]
        parts = ["## Training"]
        names = data.get("datasets", [])
        if names:
            columns = ("task", "rows kept", "global batch", "steps", "weight")
            rows = [
                (name, *(data[f"{_DATASET}{name}"].get(column) for column in columns))
                for name in names
            ]
            header = ("data set", "task", "rows", "global batch", "steps per epoch", "weight")
            parts.append(_table(header, rows))
            digests = [
                (name, f"`{digest}`")
                for name in names
                for digest in data[f"{_DATASET}{name}"].get("files", [])
            ]
            parts.append(_table(("data set", "digest of a file"), digests))
        settings: list[tuple[str, Any]] = [("optimizer steps", self.run.steps)]
        for name in ("seed", "train_group_size", "organize_method", "remainder"):
            if name in data:
                settings.append((name, data[name]))
        settings += [
            (name, value)
            for name, value in sorted(self.run.settings.items())
            if value is not None and name not in _UNSHOWN
        ]
        parts.append(_table(("setting", "value"), settings))
        instructions = data.get("instructions", {})
        rows = [
            (task, *map(_quoted, texts.values()))
            for task, texts in instructions.items()
            if any(texts.values())
        ]
        if rows:
            parts.append(_table(("task", "instruction of queries", "of keys"), rows))
        return parts

    def _metrics(self) -> list[str]:
        if not self.run.metrics:
            return []
        rows = [(name, f"{value:.4f}") for name, value in sorted(self.run.metrics.items())]
        return ["## Evaluation", _table(("metric", "value"), rows)]


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _quoted(text: str) -> str:
    return f"`{json.dumps(text, ensure_ascii=False)}`"


def _cell(value: Any) -> str:
    """Return a value as text, without characters that break a Markdown table or a page."""
    return one_line(value).replace("|", "\\|").replace("<", "&lt;")
