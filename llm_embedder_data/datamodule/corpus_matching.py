"""Which corpus an eval set is matched against, and behind which instruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet

# Of the loaders' names, kept for corpora.
CORPUS = "corpus"


@dataclass(frozen=True, slots=True)
class CorpusView:
    """A corpus as the queries of some tasks see it: its passages behind one instruction.

    Attributes:
        name: the corpus' own, or ``<corpus>@<task>`` where tasks put different instructions before
            it.
        corpus: the passages.
        key_instruction: put before each; may be empty.
    """

    name: str
    corpus: Corpus
    key_instruction: str


@dataclass(frozen=True, slots=True)
class Matching:
    """Eval sets and corpora, brought together.

    Attributes:
        of_eval: the view that an eval set is matched against, by the eval set's name; not in it
            where there is no corpus at all.
        views: of all corpora, those without an eval set too, by the view's name.
    """

    of_eval: Mapping[str, CorpusView]
    views: Mapping[str, CorpusView]

    def used(self) -> dict[str, CorpusView]:
        """The views that an eval set is matched against, by name."""
        names = {view.name for view in self.of_eval.values()}
        return {name: view for name, view in self.views.items() if name in names}


def corpus_of(eval_set: EvalSet, corpora: Mapping[str, Corpus]) -> Corpus | None:
    """The corpus that an eval set goes with: the only one, that of its name, that of its source."""
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
    """Bring eval sets and corpora together.

    An eval set goes with the only corpus, or with the one of its name; one of several tasks of a
    file, ``<name>:<task>``, also with the corpus ``<name>``.

    Args:
        evals: by name.
        corpora: by name.
        key_instruction: what a task puts before a key.
        default_task: whose instruction a corpus gets that no eval set is matched against.

    Raises:
        ConfigError: several corpora and none of an eval set's name, an eval set with a corpus' name
            for a loader, or a corpus that is called as another is behind a task's instruction.
    """
    own: dict[str, Corpus] = {}
    for one in evals.values():
        if one.name == CORPUS or one.name.startswith(f"{CORPUS}/"):
            raise ConfigError(
                f"data.eval_data: {one.name!r} is the name of a corpus' loader (give the eval set "
                "another, as mappings {name: path} do)"
            )
        if not corpora:
            continue
        corpus = corpus_of(one, corpora)
        if corpus is None:
            raise ConfigError(
                f"no corpus for eval set {one.name!r}: data.corpus has "
                f"{', '.join(map(one_line, corpora))} (name one of them like the eval set, as "
                "mappings {name: path} do)"
            )
        own[one.name] = corpus
    tasks: dict[str, list[str]] = {name: [] for name in corpora}
    for name, corpus in own.items():
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
                    f"data.corpus: two corpora are called {view.name!r}, for one is called "
                    "name@task where tasks put different instructions before it (give one of them "
                    "another name, as mappings {name: path} do)"
                )
    return Matching(
        of_eval={name: by_task[corpus.name, evals[name].task] for name, corpus in own.items()},
        views=views,
    )


def loader_names(views: Mapping[str, CorpusView]) -> dict[str, str]:
    """What each view's loader is called: ``corpus``, or ``corpus/<name>`` where there are more."""
    return {name: CORPUS if len(views) == 1 else f"{CORPUS}/{name}" for name in views}
