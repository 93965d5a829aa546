"""Drawings of networks, as SVG or PNG: depth downwards, width by channels, height by frames and area.

Two streams stand back to back, so that the arrows between them cross the middle; a single one has longer labels.
Lengths are pixels of the picture, which is as wide as a phone.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from markupsafe import Markup

from autovid.errors import ConfigError
from autovid.models import NETWORKS, Model, NetworkSpec, SearchNetwork, build_network, load_model
from autovid.report.markup import figure, svg_file, tag, text
from autovid.report.network_outline import network_outline
from autovid.report.outline import Arrow, Aside, Box, Boxes, Heading, Outline, Probabilities, architecture_outline
from autovid.run import RunDirectory, write_atomic
from autovid.search import Searched, read_search
from autovid.train import as_trained, find_model
from autovid.train.trained import KIND as TRAINING
from autovid.train.trained import title_of

WIDTH = 460.0
GAP = 92.0  # between two streams
WIDEST = 78.0  # box of one of two streams; a single one has twice that
LINE = 13.0  # of text
LOW, PER_DOUBLING, FLAT = 4.0, 2.0, 6.0  # a box's height: LOW at 2 ** FLAT positions, and so much more each doubling
COLUMNS = 0.0, 34.0, 74.0  # of a label, from its start
LINE_LENGTH = 82  # characters of a small line across the picture
LETTER = 5.5  # width of a small one
SIZES = "Width grows with the root of the channels, height with the logarithm of frames × area."
ZOOM = 2.0  # pixels of a PNG for one of the drawing
SUFFIXES = (".svg", ".png")


def find_drawable(what: str) -> tuple[Model, Probabilities]:
    """Return the model to draw, and the prior of its search if `what` is a search; a training's at its own clips.

    `what` is a network's name, a YAML file, a run directory or an exported folder. Raises ConfigError, RunError.
    """
    path = Path(what)
    if what in NETWORKS or not path.is_dir():
        return load_model(what), {}
    if not (path / "config.yaml").is_file() and (path / "architecture.yaml").is_file():  # an exported folder
        return load_model(path / "architecture.yaml"), {}
    kind = RunDirectory.open(path).kind
    if kind == TRAINING:
        return as_trained(path), {}
    return find_model(path), prior_of(read_search(path)) if kind == "search" else {}


def prior_of(searched: Searched) -> Probabilities:
    """Return the probability of every candidate of a search's decisions; nothing where its strategy has no prior."""
    if not searched.learned:
        return {}
    decisions = searched.space.decisions
    return {d.name: (d.candidates, np.exp(logp)) for d, logp in zip(decisions, searched.log_probs(searched.space))}


def outline(model: Model, prior: Probabilities | None = None) -> Outline:
    """Outline an architecture, or a hand-designed network. Raises ConfigError."""
    if not isinstance(model, NetworkSpec):
        return architecture_outline(model, prior)
    net = build_network(model, device="meta")
    if isinstance(net, SearchNetwork):  # a network by name that is an architecture of a space
        drawn = architecture_outline(net.space.architecture([0] * len(net.space.decisions)))
        return drawn._replace(title=title_of(model))
    return network_outline(net, model)


def write_drawing(path: Path, drawn: Outline) -> None:
    """Write an SVG or a PNG. Raises ConfigError for a file that is neither, RunError where it cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: give a file that ends in {' or '.join(SUFFIXES)}")
    svg = draw_file(drawn)
    write_atomic(path, png(svg) if path.suffix.lower() == ".png" else svg)


def png(svg: str) -> bytes:
    """Render a drawing in pixels, in its light colours, with matplotlib's fonts: the same on every machine."""
    import resvg_py

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [str(folder / name) for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")]
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=ZOOM, skip_system_fonts=True, font_files=fonts))


def draw(outline: Outline) -> Markup:
    """Draw for a page that has `markup.rules()` in its style."""
    height, parts = _picture(outline)
    return figure(WIDTH, height, *parts, label=f"{outline.title}: {outline.about}")


def draw_file(outline: Outline) -> str:
    """Draw for an SVG file."""
    height, parts = _picture(outline)
    return svg_file(WIDTH, height, *parts, label=f"{outline.title}: {outline.about}")


