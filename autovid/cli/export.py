"""autovid export: a network as a folder that stands alone."""

import argparse
import shlex
import sys
from pathlib import Path

from autovid.errors import printable


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may stand on the command line."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="the run directory of a training; or, with --weights, a network's name, the YAML file of one or of an "
        "architecture, or a search's run directory",
    )
    parser.add_argument(
        "--format",
        choices=["safetensors", "torch", "onnx"],
        default="safetensors",
        help="safetensors (default): weights, for autovid; torch: a program of torch.export, which runs without it; "
        "onnx: for onnxruntime and others",
    )
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="the folder (default: exports/NAME-FORMAT)")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="weights of what is no training: a safetensors file, or a training's run directory (default: random ones)",
    )


def run(args: argparse.Namespace) -> None:
    """Exports, and says what was written."""
    from autovid.export import find_source, write_export
    from autovid.export.manifest import caution
    from autovid.kernels.allocator import keep_memory

    keep_memory()
    subject = find_source(args.what, args.weights)
    if doubt := caution(subject.trained):
        hint = "" if subject.trained else "; give --weights"
        print(f"autovid export: {args.what}: {doubt}{hint}", file=sys.stderr)
    out = args.out or Path("exports") / f"{subject.stem}-{args.format}"
    found = write_export(subject, args.format, out, _say)
    print(f"{found.name}: {found.cost.gflops:.4g} GFLOPs a clip, {found.cost.params / 1e6:.2f} M parameters")
    batches = " and ".join(map(str, found.check.batches))
    print(f"run and compared: logits differ by {found.check.difference:.1g} at most, in batches of {batches}")
    print(f"in {shlex.quote(str(out))}: {found.file}, model.json, architecture.yaml, README.md")
    print(f"next   autovid predict {shlex.quote(str(out))} VIDEO")


def _say(line: str) -> None:
    """What it is at, beside what it has to say in the end."""
    print(f"autovid export · {printable(line)}", file=sys.stderr, flush=True)
