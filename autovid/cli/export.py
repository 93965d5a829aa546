"""autovid export: a network as a folder that stands alone."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import options
from autovid.errors import ConfigError, printable

if TYPE_CHECKING:
    from autovid.data import VideoSet


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="the run directory of a training, or of a search, with the weights of its supernet; or, with --weights, a "
        "network's name, or the YAML file of one or of an architecture",
    )
    parser.add_argument(
        "--format",
        choices=["safetensors", "torch", "onnx", "openvino"],
        default="safetensors",
        help="safetensors (default): weights, for autovid; torch: a program of torch.export, which runs without it; "
        "onnx: for onnxruntime and others; openvino: for OpenVINO, on CPUs",
    )
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="the folder (default: exports/NAME-FORMAT)")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="weights of a WHAT that is no training: a safetensors file or a training's run (default: random ones)",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="onnx, openvino: convolutions in int8, the ranges of their maps by 128 clips of training; the accuracy "
        "before and after is printed, and kept in model.json",
    )
    parser.add_argument(
        "--data", type=options.source, help=f"with --int8: {options.DATA} (default: the data of its training)"
    )
    options.checkpoint(parser)


def run(args: argparse.Namespace) -> None:
    """Export a network, and print a summary."""
    from autovid.export import find_source, write_export
    from autovid.export.manifest import caution

    if args.data is not None and not args.int8:
        raise ConfigError("--data is for --int8; leave it out")
    source = find_source(args.what, args.weights, args.checkpoint)
    if warning := caution(source.trained):
        hint = "" if source.trained else "; give --weights"
        print(f"autovid export: {args.what}: {warning}{hint}", file=sys.stderr)
    out = args.out or Path("exports") / f"{source.stem}-{args.format}"
    manifest = write_export(source, args.format, out, _say, int8=_videos(args) if args.int8 else None)
    print(f"{manifest.name}: {manifest.cost.gflops:.4g} GFLOPs a clip, {manifest.cost.params / 1e6:.2f} M parameters")
    if chosen := source.trained.get("checkpoint"):
        print(f"weights {chosen}")
    batches = " and ".join(map(str, manifest.check.batches))
    print(f"run and compared: logits differ by {manifest.check.difference:.1g} at most, in batches of {batches}")
    if manifest.quantized:
        print(manifest.quantized.text)
    print(f"in {shlex.quote(str(out))}: {manifest.file}, model.json, architecture.yaml, README.md")
    print(f"next   autovid predict {shlex.quote(str(out))} VIDEO")


def _videos(args: argparse.Namespace) -> "VideoSet":
    """Open the videos for int8. Raises ConfigError where there is no telling which ones."""
    from autovid.cli.training import open_data
    from autovid.run import RunDirectory
    from autovid.train.trained import KIND, recorded_source

    path = Path(args.what)
    if args.data is None and not (path.is_dir() and RunDirectory.open(path).kind == KIND):
        raise ConfigError(f"--int8: {args.what} is no training, which would know its videos; give --data")
    return open_data(args.data or recorded_source(RunDirectory.open(path)), 0, sys.stderr)[0]


def _say(line: str) -> None:
    """Print the current work to standard error."""
    print(f"autovid export · {printable(line)}", file=sys.stderr, flush=True)