def _picture(outline: Outline) -> tuple[float, list[Markup]]:
    lanes = [_Lane(number, len(outline.lanes), outline) for number in range(len(outline.lanes))]
    parts = [text(14, 25, outline.title, "big bold f-ink"), text(14, 43, outline.about, "f-mute")]
    top = 52.0
    for line in _lines(outline.asked, LINE_LENGTH):
        parts.append(text(14, top + 5, line, "small f-mute"))
        top += LINE
    named = lanes if len(lanes) > 1 else []
    for lane in named:
        parts.append(text(lane.edge, top + 14, lane.name, f"bold f-{lane.colour}", lane.anchor))
    top += 22 if named else 4
    drawn: list[Markup] = []
    start = top
    for row in outline.rows:
        height, cells = _row(row, lanes, top)
        drawn += cells
        top += height
    top += 5
    end = top + 3 * bool(outline.foot)
    parts += [tag("path", d=f"M{lane.axis} {start}V{end}", class_="s-line thick") for lane in lanes]
    parts += drawn
    for aside in outline.foot:
        parts.append(_aside(aside, lanes, top + 3))
        top += 27
    top += 5
    for line in _legend(outline):
        top += LINE
        parts.append(text(14, top + 3, line, "small f-mute"))
    return top + 16, parts


def _legend(outline: Outline) -> list[str]:
    """Explain those signs that the drawing has."""
    boxes = [box for row in outline.rows if isinstance(row, Boxes) for box in row.cells if box]
    arrows = [outline.arrows] * any(isinstance(row, Arrow) for row in outline.rows)
    if not outline.columns:
        return [SIZES, "t×k²: kernels over time and space, those of one point left out", *arrows]
    squeezed = ["SE: squeeze-excitation"] * any("SE" in box.label for box in boxes)
    return [SIZES, *_lines(["t×k²: kernel, time and space", "×e: expansion", *squeezed, *arrows], LINE_LENGTH)]


@dataclass
class _Lane:
    """The place of a stream. Of two the first reaches to the left of the middle, the second to the right."""

    number: int
    count: int
    outline: Outline

    def __post_init__(self) -> None:
        rows = [row for row in self.outline.rows if isinstance(row, Boxes)]
        self.most = max(box.channels for row in rows for box in row.cells if box is not None)
        self.columns = self.outline.columns
        self.asides = [row for row in (*self.outline.rows, *self.outline.foot) if isinstance(row, Aside)]
        self.name = self.outline.lanes[self.number]
        self.colour = "ab"[self.number]
        self.side = 0 if self.count == 1 else (-1, 1)[self.number]
        self.axis = WIDTH / 2 + self.side * GAP / 2 if self.side else 14 + WIDEST
        self.edge = self.axis + 6 * self.side
        self.anchor = {-1: "end", 0: "middle", 1: None}[self.side]

    def width(self, box: Box) -> float:
        return max(5.0, math.sqrt(box.channels / self.most) * WIDEST * (1 if self.side else 2))

    def left(self, width: float) -> float:
        return {-1: self.axis - width, 0: self.axis - width / 2, 1: self.axis}[self.side]

    def lines(self, box: Box) -> list[str]:
        """Break a label: its first part, and the others below it as they fit."""
        space = WIDTH / 2 - GAP / 2 - 20 - self.width(box) if self.side else WIDTH - 2 * WIDEST - 40
        return [*box.label[:1], *_lines(box.label[1:], int(space / LETTER))]

    def label(self, box: Box, middle: float) -> Iterator[Markup]:
        """Write the label beside a box: in columns, or in lines."""
        if self.columns:
            start = {-1: 14, 0: 2 * WIDEST + 26, 1: self.axis + WIDEST + 4}[self.side]
            for column, part in zip(COLUMNS, box.label):
                yield text(start + column, middle + 4, part, "f-mute" if part == "SE" else "f-ink")
            return
        x = self.axis + self.side * (self.width(box) + 6) if self.side else 2 * WIDEST + 26
        lines = self.lines(box)
        first = middle - LINE * (len(lines) - 1) / 2 + 4
        for i, line in enumerate(lines):
            yield text(
                x, first + LINE * i, line, "f-ink" if i == 0 else "small f-mute", self.anchor if self.side else None
            )


