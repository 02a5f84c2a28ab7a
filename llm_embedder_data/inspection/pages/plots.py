"""Plots as inline SVG, without a library or a script, in colours for light and dark themes.

A plot is 360 units wide, about the width of a phone, so that text stays readable on phones. The
classes ``s0`` to ``s7`` of :data:`PLOT_STYLE` are the colours of the series.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from llm_embedder_data.core.printable import beginning
from llm_embedder_data.inspection.html_page import escaped, isolated

# The most series that a reader can tell apart in a plot.
N_COLOURS = 8

PLOT_STYLE = """
:root { --s0: #2563a8; --s1: #c2410c; --s2: #15803d; --s3: #9333a8; --s4: #a16207; --s5: #0e7490;
  --s6: #be185d; --s7: #57606a }
@media (prefers-color-scheme: dark) { :root { --s0: #7ab4f0; --s1: #f59e6b; --s2: #6fcf8a;
  --s3: #cf9af0; --s4: #e0be5a; --s5: #5cc8dc; --s6: #f28cb8; --s7: #a7b0ba } }
figure.plot { margin: 0; padding: .8rem .9rem; border: 1px solid var(--line); border-radius: .6rem;
  min-width: 0; max-width: 36rem }
figure.plot figcaption { font-weight: 600; margin-bottom: .3rem; overflow-wrap: anywhere }
figure.plot figcaption small { display: block; font-weight: 400; opacity: .75 }
figure.plot svg { display: block; width: 100%; height: auto }
figure.plot svg text { fill: var(--ink); font: 11px system-ui, sans-serif }
figure.plot svg text.soft { opacity: .7 }
figure.plot svg .columns { shape-rendering: crispEdges }
figure.plot svg .grid { stroke: var(--line); stroke-width: 1 }
figure.plot svg .limit { stroke: var(--ink); stroke-dasharray: 3 3; opacity: .6 }
figure.plot svg polyline { fill: none; stroke-width: 2.2; stroke-linejoin: round }
.plots { display: grid; gap: 1rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)) }
.legend { display: flex; flex-wrap: wrap; gap: .15rem .9rem; font-size: .84rem; padding: 0;
  margin: .1rem 0 .4rem; list-style: none }
.legend li { overflow-wrap: anywhere }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: .2em;
  margin-right: .35em; vertical-align: -.05em }
