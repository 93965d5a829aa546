"""autovid evaluate: the accuracy of a trained run, averaged over views."""

import argparse
import sys
from pathlib import Path

from autovid.cli import options, training_options


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may stand on the command line."""
    parser.add_argument("directory", type=Path, metavar="RUN", help="the run directory of a training")
    parser.add_argument(
        "--views",
        default="center",
        metavar="VIEWS",
        help="center: one clip and its centre crop (default); lcr: its left, centre and right crop; 10-center, 10-lcr: "
        "these of ten clips along time, or of another number; 1, 3, 10 and 30 stand for these four; center@256: with "
        "a short side of 256 pixels, not the crop's",
    )
    parser.add_argument("--data", type=options.source, help=f"{options.DATA} (default: what it was trained on)")
    parser.add_argument("--split", choices=["val", "train"], default="val")
    parser.add_argument("--json", action="store_true", help="print what is written to evaluation-VIEWS.json")
    options.device(parser)
    options.decoding(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluates and prints."""
    from autovid.kernels.allocator import keep_memory
    from autovid.run import Progress
    from autovid.train import evaluate, evaluation_file, open_trained
    from autovid.train.evaluate import confusion_file

    keep_memory()
    trained = open_trained(args.directory, args.device)
    if trained.step < trained.steps:
        print(f"{args.directory} is at step {trained.step} of {trained.steps}: not its end", file=sys.stderr)
    videos, _ = training_options.open_data(args.data or trained.source, trained.recipe.seed)
    progress = Progress(f"evaluate {args.directory}", stream=sys.stderr)
    found = evaluate(trained, videos, args.views, args.split, workers=options.decoders(args), progress=progress)
    if args.json:
        print(found.to_json(), end="")
        return
    print(f"top-1 {training_options.percent(found.top1)}  top-5 {training_options.percent(found.top5)}")
    print(
        f"{found.decoded} of {found.videos} videos of {found.data}, split {found.split}; {found.views}: "
        f"{found.views_per_video} views a video, {found.frames} frames of {found.crop}x{found.crop}"
    )
    for line in training_options.broken(found, str(args.directory)):
        print(line)
    print(f"{found.gflops_per_view:.4g} GFLOPs a view, {found.gflops_per_video:.4g} a video; {found.convention}")
    file = evaluation_file(args.directory, found.views, args.split)
    print(f"in {file}, with the accuracy of each class; what was taken for what is in {confusion_file(file).name}")
