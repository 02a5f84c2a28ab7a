"""What differs between two past runs, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.past_runs import PastRun
from llm_embedder_data.datamodule.resume.run_fingerprint import AtResume, differences
from llm_embedder_data.datamodule.resume.state_checks import entry_shown
from llm_embedder_data.inspection.html_page import escaped, section, table

_MEANING = {
    AtResume.MUST_EQUAL: "other rows or tokens: neither run can resume the other",
    AtResume.FOLLOWS_GLOBAL_BATCH: "other global batches: data.on_other_global_batch=continue",
    AtResume.MAY_DIFFER: "the same rows, made into batches in another way",
    AtResume.IS_NOT_COMPARED: "a later version wrote it",
}

# The kinds of differences, each with the title under which it is shown.
_TITLES = {
    "facts": "What batches depend on",
    "settings": "Settings of the data",
    "model_settings": "Settings of the model",
    "position": "Where the runs stand",
}


class RunDifferences(dict[str, Any]):
    """The differences between two runs, as a dict that prints as text.

    ``a`` and ``b`` are the paths of the checkpoints. ``facts``, ``settings``, ``model_settings``
    and ``position`` are lists of differences, ``{"name", "a", "b", "meaning"}``; "absent" stands
    for an entry that one of the runs does not have.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return the differences as plain Python that can be written as JSON."""
        return dict(self)

    def __str__(self) -> str:
        lines = [f"a: {one_line(self['a'])}", f"b: {one_line(self['b'])}"]
        for kind, title in _TITLES.items():
            lines.append(f"{title}: {'no difference' if not self[kind] else ''}".rstrip(": "))
            for one in self[kind]:
                meaning = f" ({one['meaning']})" if one["meaning"] else ""
                lines.append(f"  {one_line(one['name'])}{meaning}")
                lines += [f"    {side}: {one_line(entry_shown(one[side]))}" for side in ("a", "b")]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [
            f"<p>a: <code>{escaped(self['a'])}</code><br>b: <code>{escaped(self['b'])}</code></p>"
        ]
        for kind, title in _TITLES.items():
            has_meaning = any(one["meaning"] for one in self[kind])
            rows = [
                (
                    one["name"],
                    entry_shown(one["a"]),
                    entry_shown(one["b"]),
                    *[one["meaning"]] * has_meaning,
                )
                for one in self[kind]
            ]
            names = ["what", "a", "b", *["what it means"] * has_meaning]
            parts.append(section(title, table(names, rows) if rows else "<p>No difference.</p>"))
        return "".join(parts)


def run_differences(a: PastRun, b: PastRun) -> RunDifferences:
    """Compare two runs by what their checkpoints record."""
    facts = [
        _entry(one.name, one.before, one.now, _MEANING[one.at_resume])
        for one in differences(a.state["facts"], b.state["facts"])
    ]
    return RunDifferences(
        a=a.path,
        b=b.path,
        facts=facts,
        settings=_settings(a.settings, b.settings),
        model_settings=_settings(a.model_settings, b.model_settings),
        position=_positions(a, b),
    )


def _settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_entry(one.name, one.before, one.now, "") for one in differences(a, b)]


def _positions(a: PastRun, b: PastRun) -> list[dict[str, Any]]:
    names = {
        "epoch": "epoch of the next batch",
        "step": "step of the next batch",
        "trained": "batches trained on",
        "version": "version of the state",
        "began": "how the epoch began with other global batches",
    }
    left = {names[name]: a.state[name] for name in names if name in a.state}
    right = {names[name]: b.state[name] for name in names if name in b.state}
    return _settings(left, right)


def _entry(name: str, a: Any, b: Any, meaning: str) -> dict[str, Any]:
    return {"name": name, "a": a, "b": b, "meaning": meaning}
