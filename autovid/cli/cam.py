"""autovid cam: the places of the frames that a network looks at."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import options
from autovid.errors import ConfigError, printable

if TYPE_CHECKING:
    from autovid.report import LabelledNetwork, MapRow


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("clip", type=Path, metavar="CLIP", help="a video file")
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        dest="models",
        metavar="RUN_OR_FILE",
        help="the run directory of a training, an exported folder, or a network's name or YAML file; may be repeated, "
        "to compare",
    )
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="safetensors file with the weights of a --model that is no run; one for each of these, in their order",
    )
    parser.add_argument("--method", choices=["gradcam", "gradcam++"], default="gradcam++", help="default: gradcam++")
    parser.add_argument(
        "--class", dest="target", metavar="N|NAME", help="show the evidence for this class (default: the predicted one)"
    )
    parser.add_argument(
        "--start", type=options.seconds, default=0.0, metavar="SECONDS", help="where the clip begins (default: 0)"
    )
    parser.add_argument("-o", "--out", type=Path, help="folder of filmstrip.png and film.mp4 (default: runs/cam-CLIP)")
    options.device(parser)


def run(args: argparse.Namespace) -> None:
    """Write a filmstrip and a film of the maps, and print the predictions."""
    from autovid.fileio import explained
    from autovid.report import filmstrip_png, write_film
    from autovid.run import write_atomic

    networks = _networks(args)
    rows = [_row(args, network) for network in networks]
    out = args.out or options.free_directory(f"cam-{args.clip.stem}")
    with explained(f"cannot make {out}"):
        out.mkdir(parents=True, exist_ok=True)
    method = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++"}[args.method]
    title = f"{printable(args.clip.name)} · {method}"
    write_atomic(out / "filmstrip.png", filmstrip_png(rows, title))
    write_film(out / "film.mp4", rows, title)
    for network, row in zip(networks, rows):
        seconds = f"from {row.seconds[0]:.1f} to {row.seconds[-1]:.1f} s"
        weights = f"; weights {network.weights}" if network.weights else ""
        print(printable(f"{row.name}: {row.caption}, {seconds}{weights}"))
    print(printable(f"in {shlex.quote(str(out / 'filmstrip.png'))} and {shlex.quote(str(out / 'film.mp4'))}"))


def _networks(args: argparse.Namespace) -> "list[LabelledNetwork]":
    """Open the networks, in order. Raises ConfigError where weights are missing or left over."""
    from autovid.export.classifier import is_exported, open_exported
    from autovid.models import load_model
    from autovid.report import labelled, open_files, open_run

    networks, weights = [], list(args.weights)
    for text in args.models:
        if is_exported(Path(text)):
            networks.append(labelled(open_exported(Path(text), args.device)))
            continue
        if Path(text).is_dir():
            networks.append(open_run(Path(text), args.device))
            continue
        load_model(text)
        if not weights:
            raise ConfigError(f"{text} holds no weights: give them with --weights FILE.safetensors, or a run directory")
        networks.append(open_files(text, weights.pop(0), args.device))
    if weights:
        raise ConfigError(f"--weights {weights[0]}: no --model is left that they could be of; a run has its own")
    return networks


def _row(args: argparse.Namespace, network: "LabelledNetwork") -> "MapRow":
    import numpy as np
    import torch

    from autovid.data.clips import read_clip
    from autovid.data.loader import normalised
    from autovid.report import MapRow, activation_map

    target = None if args.target is None else network.class_number(args.target)
    pixels, seconds = read_clip(args.clip, network.clip, args.start or None)
    x: torch.Tensor = normalised(pixels[None], network.clip).to(network.device)
    activation = activation_map(network.net, x, network.clip, target, args.method)
    probabilities, target = activation.probabilities, activation.target
    caption = f"{network.class_name(target)} {100 * probabilities[target]:.1f} %"
    best = int(probabilities.argmax())
    if best != target:
        caption += f" (predicts {network.class_name(best)} {100 * probabilities[best]:.1f} %)"
    if not activation.heat.any():
        caption += ", no evidence for it"
    shown_at = np.interp(activation.places, np.arange(len(seconds)), seconds)
    return MapRow(activation, shown_at, network.name, caption)
