"""Templates, which make the input of a language model from key, query and answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.rows.settings.key_templates import parse_template

# LLM-Embedder's templates (arXiv:2310.07554), by task. For lrlm the original joins fields that were
# never published; here the texts are joined in the order in which a document has them.
LIKELIHOOD_TEMPLATES = {
    "qa": "Knowledge: {key}\n\nQuestion: {query}\n\nAnswer: {answer}",
    "convsearch": "Knowledge: {key}\n\nQuestion: {query}\n\nAnswer: {answer}",
    "icl": "{key}\n{query}\n{answer}",
    "chat": "{key}\nSpeaker 1: {query}\nSpeaker 2: {answer}",
    "lrlm": "{key}\n{context} {query} {answer}",
}

# From the model cards of Qwen3-Reranker.
YES_NO_TEMPLATE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {key}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
YES_NO_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template.

    Attributes:
        text: the template as the user gave it.
        pieces: pairs of a literal text and the field that follows it. The last pair's field is None
            if the template ends with a literal text.
    """

    text: str
    pieces: tuple[tuple[str, str | None], ...]

    def filled(self, values: Mapping[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
        """Fill the fields; return the text, and start and end of each field's value in it.

        White space after an empty value is left out.

        >>> template_of("{context} {query}!", "template", ()).filled({"context": "", "query": "q"})
        ('q!', {'context': (0, 0), 'query': (0, 1)})
        """
        text, spans, is_empty = "", {}, False
        for literal, name in self.pieces:
            text += literal.lstrip() if is_empty else literal
            if name is None:
                break
            is_empty = not values[name]
            spans[name] = (len(text), len(text) + len(values[name]))
            text += values[name]
        return text, spans


def template_of(template: Any, setting: str, needed: tuple[str, ...]) -> Template:
    """Parse a template.

    Args:
        template: text with fields in braces.
        setting: name of the setting in messages.
        needed: the fields that the template must have, each exactly once. ``answer`` must be at
            the end.

    Raises:
        ConfigError: the template is not text, or lacks, repeats or misplaces a field.
    """
    parse_template(template, setting)
    pieces = tuple((literal, name) for literal, name, _, _ in Formatter().parse(template))
    names = [name for _, name in pieces if name is not None]
    allowed = {*needed, *(("context",) if "answer" in needed else ("instruction",))}
    for name in dict.fromkeys([*needed, *names]):
        if needed and (names.count(name) != 1 or name not in allowed):
            raise ConfigError(
                f"{setting}={template!r}: expected each of "
                f"{_in_braces(needed)} once, and besides at most "
                f"{_in_braces(sorted(allowed - set(needed)))}"
            )
    if "answer" in needed and pieces[-1][1] != "answer":
        raise ConfigError(
            f"{setting}={template!r}: expected {{answer}} at the end (text after the answer would "
            "not change its likelihood; move or remove that text)"
        )
    return Template(template, pieces)


def _in_braces(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


def templates_by_task(
    given: Any, default: Mapping[str, str], needed: tuple[str, ...]
) -> TaskTemplates:
    """Return the templates of a setting, completed by defaults.

    Args:
        given: a template for all tasks; or templates by task, which replace the defaults of these
            tasks; or None.
        default: default templates by task; ``*`` stands for all other tasks.
        needed: see :func:`template_of`.

    Raises:
        ConfigError: a template cannot be used.
    """
    if isinstance(given, str):
        return TaskTemplates({}, template_of(given, "template", needed))
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(
            f"template={given!r}: expected a text with fields in braces, or a mapping of such "
            "texts by task"
        )
    texts = {**default, **{str(task): text for task, text in (given or {}).items()}}
    every = texts.pop("*", None)
    return TaskTemplates(
        {task: template_of(text, f"template.{task}", needed) for task, text in texts.items()},
        None if every is None else template_of(every, "template.*", needed),
    )


@dataclass(frozen=True, slots=True)
class TaskTemplates:
    """Templates by task.

    Attributes:
        by_task: the templates of some tasks.
        every: the template of all other tasks; None if other tasks are refused.
    """

    by_task: Mapping[str, Template]
    every: Template | None

    def of(self, task: str) -> Template:
        """Return the template of a task.

        Raises:
            ConfigError: the task has no template.
        """
        found = self.by_task.get(task, self.every)
        if found is None:
            raise ConfigError(
                f"task {task!r} has no template, and there are templates for "
                f"{', '.join(self.by_task)} (give template='{{{task}: \"...\"}}')"
            )
        return found