def _row(row: Heading | Boxes | Arrow | Aside, lanes: list[_Lane], top: float) -> tuple[float, list[Markup]]:
    if isinstance(row, Heading):
        return 24.0, list(_heading(row, lanes, top))
    if isinstance(row, Arrow):
        return 22.0, [_arrow(row, lanes, top)]
    if isinstance(row, Aside):
        return 28.0, [_aside(row, lanes, top + 3)]
    cells = [(lane, box) for lane, box in zip(lanes, row.cells) if box is not None]
    height = max(max(_height(box), LINE * (1 if lane.columns else len(lane.lines(box)))) for lane, box in cells) + 3
    return height, [_box(lane, box, top, height) for lane, box in cells]


def _heading(row: Heading, lanes: list[_Lane], top: float) -> Iterator[Markup]:
    yield tag("path", d=f"M14 {top + 5}H{WIDTH - 14}", class_="s-line thin")
    if len(lanes) == 1:
        yield text(2 * WIDEST + 26, top + 18, f"{row.name} · {row.notes[0]}", "bold f-ink")
        return
    yield text(WIDTH / 2, top + 18, row.name, "bold f-ink", "middle")
    for lane, note in zip(lanes, row.notes):
        yield text(lane.edge, top + 18, note, f"small f-{lane.colour}", lane.anchor)


def _height(box: Box) -> float:
    if box.shape == "badge":
        return 16.0
    return max(5.0, LOW + PER_DOUBLING * (math.log2(box.size.positions) - FLAT))


def _box(lane: _Lane, box: Box, top: float, height: float) -> Markup:
    middle, tall, width = top + height / 2, _height(box), lane.width(box)
    if box.shape == "badge":
        return _badge(lane, box, middle, tall)
    return tag(
        "g",
        tag("title", box.title),
        tag("rect", x=lane.left(width), y=middle - tall / 2, width=width, height=tall, rx=2, class_=f"f-{lane.colour}"),
        *lane.label(box, middle),
    )


def _badge(lane: _Lane, box: Box, middle: float, tall: float) -> Markup:
    width = WIDEST
    left = lane.left(width)
    return tag(
        "g",
        tag("title", box.title),
        tag("rect", x=left, y=middle - tall / 2, width=width, height=tall, rx=8, class_="f-paper s-c thick"),
        text(left + width / 2, middle + 4, box.label[0], "bold f-c", "middle"),
    )


def _arrow(row: Arrow, lanes: list[_Lane], top: float) -> Markup:
    start, end = lanes[row.source].axis, lanes[row.target].axis
    sign = 1 if end > start else -1
    y, tip = top + 15, end - sign * 2
    head = f"{tip},{y} {tip - sign * 8},{y - 4.5} {tip - sign * 8},{y + 4.5}"
    return tag(
        "g",
        tag("title", row.title),
        tag("path", d=f"M{start + sign * 2} {y}H{tip - sign * 7}", class_="s-d thick"),
        tag("polygon", points=head, class_="f-d"),
        text(WIDTH / 2, y - 5, row.label, "small f-d", "middle"),
    )


def _aside(aside: Aside, lanes: list[_Lane], y: float) -> Markup:
    """Draw a piece without a feature map; all of them are as wide as the longest needs."""
    width = min(WIDTH - 28, 24 + 6.6 * max(len(one.label) for one in lanes[0].asides))
    middle = WIDTH / 2 if len(lanes) > 1 else max(lanes[0].axis, 14 + width / 2)
    box = tag("rect", x=middle - width / 2, y=y, width=width, height=22, rx=4, class_="f-card s-line thin")
    return tag("g", tag("title", aside.title), box, text(middle, y + 15, aside.label, "f-ink", "middle"))


def _lines(parts: Sequence[str], most: int) -> list[str]:
    """Join parts by points, in lines of at most `most` characters where words allow it."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 3 + len(part) <= most:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return [piece for line in lines for piece in textwrap.wrap(line, most, break_long_words=False) or [line]]