""" + "".join(
    f"figure.plot svg .s{n} {{ fill: var(--s{n}) }} figure.plot svg polyline.s{n} {{ fill: none; "
    f"stroke: var(--s{n}) }} .legend .s{n} {{ background: var(--s{n}) }}\n"
    for n in range(N_COLOURS)
)

_WIDTH, _LEFT, _RIGHT, _TOP = 360, 40, 10, 8
_HEIGHT = 150  # of the area between the axes


def histogram(
    title: str,
    counts: Mapping[str, Sequence[float]],
    edges: Sequence[float],
    *,
    about: str = "",
    limits: Mapping[str, float] | None = None,
) -> str:
    """Return a histogram; a bin has a bar for each series, whose height is a share of the series.

    Args:
        title: title of the plot.
        counts: by series, the count of each bin.
        edges: edges of the bins, ascending: a number more than there are bins.
        about: a line below the title.
        limits: values to mark with a dashed line, by their labels.
    """
    shares = {name: [n / (sum(bins) or 1) for n in bins] for name, bins in counts.items()}
    top = max((share for bins in shares.values() for share in bins), default=0) or 1
    if limits:
        top *= 1.15  # room for their labels above the bars
    low, high = edges[0], edges[-1] if edges[-1] > edges[0] else edges[0] + 1
    parts = list(_y_axis(top, "percent"))
    for value in _ticks(low, high):
        parts.append(_x_label(_x(value, low, high), _short(value)))
    n_series = len(shares)
    for number, (name, bins) in enumerate(shares.items()):
        for index, share in enumerate(bins):
            if not share:
                continue
            left, right = (_x(edge, low, high) for edge in edges[index : index + 2])
            width = (right - left) / n_series
            height = _HEIGHT * share / top
            tip = f"{name}: {share:.1%} from {_short(edges[index])} to {_short(edges[index + 1])}"
            parts.append(
                _rect(number, left + number * width, _TOP + _HEIGHT - height, width, height, tip)
            )
    for name, value in (limits or {}).items():
        x = _x(min(value, high), low, high)
        parts.append(
            f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + _HEIGHT}">'
            f"<title>{escaped(name)}</title></line>"
            f'<text class="soft" x="{x - 4:.1f}" y="{_TOP + 9}" text-anchor="end">'
            f"{escaped(name)}</text>"
        )
    return _figure(title, about, list(shares), "".join(parts), _TOP + _HEIGHT + 18)


def lines(
    title: str,
    series: Mapping[str, Sequence[float | None]],
    x_labels: Sequence[str],
    *,
    about: str = "",
    unit: str = "number",
) -> str:
    """Return a line chart over equally spaced points.

    Args:
        title: title of the plot.
        series: by series, the value of each point; None for a missing point.
        x_labels: labels of the points.
        about: a line below the title.
        unit: ``number``; or ``percent``, for values in [0, 1].
    """
    values = [value for points in series.values() for value in points if value is not None]
    top = max(values, default=0)
    top = top or 1
    parts = list(_y_axis(top, unit))
    last = max(len(x_labels) - 1, 1)
    every = max(1, math.ceil(len(x_labels) / 8))
    for index, label in enumerate(x_labels):
        if index % every == 0:
            parts.append(_x_label(_x(index, 0, last), label))
    for number, (name, of_series) in enumerate(series.items()):
        points = [
            (_x(index, 0, last), _TOP + _HEIGHT * (1 - value / top), value, x_labels[index])
            for index, value in enumerate(of_series)
            if value is not None
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
        parts.append(f'<polyline class="s{number % N_COLOURS}" points="{path}"></polyline>')
        parts += [
            f'<circle class="s{number % N_COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"><title>'
            f"{escaped(f'{name}, {label}: {_shown(value, unit)}')}</title></circle>"
            for x, y, value, label in points
        ]
    return _figure(title, about, list(series), "".join(parts), _TOP + _HEIGHT + 18)


def stacked(
    title: str,
    shares: Mapping[str, Sequence[float]],
    x_range: tuple[float, float],
    *,
    about: str = "",
) -> str:
    """Return stacked columns. In each column the shares of all series add up to 1.

    Args:
        title: title of the plot.
        shares: by series, the share in each column.
        x_range: start and end of the x axis, which the columns divide.
        about: a line below the title.
    """
    parts = list(_y_axis(1.0, "percent"))
    for value in _ticks(*x_range):
        parts.append(_x_label(_x(value, *x_range), _short(value)))
    n_columns = max(map(len, shares.values()), default=0)
    below = [0.0] * n_columns
    width = (_WIDTH - _LEFT - _RIGHT) / max(n_columns, 1)
    for number, (name, columns) in enumerate(shares.items()):
        for index, share in enumerate(columns):
            if share:
                y = _TOP + _HEIGHT * (1 - below[index] - share)
                tip = f"{name}: {share:.1%}"
                # A little wider than the column, so that there is no gap between columns.
                parts.append(
                    _rect(
                        number, _LEFT + index * width, y, width + 0.3, _HEIGHT * share, tip, round=0
                    )
                )
            below[index] += share
    parts = [f'<g class="columns">{"".join(parts)}</g>']
    return _figure(title, about, list(shares), "".join(parts), _TOP + _HEIGHT + 18)


def grouped_bars(
    title: str,
    values: Mapping[str, Mapping[str, float]],
    *,
    about: str = "",
    unit: str = "percent",
) -> str:
    """Return horizontal bars in groups.

    Args:
        title: title of the plot.
        values: by group, the value of each series.
        about: a line below the title.
        unit: ``number``; or ``percent``, for values in [0, 1].
    """
    names = list(dict.fromkeys(name for group in values.values() for name in group))
    top = max((value for group in values.values() for value in group.values()), default=0) or 1
    parts, y = [], 0.0
    room = _WIDTH - 60
    for group, of_group in values.items():
        parts.append(f'<text x="0" y="{y + 12:.0f}">{escaped(beginning(group, 52))}</text>')
        y += 17
        for name, value in of_group.items():
            width = max(1.0, room * value / top)
            shown = _shown(value, unit)
            parts.append(_rect(names.index(name), 0, y, width, 12, f"{group}, {name}: {shown}"))
            parts.append(f'<text class="soft" x="{width + 5:.1f}" y="{y + 10:.0f}">{shown}</text>')
            y += 14
        y += 7
    return _figure(title, about, names, "".join(parts), y or 10)


# --------------------------------------------------------------------------------------------------


def _figure(title: str, about: str, names: Sequence[str], content: str, height: float) -> str:
    small = f"<small>{escaped(about)}</small>" if about else ""
    items = "".join(
        f'<li><i class="s{number % N_COLOURS}"></i>{isolated(beginning(name, 60))}</li>'
        for number, name in enumerate(names)
    )
    legend = f'<ul class="legend">{items}</ul>' if len(names) > 1 else ""
    return (
        f'<figure class="plot"><figcaption>{escaped(title)}{small}</figcaption>{legend}'
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escaped(title)}">'
        f"{content}</svg></figure>"
    )


def _rect(
    series: int, x: float, y: float, width: float, height: float, tip: str, round: float = 1.5
) -> str:
    return (
        f'<rect class="s{series % N_COLOURS}" x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" '
        f'height="{height:.2f}" rx="{round}"><title>{escaped(tip)}</title></rect>'
    )


def _y_axis(top: float, unit: str) -> Iterator[str]:
    for value in _ticks(0, top, 4):
        y = _TOP + _HEIGHT * (1 - value / top)
        yield (
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}">'
            f'</line><text class="soft" x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">'
            f"{_shown(value, unit)}</text>"
        )


def _x(value: float, low: float, high: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / ((high - low) or 1)


def _x_label(x: float, label: str) -> str:
    anchor = "end" if x > _WIDTH - 24 else "middle"
    return (
        f'<text class="soft" x="{x:.1f}" y="{_TOP + _HEIGHT + 14}" text-anchor="{anchor}">'
        f"{escaped(label)}</text>"
    )


def _ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Return about ``about`` round values from ``low`` to ``high``."""
    span = (high - low) or 1
    step = 10 ** math.floor(math.log10(span / about))
    step *= next((factor for factor in (1, 2, 5, 10) if span / (step * factor) <= about), 10)
    begin, end = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * number for number in range(begin, end + 1)]


def _shown(value: float, unit: str) -> str:
    if unit == "percent":
        percent = 100 * value
        return f"{percent:.0f} %" if percent >= 10 or not percent else f"{percent:.2g} %"
    return _short(value)


def _short(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:.4g}"
