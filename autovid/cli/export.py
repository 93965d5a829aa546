"""autovid export: a network as a folder that stands alone."""

import argparse
import shlex
import sys
from pathlib import Path

from autovid.cli import options
from autovid.errors import printable


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
    options.checkpoint(parser)


def run(args: argparse.Namespace) -> None:
    """Export a network, and print a summary."""
    from autovid.export import find_source, write_export
    from autovid.export.manifest import caution

    source = find_source(args.what, args.weights, args.checkpoint)
    if warning := caution(source.trained):
        hint = "" if source.trained else "; give --weights"
        print(f"autovid export: {args.what}: {warning}{hint}", file=sys.stderr)
    out = args.out or Path("exports") / f"{source.stem}-{args.format}"
    manifest = write_export(source, args.format, out, _say)
    print(f"{manifest.name}: {manifest.cost.gflops:.4g} GFLOPs a clip, {manifest.cost.params / 1e6:.2f} M parameters")
    if chosen := source.trained.get("checkpoint"):
        print(f"weights {chosen}")
    batches = " and ".join(map(str, manifest.check.batches))
    print(f"run and compared: logits differ by {manifest.check.difference:.1g} at most, in batches of {batches}")
    print(f"in {shlex.quote(str(out))}: {manifest.file}, model.json, architecture.yaml, README.md")
    print(f"next   autovid predict {shlex.quote(str(out))} VIDEO")


def _say(line: str) -> None:
    """Print the current work to standard error."""
    print(f"autovid export · {printable(line)}", file=sys.stderr, flush=True)
