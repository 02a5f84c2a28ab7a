"""Writes the figures of data_path.py as a page of tables and a plot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from measuring import machine, table

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "lightning")
PASSES = ("first", "later")
PEERS = ("sentence-transformers", "FlagEmbedding")
ON_THE_FLY, CACHED = "ours, on the fly", "ours, cached"
COLOURS = {ON_THE_FLY: "C0", CACHED: "C1", PEERS[0]: "C2", PEERS[1]: "C3"}

Figures = Mapping[str, Any]


def write_page(figures: Figures, arguments: Mapping[str, Any], folder: Path, name: str) -> None:
    """Write ``<name>.md``, ``<name>.json`` and, if matplotlib is installed, ``<name>.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(
        json.dumps({"arguments": arguments, "figures": figures}, indent=1) + "\n"
    )
    parts = [
        "# The data path, measured",
        machine([*PACKAGES, *(one for one in PEERS if _is_installed(one))]),
        _said_of_load(figures["load"], arguments),
        _headline(figures, arguments),
        "## To the first batch, and what it takes",
        _first_batches(figures),
        "Seconds from the files to the first batch of 32; memory is the cold process' peak, "
        "imports included: all of its resident set, and the part that is its own (anonymous); the "
        "rest are pages of mapped files. Caches are beside the files; padding is the share of "
        "padded tokens. The bare start is what is left of a path by pyarrow that keeps its "
        "rows in memory-mapped files, found by their content: all files are hashed, parsed and "
        "written, a file a core, and one batch's texts tokenized. No row is looked at.",
        *_token_cache(figures["systems"]),
        "## Steps a second",
        _rates(figures, "steps/s", 1),
        "## Real tokens a second, thousands",
        _rates(figures, "tokens/s", 1000),
        "Columns are queries a step / worker processes. First: the 3,200 queries that a new loader "
        "meets first; later: when it has met all rows once. The peers keep nothing of a text, and "
        "their later pass follows their first at once. FlagEmbedding allows no workers where a "
        "batch is of one task. The tokenizer is the bare `encode_batch_fast` of the same texts, "
        "the copy a clone of the same padded tensors.",
        *_real(figures["real"], figures, arguments),
        "## Against the best peer, and against the limits",
        _ratios(figures),
        "Each rate was measured in a process of its own, minutes from the others, while the "
        "machine's speed changes. A cached step without workers and the copy of its tensors, in "
        "turn in one process:",
        table(
            ["queries a step", "step ms", "copy ms", "times the copy"],
            [
                [size, *map(_milliseconds, (one["step"], one["copy"])), f"{one['times']:.2f}"]
                for size, one in figures["beside copy"].items()
            ],
        ),
        "## Where the time goes",
        table(
            ["", "ms"],
            [[name, _milliseconds(one)] for name, one in figures["profile"].items()],
        ),
        "Of one cold start on the fly, and of a cached step of 32 without workers: the mean of an "
        "epoch, as keys are chosen and tokens looked up for several steps at once. The bare parser "
        "is pyarrow's, asked for queries and texts alone; what reads them is to be no faster. No "
        "cached step is faster than the gather, which waits for memory, and the copy together.",
    ]
    if figures["curve"]:
        parts += [
            "## Over rows",
            _curve(figures["curve"]),
            "Each system once, short texts: 8 keys of 8 words a row, batches of 32, no workers. "
            "Seconds to the first batch cold and warm, and steps a second of the first pass.",
        ]
    parts += [
        "## Plans",
        table(
            ["rows", "seconds to make", "steps/s, in any order"],
            [
                [f"{int(n):,}", f"{one['ready']:.4f}", f"{one['steps/s']:,.0f}"]
                for n, one in figures["plan"].items()
            ],
        ),
        "## Share of padded tokens",
        _padding(figures["padding"]["shares"]),
        "An epoch of the six tasks of the sample in "
        f"batches of {figures['padding']['batch size']}, queries and keys, padded to a multiple of "
        "8. `length_window` deals so many global batches of a dataset by length together.",
    ]
    if find_spec("matplotlib"):
        _plot(figures, folder / f"{name}.svg")
        parts.insert(4, f"![Tokens a second, and time over rows]({name}.svg)")
    (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n")


def _said_of_load(load: Figures, arguments: Mapping[str, Any]) -> str:
    lengths = (
        "as many words as real ones"
        if arguments["words"] is None
        else (f"{arguments['words']} words a key")
    )
    return (
        f"{load['datasets']} datasets, {load['rows']:,} rows, {load['files']:.0f} MB of JSON "
        f"Lines; made-up rows of {arguments['negatives']} negatives, {lengths}. Their words follow "
        "the law of real text (`benchmarks/made_up_text.py`): 20,000 distinct words among 100,000, "
        "90,000 among a million; no key comes twice. A step has 1 positive and 7 negatives a "
        "query, texts of at most 256 tokens of all-MiniLM-L6-v2's tokenizer, no instructions. "
        f"Medians of {arguments['repeats']} interleaved runs, {arguments['seconds']} s a rate of "
        "the later pass."
    )


def _headline(figures: Figures, arguments: Mapping[str, Any]) -> str:
    """The summary of the page: the first pass of one fixed case, whether it is the best or not."""
    loads = {"made-up rows": figures["systems"]}
    if figures["real"]:
        loads[arguments["data_is"]] = figures["real"]["systems"]
    said = []
    for load, systems in loads.items():
        case = _first_case(systems)
        if ON_THE_FLY in systems and _peers(systems):
            times = _rate(systems[ON_THE_FLY], case, "first") / _best_peer(systems, case, "first")
            said.append(f"{times:.1f} times on {load}")
    if not said:
        return "No peer was measured beside this package on the fly."
    size, _, workers = _first_case(figures["systems"]).partition("/")
    return (
        f"**On the fly, first pass, {size} queries a step, {workers} workers: the best peer's real "
        f"tokens a second {', '.join(said)}.**"
    )


def _real(real: Figures | None, figures: Figures, arguments: Mapping[str, Any]) -> list[str]:
    """The table of real rows next to made-up rows; empty if no real rows were measured."""
    if not real:
        return []
    case = _first_case(figures["systems"])
    header = [""]
    header += [
        f"{what}, {load}"
        for what in (
            "ready cold s",
            "ready warm s",
            "steps/s first",
            "steps/s later",
            "k tokens/s first",
        )
        for load in ("made up", "real")
    ]
    both = (figures["systems"], real["systems"])
    rows = []
    for name in figures["systems"]:
        row = [name]
        row += [f"{one[name][kind]['ready']:.2f}" for kind in ("cold", "warm") for one in both]
        row += [
            _number(one[name]["warm"]["cases"][case][when]["steps/s"])
            for when in PASSES
            for one in both
        ]
        row += [_number(_rate(one[name], case, "first") / 1000) for one in both]
        rows.append(row)
    limits = [_limit(one, case, "all cores", "tokenizer") for one in (figures, real)]
    steps = [_number(one["steps/s"]) for one in limits]
    tokens = [_number(one["tokens/s"] / 1000) for one in limits]
    rows.append(["*bare tokenizer, all cores*", *[""] * 4, *steps, "", "", *tokens])
    load = real["load"]
    size, _, workers = case.partition("/")
    return [
        "## Real rows beside made-up ones",
        table(header, rows),
        f"Real: {arguments['data_is']}, {load['datasets']} datasets, {load['rows']:,} rows, "
        f"{load['files']:.0f} MB, whose hard negatives come again in other rows. {size} "
        f"queries a step, {workers} workers; the runs of both loads in turn.",
    ]


def _first_case(systems: Figures) -> str:
    """The name of the case with the smallest batches and no workers."""
    return str(next(iter(next(iter(systems.values()))["warm"]["cases"])))


def _peers(systems: Figures) -> list[Any]:
    return [systems[name] for name in PEERS if name in systems]


def _rate(system: Figures, case: str, when: str, what: str = "tokens/s") -> float:
    return float(system["warm"]["cases"][case][when][what])


def _best_peer(systems: Figures, case: str, when: str, what: str = "tokens/s") -> float:
    peers = _peers(systems)
    return max(_rate(p, case, when, what) for p in peers if case in p["warm"]["cases"])


def _first_batches(figures: Figures) -> str:
    header = [
        "",
        "ready cold s",
        "ready warm s",
        "peak resident MB",
        "of these its own",
        "caches MB",
    ]
    rows = []
    for name, one in figures["systems"].items():
        cold, warm = one["cold"], one["warm"]
        padding = next(iter(warm["cases"].values()))["later"]["padding"]
        numbers = [cold["resident"], cold["anonymous"], cold["cache"]]
        rows.append(
            [name, f"{cold['ready']:.2f}", f"{warm['ready']:.2f}"]
            + [f"{n:,.0f}" for n in numbers]
            + [f"{padding:.1%}"]
        )
    bare = figures["limits"]["bare start"]
    rows.append(["*bare start*", f"{bare['ready']:.2f}", *[""] * len(header[2:]), ""])
    return table([*header, "padding"], rows)


def _token_cache(systems: Figures) -> list[str]:
    """What the token cache costs; empty if only texts were measured."""
    if ON_THE_FLY not in systems or CACHED not in systems:
        return []
    plain, cached = systems[ON_THE_FLY]["cold"], systems[CACHED]["cold"]
    n_tokens = cached["tokens"]
    rate = n_tokens / (cached["ready"] - plain["ready"])
    n_bytes = 1e6 * (cached["cache"] - plain["cache"]) / n_tokens
    return [
        f"The token cache holds {n_tokens / 1e6:,.1f} million tokens, each distinct text's once: "
        f"{rate / 1e6:.2f} million tokens a second while it is built, {n_bytes:.1f} bytes a token "
        "with the index of its texts."
    ]


def _rates(figures: Figures, what: str, unit: float) -> str:
    cases = list(dict.fromkeys(c for s in figures["systems"].values() for c in s["warm"]["cases"]))
    rows = []
    for name, one in figures["systems"].items():
        rates = one["warm"]["cases"]
        rows.append(
            [name]
            + [
                _number(rates[case][when][what] / unit) if case in rates else ""
                for case in cases
                for when in PASSES
            ]
        )
    for label, pick in _LIMITS.items():
        limit = [pick(figures, case) for case in cases for _ in PASSES]
        rows.append([f"*{label}*", *(_number(one[what] / unit) for one in limit)])
    return table(["", *(f"{case} {when}" for case in cases for when in PASSES)], rows)


_LIMITS = {
    "bare tokenizer, all cores": lambda figures, case: _limit(
        figures, case, "all cores", "tokenizer"
    ),
    "bare tokenizer, one thread": lambda figures, case: _limit(
        figures, case, "one thread", "tokenizer"
    ),
    "copy of the tensors": lambda figures, case: _limit(figures, case, "all cores", "copy"),
}


def _limit(figures: Figures, case: str, threads: str, what: str) -> Any:
    by_size = figures["limits"][threads]["limits"]
    return by_size[case.partition("/")[0]][what]


def _ratios(figures: Figures) -> str:
    systems = figures["systems"]
    peers = _peers(systems)
    if not peers:
        return "No peer was measured."
    rows = []
    for name in (ON_THE_FLY, CACHED):
        if name not in systems:
            continue
        for case, passes in systems[name]["warm"]["cases"].items():
            for when, own in passes.items():
                times = [
                    own[what] / _best_peer(systems, case, when, what)
                    for what in ("steps/s", "tokens/s")
                ]
                shares = [
                    own["tokens/s"] / _LIMITS[label](figures, case)["tokens/s"]
                    for label in ("bare tokenizer, all cores", "copy of the tensors")
                ]
                rows.append(
                    [name, f"{case} {when}", *(f"{one:.2f}" for one in times)]
                    + [f"{share:.3g}" for share in shares]
                )
        for kind in ("cold", "warm"):
            best = min(peer[kind]["ready"] for peer in peers)
            share = f"{systems[name][kind]['ready'] / best:.3f} of the best peer's time"
            rows.append([name, f"ready {kind}", share, "", "", ""])
    bare = figures["limits"]["bare start"]["ready"] / min(peer["cold"]["ready"] for peer in peers)
    rows.append(["*bare start*", "ready cold", f"{bare:.3f} of the best peer's time", "", "", ""])
    return table(
        ["", "case", "steps/s", "tokens/s", "of the bare tokenizer's rate", "of the copy's rate"],
        rows,
    )


def _curve(points: Iterable[Figures]) -> str:
    rows = []
    for point in points:
        for name, one in point["systems"].items():
            cold, warm = one["cold"], one["warm"]
            rate, own = warm["cases"]["32/0"]["first"]["steps/s"], cold["anonymous"]
            times = [f"{cold['ready']:.2f}", f"{warm['ready']:.2f}"]
            rows.append([f"{point['rows']:,}", name, *times, _number(rate), f"{own:,.0f}"])
    return table(
        ["rows", "", "ready cold s", "ready warm s", "steps/s", "peak of own memory, cold, MB"],
        rows,
    )


def _padding(shares: Figures) -> str:
    names = list(dict.fromkeys(name for one in shares.values() for name in one))
    rows = [[kind, *(f"{one[name]:.1%}" for name in names)] for kind, one in shares.items()]
    return table(["", *names], rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.3g}"


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def _plot(figures: Figures, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "data_path"  # the same file for the same figures
    from matplotlib import pyplot

    n_axes = 3 if figures["curve"] else 1
    plot, axes = pyplot.subplots(
        1, n_axes, figsize=(1 + 4 * n_axes, 4), layout="constrained", squeeze=False
    )
    bars = axes[0][0]
    cases = list(dict.fromkeys(c for s in figures["systems"].values() for c in s["warm"]["cases"]))
    width = 0.8 / len(figures["systems"])
    for i, (name, one) in enumerate(figures["systems"].items()):
        rates = one["warm"]["cases"]
        at = [x + i * width for x, case in enumerate(cases) if case in rates]
        first, later = (
            [rates[case][when]["tokens/s"] for case in cases if case in rates] for when in PASSES
        )
        bars.bar(at, first, width, label=name, color=COLOURS[name], align="edge")
        bars.plot([x + width / 2 for x in at], later, "k.")
    for style, (label, pick) in zip(("--", ":", "-."), _LIMITS.items(), strict=True):
        bars.axhline(pick(figures, cases[0])["tokens/s"], ls=style, c="grey", label=label)
    bars.set(yscale="log", title="real tokens/s, first pass (dots: later)")
    bars.set_xticks([x + 0.4 for x in range(len(cases))], cases)
    bars.legend(fontsize="x-small")
    if figures["curve"]:
        _plot_curve(figures, *axes[0][1:])
    plot.savefig(path, metadata={"Date": None})


def _plot_curve(figures: Figures, ready: Any, steps: Any) -> None:
    for name in figures["systems"]:
        rows = [point["rows"] for point in figures["curve"]]
        own = [point["systems"][name] for point in figures["curve"]]
        label = {"color": COLOURS[name], "marker": ".", "label": name}
        ready.plot(rows, [one["cold"]["ready"] for one in own], **label)
        ready.plot(
            rows, [one["warm"]["ready"] for one in own], **label | {"ls": "--", "label": None}
        )
        steps.plot(rows, [one["warm"]["cases"]["32/0"]["first"]["steps/s"] for one in own], **label)
    ready.set(xscale="log", yscale="log", xlabel="rows", title="s to the first batch; dashed: warm")
    steps.set(xscale="log", yscale="log", xlabel="rows", title="steps/s of short texts, no workers")
    ready.legend(fontsize="x-small")
