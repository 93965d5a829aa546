"""The model card of an exported folder: README.md, for people."""

import re
from typing import Any

import jinja2

from autovid.clip import Clip
from autovid.errors import printable
from autovid.export.manifest import ARCHITECTURE, ExportManifest, caution


def model_card(manifest: ExportManifest) -> str:
    """Render templates/card.md: use without autovid, cost, origin and classes."""
    options = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    environment = jinja2.Environment(loader=jinja2.PackageLoader("autovid.export"), **options)  # type: ignore[arg-type]
    environment.filters["plain"] = _plain
    training = {key: value for key, value in manifest.trained.items() if key not in ("recipe", "accuracy")}
    return environment.get_template("card.md").render(
        m=manifest,
        frames=_frames(manifest.clip),
        architecture=ARCHITECTURE,
        caution=caution(manifest.trained),
        training={**training, **manifest.trained.get("recipe", {})},
    )


def _frames(clip: Clip) -> str:
    if clip.sampling == "dense":
        return f"{clip.frames} frames, {clip.stride} apart" if clip.stride > 1 else "frames in a row"
    each = "one frame" if clip.snippet == 1 else f"{clip.snippet} frames in a row"
    return f"{clip.frames // clip.snippet} equal parts of the video, of the middle of each {each}"


def _plain(value: Any) -> str:
    """Escape a text, so that it is no Markdown, and put it on one line."""
    text = printable(" ".join(str(value).split()))
    for mark in "\\`*_|<>[]&~$":
        text = text.replace(mark, f"\\{mark}")
    return re.sub(r"^(\d*)([-+#=.)]+)(?=\s|$)", r"\1\\\2", text)  # would begin a list or a heading
