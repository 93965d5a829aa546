"""A drawing of whatever can be drawn: a network by name, a YAML file, a run, an exported folder; as SVG or PNG."""

from pathlib import Path

import matplotlib

from autovid.errors import ConfigError
from autovid.models import NETWORKS, Model, NetworkSpec, SearchNetwork, build_network, load_model
from autovid.report.drawing import draw_file
from autovid.report.outline import Outline, Prior, architecture_outline
from autovid.report.stages import network_outline
from autovid.run import RunDirectory, write_atomic
from autovid.search import Searched, read_search
from autovid.train import as_trained, find_model
from autovid.train.trained import KIND as TRAINING

ZOOM = 2.0  # pixels of a PNG for one of the drawing
SUFFIXES = (".svg", ".png")


def find_drawable(what: str) -> tuple[Model, Prior]:
    """What is to be drawn, and the prior that has found it if `what` is a search; of a training at its own clips.

    Raises ConfigError, RunError.
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


def prior_of(found: Searched) -> Prior:
    """The probability of every candidate of a search's decisions."""
    import numpy as np

    decisions = found.space.decisions
    return {d.name: (d.candidates, np.exp(logp)) for d, logp in zip(decisions, found.log_probs(found.space))}


def outline(model: Model, prior: Prior | None = None) -> Outline:
    """What is drawn of an architecture, or of a hand-designed network. Raises ConfigError."""
    if not isinstance(model, NetworkSpec):
        return architecture_outline(model, prior)
    net = build_network(model, device="meta")
    if isinstance(net, SearchNetwork):  # a network by name that is an architecture of a space
        found = architecture_outline(net.space.architecture([0] * len(net.space.decisions)))
        return found._replace(title=" + ".join([model.network, *model.modules]))
    return network_outline(net, model)


def write_drawing(path: Path, picture: Outline) -> None:
    """Writes an SVG or a PNG. Raises ConfigError for a file that is neither, RunError where it cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: give a file that ends in {' or '.join(SUFFIXES)}")
    svg = draw_file(picture)
    write_atomic(path, png(svg) if path.suffix.lower() == ".png" else svg)


def png(svg: str) -> bytes:
    """A drawing in pixels, in its colours for light, with matplotlib's fonts: the same on every machine."""
    import resvg_py

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [str(folder / name) for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")]
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=ZOOM, skip_system_fonts=True, font_files=fonts))
