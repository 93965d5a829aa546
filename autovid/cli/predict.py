"""autovid predict: the classes of videos, as a trained network predicts them."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import launch, options
from autovid.errors import DataError, printable

if TYPE_CHECKING:
    from autovid.export.classifier import Prediction


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="the run directory of a training or a search, an exported folder or its ONNX file",
    )
    parser.add_argument(
        "videos",
        type=Path,
        nargs="+",
        metavar="VIDEO",
        help="a video file, a folder of numbered JPEG frames, or a JPEG image",
    )
    parser.add_argument(
        "--window",
        type=options.rate,
        metavar="SECONDS",
        help="a prediction for every so many seconds of a video (default: one for all of it)",
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each prediction, and each broken video")
    options.checkpoint(parser)
    options.device(parser)


def run(args: argparse.Namespace) -> int:
    """Predict video by video; a broken one prints a line and sets the exit code of broken data."""
    import msgspec

    from autovid.export import open_classifier, predict

    with launch.waiting("predict", f"reading {args.model}"):
        model, code = open_classifier(args.model, args.device, args.checkpoint), 0
    if model.caution:
        print(f"autovid predict: {args.model}: {model.caution}", file=sys.stderr)
    elif model.weights:
        print(f"autovid predict: weights {model.weights}", file=sys.stderr)
    for video in args.videos:
        try:
            for number, prediction in enumerate(predict(model, video, args.window)):
                lines = [msgspec.json.encode(prediction).decode()]
                if not args.json:
                    lines = _lines(prediction, args.window, number)
                print("\n".join(lines), flush=True)
        except DataError as error:
            code = error.exit_code
            print(f"autovid predict: {error}", file=sys.stderr)
            if args.json:
                print(msgspec.json.encode({"video": str(video), "error": str(error)}).decode(), flush=True)
    return code


def _lines(prediction: "Prediction", window: float | None, number: int) -> list[str]:
    """Return the video's name and a line for each class, or a line for each window."""
    heading = [printable(prediction.video)] if number == 0 else []
    if window is None:
        return [*heading, *(f"  {100 * one.probability:5.1f} %  {printable(one.label)}" for one in prediction.top)]
    guesses = " · ".join(f"{100 * one.probability:.1f} % {printable(one.label)}" for one in prediction.top)
    start, end = (_clock(seconds, window) for seconds in (prediction.start, prediction.end))
    return [*heading, f"  {start} – {end}  {guesses}"]


def _clock(seconds: float, window: float) -> str:
    """Write "0:04.5", "1:02:03.0", with as many decimals as the window has."""
    from autovid.export.classifier import DECIMALS

    decimals = next((number for number in range(1, DECIMALS) if round(window, number) == window), DECIMALS)
    minutes, rest = divmod(round(seconds * 10**decimals), 60 * 10**decimals)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 10**decimals:0{decimals + 3}.{decimals}f}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"
