"""SVG elements, HTML templates and colours of reports and drawings; and charts as plain SVG inside a page.

A plain string is text, and is escaped wherever it comes to stand; what is Markup (markupsafe) is taken as it is.
"""

import math
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import jinja2
from markupsafe import Markup, escape

UNWRITABLE = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # by XML 1.0, section 2.2
    "|[\u202a-\u202e\u2066-\u2069]"  # would turn the direction of all that follows, also behind an element's end
)
COLOURS = {  # name: (on light, on dark)
    "paper": ("#ffffff", "#12161d"),
    "card": ("#f5f7fa", "#1b212b"),
    "ink": ("#1b2330", "#e8ecf2"),
    "mute": ("#566172", "#a3afbf"),
    "line": ("#d3dae3", "#38424f"),
    "shade": ("#9aa7b8", "#5a6778"),
    "a": ("#2b6cb0", "#63a7ea"),
    "b": ("#c05f14", "#f0a45d"),
    "c": ("#7c3aad", "#c39bef"),
    "d": ("#0b7a70", "#4cc9bb"),
    "e": ("#b3284f", "#f28aa6"),
    "f": ("#6b6a12", "#cfcb5d"),
    "band": ("#cfeedd", "#1d4534"),
}
SERIES = "abcdef"  # the colours that lines and runs take, in their order
MOST_POINTS = 240  # of a line
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


class LegendEntry(NamedTuple):
    """A line of a legend; `mark` is that of its points, or bar."""

    name: str
    colour: str
    mark: str = "bar"


class Point(NamedTuple):
    """A point of a scatter; `mark` is dot, star, ring or diamond, of which the last two leave others visible.

    Its label is left out where there is no room for it. `ends`: an interval of y.
    """

    x: float
    y: float
    title: str
    colour: str = "a"
    mark: str = "dot"
    label: str = ""
    ends: tuple[float, float] | None = None


class Bar(NamedTuple):
    """A bar: its name, percent, and the text shown when pointed at."""

    name: str
    percent: float
    title: str


class Axis:
    """A map from values low ... high to pixels start ... end; logarithmic where asked for."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False) -> None:
        if low == high:
            low, high = (low * 0.9, high * 1.1) if log else (low - 0.5, high + 0.5)
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        if self.log:
            fraction = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            fraction = (value - self.low) / (self.high - self.low)
        return self.start + fraction * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round numbers inside, some four of them."""
        if self.log and (powers := self._powers()):
            return powers
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= 5.01)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _powers(self) -> list[float]:
        """Return powers of ten and some between them; none where there would be fewer than three."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        span = self.high / self.low
        for factors in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7))[0 if span > 200 else 1 if span > 12 else 3 :]:
            powers = [m * 10.0**e for e in decades for m in factors if self.low <= m * 10.0**e <= self.high]
            if len(powers) > 2:
                return powers
        return []


def writable(document: str) -> str:
    """Replace what may not stand in HTML or SVG, or would turn the direction of the text around it, by U+FFFD."""
    return UNWRITABLE.sub("\ufffd", document)


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """Write an SVG element.

    `class_` is its class, other underscores become hyphens; attributes that are None are left out.
    """
    values = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    opening = f"<{name}" + "".join(f' {key}="{escape(number(value))}"' for key, value in values.items())
    return Markup(f"{opening}>{Markup().join(children)}</{name}>" if children else f"{opening}/>")


def number(value: str | float) -> str:
    """Write a length in a picture to a tenth of a pixel; text stays as it is."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def text(x: float, y: float, content: str, cls: str = "", anchor: str | None = None) -> Markup:
    """Write a line of text in a picture."""
    return tag("text", content, x=x, y=y, class_=f"t {cls}".strip(), text_anchor=anchor)


def isolated(name: str) -> Markup:
    """Isolate a name inside a sentence: whichever way it is written, the words around it keep their places."""
    return Markup("<bdi>{}</bdi>").format(name)


def figure(width: float, height: float, *parts: str, label: str) -> Markup:
    """Draw a picture inside a page that has `rules()` in its style; as wide as its place, or its own width if less."""
    size = f"0 0 {number(width)} {number(height)}"
    return tag("svg", *parts, viewBox=size, width=width, height=height, class_="av", role="img", aria_label=label)


def svg_file(width: float, height: float, *parts: str, label: str) -> str:
    """Write a picture as a file of its own, with the paper under it: legible wherever it is shown."""
    style = tag("style", Markup(rules()))
    paper = tag("rect", width=width, height=height, rx=8, class_="f-paper")
    root = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {number(width)} {number(height)}"}
    svg = tag("svg", style, tag("title", label), paper, *parts, **root, width=width, height=height, class_="av")
    return writable(f'<?xml version="1.0" encoding="UTF-8"?>\n{svg}')


