"""Charts as plain SVG inside a page: lines over steps, points, bars, and lines small enough to stand in a table."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from autovid.report.markup import SERIES, Markup, figure, join, number, tag, text

WIDTH, HEIGHT = 380.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 18.0, 34.0
MOST = 240  # points of a line
LETTER = 5.6  # width of a small one


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


class Key(NamedTuple):
    """A line of a legend; `mark` is that of its points, or bar."""

    name: str
    colour: str
    mark: str = "bar"


class Point(NamedTuple):
    """A point of a scatter; `mark` is dot, star, ring or diamond, of which the last two leave others visible.

    Its label is left out where there is no room for it.
    """

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
        if self.log and (powers := self._powers()):
            return powers
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= 5.01)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _powers(self) -> list[float]:
        """Powers of ten and some between them; none where there would be fewer than three."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        span = self.high / self.low
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7))[0 if span > 200 else 1 if span > 12 else 3 :]:
            found = [m * 10.0**e for e in decades for m in steps if self.low <= m * 10.0**e <= self.high]
            if len(found) > 2:
                return found
        return []


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x: str = "step",
    bands: Sequence[Band] = (),
    marks: Sequence[tuple[float, str]] = (),
    points: Sequence[Point] = (),
    span: tuple[float, float] | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Markup:
    """Lines over steps, at least over `span`. `marks` are places on the x-axis with a name, where a part begins."""
    there = [(a, b) for one in series for a, b in one.points if math.isfinite(b)] + [(p.x, p.y) for p in points]
    xs = [a for a, _ in there] + [edge for band in bands for edge in band.x] + list(span or ())
    ys = [b for _, b in there] + [edge for band in bands for edge in band.y]
    across = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    bottom, top = (min(ys) if low is None else low), (max(ys) if high is None else high)
    up = Scale(bottom, top if top > bottom else bottom + 1, HEIGHT - BOTTOM, TOP)
    parts = [*_bands(bands, across, up), *_axes(across, up, x), *_marks(marks, across)]
    for one in series:
        cls = f"stroke s-{SERIES[one.colour % len(SERIES)]} thick{' dash' if one.dashed else ''}"
        parts += [tag("path", d=path, class_=cls) for path in _paths(one.points, across, up)]
    parts += [*(_mark(point, across, up) for point in points), *_labels(points, across, up)]
    keys = [Key(one.name, SERIES[one.colour % len(SERIES)]) for one in series if one.name]
    return _framed(title, parts, keys)


def scatter(title: str, points: Sequence[Point], keys: Sequence[Key], *, x: str, y: str, log: bool = True) -> Markup:
    """Points over an x-axis that is logarithmic unless told otherwise."""
    xs, ys = [p.x for p in points], [p.y for p in points]
    room = max(1.0, 0.08 * (max(ys) - min(ys)))
    low, high = (min(xs) / 1.15, max(xs) * 1.15) if log else (min(xs), max(xs))
    across = Scale(low, high, LEFT, WIDTH - RIGHT, log=log)
    up = Scale(max(0.0, min(ys) - room), min(100.0, max(ys) + room), HEIGHT - BOTTOM, TOP)
    parts = [*_axes(across, up, x), text(2, TOP - 7, y, "small f-mute")]
    parts += [*(_mark(point, across, up) for point in points), *_labels(points, across, up)]
    return _framed(title, parts, keys)


def bars(title: str, rows: Sequence[tuple[str, float, str]], colour: str = "a") -> Markup:
    """A bar for each (name, percent, what is shown when pointed at)."""
    items = [
        tag(
            "li",
            tag("span", name, class_="name"),
            tag("span", tag("i", style=f"width:{number(value)}%", class_=f"bar-{colour}"), class_="track"),
            tag("b", _percent(value)),
            title=says,
        )
        for name, value, says in rows
    ]
    return tag("figure", tag("figcaption", title), tag("ul", *items, class_="bars"))


def _percent(value: float) -> str:
    return f"{value:.0f} %" if value >= 0.5 or value == 0 else "<1 %"


def spark(lines: Sequence[tuple[str, Sequence[float]]], chosen: int, label: str, colour: str = "a") -> Markup:
    """Probabilities over time, 0 to 1, a named line for each candidate, the chosen one in colour."""
    width, height, left = 116.0, 46.0, 32.0
    up = Scale(0.0, 1.0, height - 5, 6)
    parts = []
    for share, said in (1.0, "100%"), (0.0, "0"):
        parts.append(text(left - 3, up(share) + 4, said, "small f-mute", "end"))
        parts.append(tag("path", d=f"M{left} {number(up(share))}H{width}", class_="stroke s-line thin"))
    for i in sorted(range(len(lines)), key=lambda i: i == chosen):
        name, line = lines[i]
        across = Scale(0.0, max(1, len(line) - 1), left, width - 1)
        (path,) = _paths(list(enumerate(line)), across, up)
        cls = f"stroke thick s-{colour}" if i == chosen else "stroke thin s-mute"
        parts.append(tag("g", tag("title", name), tag("path", d=path, class_=cls)))
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
        shape = tag("circle", cx=x, cy=y, r=5, class_=f"stroke s-{point.colour} thick")
    elif point.mark == "diamond":
        places = f"{number(x)},{number(y - 9)} {number(x + 9)},{number(y)} {number(x)},{number(y + 9)} "
        shape = tag("polygon", points=f"{places}{number(x - 9)},{number(y)}", class_=f"stroke s-{point.colour} thick")
    elif point.mark == "star":
        corners = [(8 if i % 2 == 0 else 3.4, math.pi * (i / 5 - 0.5)) for i in range(10)]
        places = " ".join(f"{number(x + r * math.cos(a))},{number(y + r * math.sin(a))}" for r, a in corners)
        shape = tag("polygon", points=places, class_=f"f-{point.colour}")
    else:
        shape = tag("circle", cx=x, cy=y, r=3, class_=f"f-{point.colour}")
    return tag("g", tag("title", point.title), shape)


def _labels(points: Sequence[Point], across: Scale, up: Scale) -> Iterator[Markup]:
    """Each beside its point, where it meets neither another's label nor a point."""
    marks = [(across(point.x), up(point.y)) for point in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in marks]
    for point, (x, y) in zip(points, marks):
        wide = LETTER * len(point.label)
        right, before, centred = x + 8, x - 8 - wide, x - wide / 2
        places = ((right, y - 1), (before, y - 1), (right, y + 8), (before, y + 8), (centred, y - 9), (centred, y + 16))
        for left, bottom in places:
            box = left, bottom - 8, left + wide, bottom + 1
            inside = box[0] > LEFT and box[2] < WIDTH
            if point.label and inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                yield text(left, bottom, point.label, f"small f-{point.colour}")
                break


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _framed(title: str, parts: Sequence[Markup], keys: Sequence[Key]) -> Markup:
    made = [tag("span", tag("i", class_=f"bar-{one.colour} {one.mark}"), one.name) for one in keys]
    legend = tag("div", join(made, " "), class_="legend") if keys else Markup()
    return tag("figure", tag("figcaption", title), figure(WIDTH, HEIGHT, *parts, label=title), legend)
