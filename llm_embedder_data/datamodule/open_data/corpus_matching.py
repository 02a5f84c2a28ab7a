"""Which corpus is searched for each eval set, and which instruction the passages get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet

# The names of the loaders of corpora begin with this, so eval sets may not have such names.
CORPUS = "corpus"


@dataclass(frozen=True, slots=True)
class CorpusView:
    """A corpus with one key instruction, as the tasks with this instruction search it.

    Attributes:
        name: the corpus's name, or ``<corpus>@<task>`` if tasks have different key instructions.
        corpus: the passages.
        key_instruction: the text put before each passage; may be empty.
    """

    name: str
    corpus: Corpus
    key_instruction: str


@dataclass(frozen=True, slots=True)
class Matching:
    """Eval sets matched with corpora.

    Attributes:
        of_eval: the view to search for each eval set, by eval set; empty without corpora.
        views: the views of all corpora by name, including corpora without an eval set.
    """

    of_eval: Mapping[str, CorpusView]
    views: Mapping[str, CorpusView]

    def used(self) -> dict[str, CorpusView]:
        """Return the views that are searched for an eval set, by name."""
        names = {view.name for view in self.of_eval.values()}
        return {name: view for name, view in self.views.items() if name in names}


def corpus_of(eval_set: EvalSet, corpora: Mapping[str, Corpus]) -> Corpus | None:
    """Return the corpus of an eval set: the only corpus, or that of its name or its source."""
    if len(corpora) == 1:
        return next(iter(corpora.values()))
    return corpora.get(eval_set.name, corpora.get(eval_set.source))


def match(
    evals: Mapping[str, EvalSet],
    corpora: Mapping[str, Corpus],
    *,
    key_instruction: Callable[[str], str],
    default_task: str,
) -> Matching:
    """Match eval sets with corpora.

    An eval set is matched with the only corpus, or with the corpus of the same name. An eval set
    ``<name>:<task>``, which is one of several tasks of a file, also matches the corpus ``<name>``.

    Args:
        evals: the eval sets by name.
        corpora: the corpora by name.
        key_instruction: returns the text that a task puts before a key.
        default_task: the task whose instruction a corpus without an eval set gets.

    Raises:
        ConfigError: an eval set matches none of several corpora, an eval set is named like the
            loader of a corpus, or two views have the same name.
    """
    matched: dict[str, Corpus] = {}
    for eval_set in evals.values():
        if eval_set.name == CORPUS or eval_set.name.startswith(f"{CORPUS}/"):
            raise ConfigError(
                f"data.eval_data: {eval_set.name!r} is reserved for the loader of a corpus (give "
                "the eval set another name, with a mapping {name: path})"
            )
        if not corpora:
            continue
        corpus = corpus_of(eval_set, corpora)
        if corpus is None:
            raise ConfigError(
                f"no corpus for eval set {eval_set.name!r}: data.corpus has "
                f"{', '.join(map(one_line, corpora))} (name one of them like the eval set, with a "
                "mapping {name: path})"
            )
        matched[eval_set.name] = corpus
    tasks: dict[str, list[str]] = {name: [] for name in corpora}
    for name, corpus in matched.items():
        tasks[corpus.name].append(evals[name].task)
    by_task: dict[tuple[str, str], CorpusView] = {}
    views: dict[str, CorpusView] = {}
    for name, corpus in corpora.items():
        wanted = {task: key_instruction(task) for task in tasks[name] or [default_task]}
        alone = len(set(wanted.values())) == 1
        shared: dict[str, CorpusView] = {}
        for task, instruction in wanted.items():
            view = CorpusView(name if alone else f"{name}@{task}", corpus, instruction)
            view = by_task[name, task] = shared.setdefault(instruction, view)
            if views.setdefault(view.name, view) is not view:
                raise ConfigError(
                    f"data.corpus: two corpora are called {view.name!r}, because a corpus is "
                    "called name@task if tasks put different instructions before it (give one of "
                    "them another name, with a mapping {name: path})"
                )
    return Matching(
        of_eval={name: by_task[corpus.name, evals[name].task] for name, corpus in matched.items()},
        views=views,
    )


def loader_names(views: Mapping[str, CorpusView]) -> dict[str, str]:
    """Return the loader names of views: ``corpus``, or ``corpus/<name>`` if there are several."""
    return {name: CORPUS if len(views) == 1 else f"{CORPUS}/{name}" for name in views}