def rules() -> str:
    """Return the style sheet of all pictures, for a light and for a dark page."""
    fixed = (
        "svg.av{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
        ".av .t{font-size:11px}.av .small{font-size:9.5px}.av .big{font-size:15px}.av .bold{font-weight:600}"
        ".av .thin{stroke-width:1}.av .thick{stroke-width:2}.av .stroke{fill:none}.av .dash{stroke-dasharray:3 3}"
        ".av .soft{fill-opacity:.25}"
    )
    light, dark = (
        "".join(f".av .f-{name}{{fill:{pair[i]}}}.av .s-{name}{{stroke:{pair[i]}}}" for name, pair in COLOURS.items())
        for i in (0, 1)
    )
    return f"{fixed}{light}@media (prefers-color-scheme:dark){{{dark}}}"


@cache
def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("autovid.report")
    options = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(loader=loader, autoescape=True, **options)  # type: ignore[arg-type]
    environment.filters["number"] = number
    return environment


def section(name: str, /, **values: object) -> Markup:
    """Render a macro of templates/sections.html."""
    return Markup(getattr(_templates().get_template("sections.html").module, name)(**values))


def document(title: str, body: Markup) -> str:
    """Write a page of HTML with its style: it fetches nothing, runs no script, and fits a phone."""
    values = {"title": title, "body": body, "colours": COLOURS, "rules": Markup(rules())}
    return writable(_templates().get_template("document.html").render(values))


WIDTH, HEIGHT = 380.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 18.0, 34.0


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
    """Draw lines over steps, at least over `span`. `marks` are named places on the x-axis, where a part begins."""
    finite = [(a, b) for line in series for a, b in line.points if math.isfinite(b)] + [(p.x, p.y) for p in points]
    xs = [a for a, _ in finite] + [edge for band in bands for edge in band.x] + list(span or ())
    ys = [b for _, b in finite] + [edge for band in bands for edge in band.y]
    across = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    bottom, top = (min(ys) if low is None else low), (max(ys) if high is None else high)
    up = Axis(bottom, top if top > bottom else bottom + 1, HEIGHT - BOTTOM, TOP)
    parts = [*_bands(bands, across, up), *_axes(across, up, x)]
    for place, name in marks:
        path = f"M{number(across(place))} {TOP - 2}V{HEIGHT - BOTTOM}"
        parts += [tag("path", d=path, class_="s-mute thin dash")]
        parts += [text(across(place) + 1, TOP - 5, name, "small f-mute")]
    colours = [SERIES[line.colour % len(SERIES)] for line in series]
    for line, colour in zip(series, colours):
        cls = f"stroke s-{colour} thick{' dash' if line.dashed else ''}"
        parts += [tag("path", d=path, class_=cls) for path in _paths(line.points, across, up)]
    legend = [LegendEntry(line.name, colour) for line, colour in zip(series, colours) if line.name]
    return _chart(title, [*parts, *_points(points, across, up)], legend)


def scatter(
    title: str, points: Sequence[Point], legend: Sequence[LegendEntry], *, x: str, y: str, log: bool = True
) -> Markup:
    """Draw points over an x-axis that is logarithmic unless told otherwise."""
    xs, ys = [p.x for p in points], [y for p in points for y in (p.y, *(p.ends or ()))]
    margin = max(1.0, 0.08 * (max(ys) - min(ys)))
    low, high = (min(xs) / 1.15, max(xs) * 1.15) if log else (min(xs), max(xs))
    across = Axis(low, high, LEFT, WIDTH - RIGHT, log=log)
    up = Axis(max(0.0, min(ys) - margin), min(100.0, max(ys) + margin), HEIGHT - BOTTOM, TOP)
    parts = [*_axes(across, up, x), text(2, TOP - 7, y, "small f-mute"), *_points(points, across, up)]
    return _chart(title, parts, legend)


def bars(title: str, rows: Sequence[Bar], colour: str = "a") -> Markup:
    """Draw horizontal bars, 100 % being the whole width."""
    return section("bars", title=title, rows=rows, colour=colour)


def spark(lines: Sequence[tuple[str, Sequence[float]]], chosen: int, label: str, colour: str = "a") -> Markup:
    """Draw probabilities over time, 0 to 1, a named line for each candidate, the chosen one in colour."""
    width, height, left = 116.0, 46.0, 32.0
    up = Axis(0.0, 1.0, height - 5, 6)
    parts = []
    for probability, name in (1.0, "100%"), (0.0, "0"):
        parts.append(text(left - 3, up(probability) + 4, name, "small f-mute", "end"))
        parts.append(tag("path", d=f"M{left} {number(up(probability))}H{width}", class_="stroke s-line thin"))
    for i in sorted(range(len(lines)), key=lambda i: i == chosen):
        name, line = lines[i]
        (path,) = _paths(list(enumerate(line)), Axis(0.0, max(1, len(line) - 1), left, width - 1), up)
        cls = f"stroke thick s-{colour}" if i == chosen else "stroke thin s-mute"
        parts.append(tag("g", tag("title", name), tag("path", d=path, class_=cls)))
    return figure(width, height, *parts, label=label)


