"""Markup of reports and drawings: SVG elements, HTML templates, and the colours for light and for dark.

A plain string is text, and is escaped wherever it comes to stand; what is Markup (markupsafe) is taken as it is.
"""

import re
from functools import cache

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
