"""Charts as plain SVG inside a page: lines over steps, points, bars, and lines small enough to stand in a table."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from autovid.report.markup import SERIES, Markup, figure, join, number, tag, text

WIDTH, HEIGHT = 380.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 18.0, 34.0
MOST = 240  # points of a line


class Series(NamedTuple):
    """A line: its points with rising x, nan where it has a gap; `colour` counts in `markup.SERIES`."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False


class Band(NamedTuple):
    """A range of y over a range of x."""

    x: tuple[float, float]
    y: tuple[float, float]


class Point(NamedTuple):
    """A point of a scatter; `mark` is dot, star or ring."""

    x: float
    y: float
    title: str
    colour: str = "a"
    mark: str = "dot"
    label: str = ""


class Scale:
    """From values to pixels; logarithmic where asked for."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False) -> None:
        if low == high:
            low, high = (low * 0.9, high * 1.1) if log else (low - 0.5, high + 0.5)
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers inside, some four of them."""
        if self.log:
            return self._powers()
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= 5.01)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _powers(self) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        span = self.high / self.low
        steps = (1,) if span > 200 else (1, 3) if span > 12 else (1, 2, 3, 5, 7)
        found = [m * 10.0**e for e in decades for m in steps]
        return [value for value in found if self.low <= value <= self.high]


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x: str = "step",
    bands: Sequence[Band] = (),
    marks: Sequence[tuple[float, str]] = (),
    points: Sequence[Point] = (),
    low: float | None = None,
    high: float | None = None,
) -> Markup:
    """Lines over steps. `marks` are places on the x-axis with a name, where a part begins."""
    there = [(a, b) for one in series for a, b in one.points if math.isfinite(b)] + [(p.x, p.y) for p in points]
    xs = [a for a, _ in there] + [edge for band in bands for edge in band.x]
    ys = [b for _, b in there] + [edge for band in bands for edge in band.y]
    across = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    bottom, top = (min(ys) if low is None else low), (max(ys) if high is None else high)
    up = Scale(bottom, top if top > bottom else bottom + 1, HEIGHT - BOTTOM, TOP)
    parts = [*_bands(bands, across, up), *_axes(across, up, x), *_marks(marks, across)]
    for one in series:
        cls = f"stroke s-{SERIES[one.colour % len(SERIES)]} thick{' dash' if one.dashed else ''}"
        parts += [tag("path", d=path, class_=cls) for path in _paths(one.points, across, up)]
    parts += [_mark(point, across, up) for point in points]
    names = [(one.name, SERIES[one.colour % len(SERIES)]) for one in series if one.name]
    return _framed(title, parts, names)


def scatter(
    title: str, points: Sequence[Point], names: Sequence[tuple[str, str]], *, x: str, y: str, log: bool = True
) -> Markup:
    """Points over an x-axis that is logarithmic unless told otherwise."""
    xs, ys = [p.x for p in points], [p.y for p in points]
    room = max(1.0, 0.08 * (max(ys) - min(ys)))
    low, high = (min(xs) / 1.15, max(xs) * 1.15) if log else (min(xs), max(xs))
    across = Scale(low, high, LEFT, WIDTH - RIGHT, log=log)
    up = Scale(max(0.0, min(ys) - room), min(100.0, max(ys) + room), HEIGHT - BOTTOM, TOP)
    parts = [*_axes(across, up, x), *(_mark(point, across, up) for point in points)]
    return _framed(f"{title}: {y}", parts, names)


def bars(title: str, rows: Sequence[tuple[str, float, str]], colour: str = "a") -> Markup:
    """A bar for each (name, percent, what is shown when pointed at)."""
    items = [
        tag(
            "li",
            tag("span", name, class_="name"),
            tag("span", tag("i", style=f"width:{number(max(0.5, value))}%", class_=f"bar-{colour}"), class_="track"),
            tag("b", f"{value:.0f} %"),
            title=says,
        )
        for name, value, says in rows
    ]
    return tag("figure", tag("figcaption", title), tag("ul", *items, class_="bars"))


