"""autovid evaluate: the accuracy of a trained run, averaged over views."""

import argparse
import sys
from pathlib import Path

from autovid.cli import accuracy_lines, options, training
from autovid.errors import DataError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "directory",
        type=Path,
        metavar="RUN",
        help="the run directory of a training, or of a search, or an exported folder",
    )
    parser.add_argument(
        "--views",
        default="center",
        metavar="VIEWS",
        help="center: one clip and its centre crop (default); lcr: its left, centre and right crop; 10-center, 10-lcr: "
        "these of ten clips along time, or of another number; 1, 3, 10 and 30 stand for these four; center@256: with "
        "a short side of 256 pixels, not the crop's",
    )
    parser.add_argument("--data", type=options.source, help=f"{options.DATA} (default: the data of its training)")
    parser.add_argument(
        "--split",
        choices=["val", "test", "train", "all"],
        default="val",
        help="val (default), which may have chosen the checkpoint; test, which has chosen nothing; train; or all, for "
        "--data that the network has not learned from",
    )
    options.checkpoint(parser)
    parser.add_argument("--json", action="store_true", help="print the content of the file that it writes")
    options.device(parser)
    options.decoding(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate, and print the accuracy."""
    from autovid.export.classifier import is_exported, open_exported
    from autovid.run import Progress
    from autovid.train import evaluate, open_trained
    from autovid.train.evaluate import confusion_file, faults_file, file_of
    from autovid.train.inherited import recalibrated_note

    if is_exported(args.directory):
        trained = open_exported(args.directory, args.device, programs=True)
        if args.data is None:
            raise DataError(f"{args.directory} is exported and knows no videos; give --data: {options.DATA}")
    else:
        trained = open_trained(args.directory, args.device, args.data, args.checkpoint)
    if trained.recalibrated:
        print(recalibrated_note(trained.recalibrated), file=sys.stderr)
    if not trained.finished:
        print(f"{args.directory} is at step {trained.step} of {trained.steps}: not its end", file=sys.stderr)
    videos, _ = training.open_data(args.data or trained.source, trained.recipe.seed, sys.stderr)
    if args.split == "val" and videos.held_out and videos.fingerprint != trained.fingerprint:
        print(
            f"{videos.name} has no split val: these are the {len(videos.val)} of its {len(videos.videos)} videos that "
            "were put aside; --split all takes all, if the network has learned from none of them",
            file=sys.stderr,
        )
    progress = Progress(f"evaluate {args.directory}", stream=sys.stderr)
    evaluation = evaluate(trained, videos, args.views, args.split, workers=options.decoders(args), progress=progress)
    if args.json:
        print(evaluation.to_json(), end="")
        return
    print("  ".join(accuracy_lines.accuracies(evaluation)))
    for line in accuracy_lines.each_class(evaluation):
        print(line)
    print(
        f"{evaluation.decoded} of {evaluation.videos} videos of {evaluation.data}, split {evaluation.split}"
        f"{accuracy_lines.of_classes(evaluation)}; "
        f"{evaluation.views}: {evaluation.views_per_video} view{'s' * (evaluation.views_per_video > 1)} a video, "
        f"{evaluation.frames} frame{'s' * (evaluation.frames > 1)} of {evaluation.crop}x{evaluation.crop}"
    )
    if args.split in ("train", "all") and trained.has_learned(videos.fingerprint):
        print(
            f"the network has learned from {len(videos.train)} of these videos: on others its accuracy is likely lower"
        )
    if evaluation.validations:
        print(
            f"weights {evaluation.weights} on these very videos: the accuracy on others is likely lower (--split test, "
            "if there is one)"
        )
    elif evaluation.weights:
        print(f"weights {evaluation.weights}")
    for line in accuracy_lines.broken(evaluation, faults_file(trained, videos)):
        print(line)
    gflops = f"{evaluation.gflops_per_view:.4g} GFLOPs a view, {evaluation.gflops_per_video:.4g} a video"
    print(f"{gflops}; {evaluation.convention}")
    file = file_of(trained, evaluation)
    if evaluation.mean_ap is not None:
        print(f"in {file}, with the average precision of each class")
    else:
        print(f"in {file}, with the accuracy of each class; confusions are in {confusion_file(file).name}")
