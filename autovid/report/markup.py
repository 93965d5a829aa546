"""HTML and SVG, written so that nothing from outside can become markup: a plain string is text, and is escaped.

What `tag` and `join` give is Markup, and is taken as it is. The colours are here too, each for light and for dark.
"""

import html
import re
from collections.abc import Iterable

_VOID = {"meta", "link", "br", "img", "rect", "path", "line", "circle", "polygon", "polyline"}
_UNWRITABLE = re.compile(
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


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Any string as the text of an element or the value of an attribute; what could not stand there becomes U+FFFD."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_UNWRITABLE.sub("\ufffd", text)))


def join(parts: Iterable[str], between: str = "") -> Markup:
    """One after the other."""
    return Markup(escape(between).join(escape(part) for part in parts))


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """An element. `class_` is its class, other underscores become hyphens; attributes that are None are left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{given}/>" if not children else f"<{name}{given}>{join(children)}</{name}>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def isolated(name: str) -> Markup:
    """A name inside a sentence, whichever way it is written: what stands around it keeps its place."""
    return tag("bdi", name)


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else number(value)


def number(value: float) -> str:
    """A length in a picture, to a tenth of a pixel."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def text(x: float, y: float, content: str, cls: str = "", anchor: str | None = None) -> Markup:
    """A line of text in a picture."""
    return tag("text", content, x=x, y=y, class_=f"t {cls}".strip(), text_anchor=anchor)


def rules() -> str:
    """The style sheet of all our pictures, for a light and for a dark page."""
    fixed = (
        "svg.av{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
        ".av .t{font-size:11px}.av .small{font-size:9.5px}.av .big{font-size:15px}.av .bold{font-weight:600}"
        ".av .thin{stroke-width:1}.av .thick{stroke-width:2}.av .stroke{fill:none}.av .dash{stroke-dasharray:3 3}"
        ".av .soft{fill-opacity:.25}"
    )
    return f"{fixed}{_colours(0)}@media (prefers-color-scheme:dark){{{_colours(1)}}}"


def _colours(which: int) -> str:
    pairs = ((name, both[which]) for name, both in COLOURS.items())
    return "".join(f".av .f-{name}{{fill:{value}}}.av .s-{name}{{stroke:{value}}}" for name, value in pairs)


def figure(width: float, height: float, *parts: str, label: str) -> Markup:
    """A picture inside a page that has `rules()` in its style; as wide as its place, or its own width if less."""
    size = f"0 0 {number(width)} {number(height)}"
    return tag("svg", *parts, viewBox=size, width=width, height=height, class_="av", role="img", aria_label=label)


def svg_file(width: float, height: float, *parts: str, label: str) -> str:
    """A picture as a file of its own, with the paper under it: legible wherever it is shown."""
    paper = tag("rect", width=width, height=height, rx=8, class_="f-paper")
    size = f"0 0 {number(width)} {number(height)}"
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tag(
        "svg",
        Markup(f"<style>{rules()}</style>"),
        tag("title", label),
        paper,
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=size,
        width=width,
        height=height,
        class_="av",
    )