def thin(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Thin a line to at most so many points: means of as many neighbours each."""
    size = max(1, math.ceil(len(points) / most))
    groups = (points[i : i + size] for i in range(0, len(points), size))
    return [(sum(a for a, _ in group) / len(group), sum(b for _, b in group) / len(group)) for group in groups]


def _chart(title: str, parts: Sequence[Markup], legend: Sequence[LegendEntry]) -> Markup:
    return section("chart", title=title, picture=figure(WIDTH, HEIGHT, *parts, label=title), legend=legend)


def _paths(points: Sequence[tuple[float, float]], across: Axis, up: Axis) -> Iterator[str]:
    """Yield a path for each stretch of a line without a gap."""
    stretch: list[str] = []
    for a, b in [*points, (0.0, math.nan)]:
        if math.isfinite(b):
            stretch.append(f"{number(across(a))} {number(up(b))}")
        elif stretch:
            yield "M" + "L".join(stretch if len(stretch) > 1 else stretch * 2)
            stretch = []


def _axes(across: Axis, up: Axis, x: str) -> Iterator[Markup]:
    for value in up.ticks():
        yield tag("path", d=f"M{LEFT} {number(up(value))}H{WIDTH - RIGHT}", class_="s-line thin")
        yield text(LEFT - 6, up(value) + 4, f"{value:.4g}", "small f-mute", "end")
    yield tag("path", d=f"M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}", class_="s-mute thin")
    for value in across.ticks():
        yield tag("path", d=f"M{number(across(value))} {HEIGHT - BOTTOM}v4", class_="s-mute thin")
        yield text(across(value), HEIGHT - BOTTOM + 15, f"{value:,.4g}", "small f-mute", "middle")
    yield text(WIDTH - RIGHT, HEIGHT - 4, x, "small f-mute", "end")


def _bands(bands: Sequence[Band], across: Axis, up: Axis) -> Iterator[Markup]:
    for band in bands:
        left, right, low, high = across(band.x[0]), across(band.x[1]), up(band.y[0]), up(band.y[1])
        yield tag("rect", x=left, y=high, width=right - left, height=max(2.0, low - high), class_="f-band")


def _points(points: Sequence[Point], across: Axis, up: Axis) -> Iterator[Markup]:
    """Yield marks, and each label beside its point where it meets neither another's label nor a point."""
    places = [(across(point.x), up(point.y)) for point in points]
    for point, (x, y) in zip(points, places):
        if point.ends is not None:
            path = f"M{number(x)} {number(up(point.ends[0]))}V{number(up(point.ends[1]))}"
            yield tag("path", d=path, class_=f"s-{point.colour} thin")
        yield tag("g", tag("title", point.title), _mark(point, x, y))
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    for point, (x, y) in zip(points, places):
        wide = LETTER * len(point.label)
        right, before, centred = x + 8, x - 8 - wide, x - wide / 2
        corners = (
            (right, y - 1),
            (before, y - 1),
            (right, y + 8),
            (before, y + 8),
            (centred, y - 9),
            (centred, y + 16),
        )
        for left, bottom in corners:
            box = left, bottom - 8, left + wide, bottom + 1
            inside = box[0] > LEFT and box[2] < WIDTH
            if point.label and inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield text(left, bottom, point.label, f"small f-{point.colour}")
                break


def _mark(point: Point, x: float, y: float) -> Markup:
    if point.mark == "ring":
        return tag("circle", cx=x, cy=y, r=5, class_=f"stroke s-{point.colour} thick")
    if point.mark == "diamond":
        corners = (x, y - 9), (x + 9, y), (x, y + 9), (x - 9, y)
        return tag("polygon", points=_corners(corners), class_=f"stroke s-{point.colour} thick")
    if point.mark == "star":
        radii = ((8 if i % 2 == 0 else 3.4, math.pi * (i / 5 - 0.5)) for i in range(10))
        rays = [(x + r * math.cos(angle), y + r * math.sin(angle)) for r, angle in radii]
        return tag("polygon", points=_corners(rays), class_=f"f-{point.colour}")
    return tag("circle", cx=x, cy=y, r=3, class_=f"f-{point.colour}")


def _corners(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{number(x)},{number(y)}" for x, y in places)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
