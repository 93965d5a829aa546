"""autovid import-weights: weights of torchvision, PySlowFast, pytorchvideo, MMAction2 and others for our networks."""

import argparse
import shlex
from pathlib import Path

from autovid.cli import options
from autovid.errors import ConfigError

FORMATS = ("pyslowfast", "pytorchvideo", "mmaction2", "tdn", "tsm", "ibm", "torchvision")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="a checkpoint (torch.save or safetensors); for S2DNet one of each of its two backbones",
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="the network that it is for, or its YAML file")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="the safetensors file to write, and beside it OUT.yaml with the network",
    )
    parser.add_argument("--format", choices=FORMATS, help="default: detected by the names in the file")
    parser.add_argument(
        "--inflate",
        choices=["copy", "divide"],
        default="copy",
        help="2-D weights where ours span frames: copied along time (default), or also divided by its length",
    )
    parser.add_argument("--new-head", action="store_true", help="leave the classifier as it is in a new network")
    parser.add_argument("--classes", type=options.positive)
    parser.add_argument("--frames", type=options.positive)
    parser.add_argument("--crop", type=options.positive)
    options.network(parser)


def run(args: argparse.Namespace) -> None:
    """Import weights, print notes, and write the files."""
    import torch

    from autovid.models import NetworkSpec, load_model
    from autovid.weights import import_weights

    if args.out.suffix != ".safetensors":
        raise ConfigError(f"-o {args.out}: the file is safetensors; give it that ending")
    spec = options.with_network_options(args, load_model(args.model))
    if isinstance(spec, NetworkSpec):
        spec = spec.changed(frames=args.frames, crop=args.crop)
    torch.manual_seed(0)  # new weights are the same each time
    imported = import_weights(
        args.files, spec, args.classes, format=args.format, inflate=args.inflate, new_head=args.new_head
    )
    beside = imported.save(args.out)
    for note in imported.notes:
        print(note)
    print(f"weights in {shlex.quote(str(args.out))}, the network in {shlex.quote(str(beside))}")