def spark(lines: Sequence[Sequence[float]], best: int, label: str) -> Markup:
    """Probabilities over time, 0 to 1, one line a candidate, the chosen one in colour."""
    width, height = 96.0, 34.0
    up = Scale(0.0, 1.0, height - 2, 2)
    parts = [tag("path", d=f"M0 {height - 1}H{width}", class_="stroke s-line thin")]
    for i in sorted(range(len(lines)), key=lambda i: i == best):
        across = Scale(0.0, max(1, len(lines[i]) - 1), 1, width - 1)
        (path,) = _paths(list(enumerate(lines[i])), across, up)
        parts.append(tag("path", d=path, class_="stroke thick s-a" if i == best else "stroke thin s-mute"))
    return figure(width, height, *parts, label=label)


def thin(points: Sequence[tuple[float, float]], most: int = MOST) -> list[tuple[float, float]]:
    """At most so many points: means of as many neighbours each."""
    size = max(1, math.ceil(len(points) / most))
    groups = (points[i : i + size] for i in range(0, len(points), size))
    return [(sum(a for a, _ in group) / len(group), sum(b for _, b in group) / len(group)) for group in groups]


def _paths(points: Sequence[tuple[float, float]], across: Scale, up: Scale) -> Iterator[str]:
    """The stretches of a line without a gap."""
    stretch: list[str] = []
    for a, b in [*points, (0.0, math.nan)]:
        if math.isfinite(b):
            stretch.append(f"{number(across(a))} {number(up(b))}")
        elif stretch:
            yield "M" + "L".join(stretch if len(stretch) > 1 else stretch * 2)
            stretch = []


def _axes(across: Scale, up: Scale, x: str) -> Iterator[Markup]:
    for value in up.ticks():
        yield tag("path", d=f"M{LEFT} {number(up(value))}H{WIDTH - RIGHT}", class_="s-line thin")
        yield text(LEFT - 6, up(value) + 4, f"{value:.4g}", "small f-mute", "end")
    yield tag("path", d=f"M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}", class_="s-mute thin")
    for value in across.ticks():
        yield tag("path", d=f"M{number(across(value))} {HEIGHT - BOTTOM}v4", class_="s-mute thin")
        yield text(across(value), HEIGHT - BOTTOM + 15, f"{value:,.4g}", "small f-mute", "middle")
    yield text(WIDTH - RIGHT, HEIGHT - 4, x, "small f-mute", "end")


def _bands(bands: Sequence[Band], across: Scale, up: Scale) -> Iterator[Markup]:
    for band in bands:
        left, right, low, high = across(band.x[0]), across(band.x[1]), up(band.y[0]), up(band.y[1])
        yield tag("rect", x=left, y=high, width=right - left, height=max(2.0, low - high), class_="f-band")


def _marks(marks: Sequence[tuple[float, str]], across: Scale) -> Iterator[Markup]:
    for place, name in marks:
        yield tag("path", d=f"M{number(across(place))} {TOP - 2}V{HEIGHT - BOTTOM}", class_="s-mute thin dash")
        yield text(across(place) + 1, TOP - 5, name, "small f-mute")


def _mark(point: Point, across: Scale, up: Scale) -> Markup:
    x, y = across(point.x), up(point.y)
    if point.mark == "ring":
        shape = tag("circle", cx=x, cy=y, r=4, class_=f"stroke s-{point.colour} thick")
    elif point.mark == "star":
        corners = [(8 if i % 2 == 0 else 3.4, math.pi * (i / 5 - 0.5)) for i in range(10)]
        places = " ".join(f"{number(x + r * math.cos(a))},{number(y + r * math.sin(a))}" for r, a in corners)
        shape = tag("polygon", points=places, class_=f"f-{point.colour}")
    else:
        shape = tag("circle", cx=x, cy=y, r=4, class_=f"f-{point.colour}")
    end = x > WIDTH * 0.7
    where = text(x - 6 if end else x + 6, y - 6, point.label, f"small f-{point.colour}", "end" if end else None)
    return tag("g", tag("title", point.title), shape, where if point.label else "")


def _framed(title: str, parts: Sequence[Markup], names: Sequence[tuple[str, str]]) -> Markup:
    keys = [tag("span", tag("i", class_=f"bar-{colour}"), name) for name, colour in names]
    legend = tag("div", join(keys, " "), class_="legend") if keys else Markup()
    return tag("figure", tag("figcaption", title), figure(WIDTH, HEIGHT, *parts, label=title), legend)
