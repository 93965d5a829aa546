"""autovid predict: the classes of videos, as a trained network predicts them."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import launch, options
from autovid.errors import DataError, printable

if TYPE_CHECKING:
    from autovid.export import VideoClassifier
    from autovid.export.prediction import Prediction, ScoredWindow


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
        help="a prediction for every so many seconds of a video (default: one for all of it; 2 with --timeline)",
    )
    parser.add_argument(
        "--timeline",
        type=Path,
        metavar="DIR",
        help="smooth the windows' probabilities, join equal ones, and write VIDEO.timeline.png, .csv and .srt to DIR",
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each prediction, and each broken video")
    options.checkpoint(parser)
    options.device(parser)


def run(args: argparse.Namespace) -> int:
    """Predict video by video; a broken one prints a line and sets the exit code of broken data."""
    import msgspec

    from autovid.export import open_classifier
    from autovid.export.timeline import check_names

    if args.timeline:
        check_names(args.videos)
    with launch.waiting("predict", f"reading {args.model}"):
        model, code = open_classifier(args.model, args.device, args.checkpoint), 0
    if model.caution:
        print(f"autovid predict: {args.model}: {model.caution}", file=sys.stderr)
    elif model.weights:
        print(f"autovid predict: weights {model.weights}", file=sys.stderr)
    for video in args.videos:
        try:
            _timeline(args, model, video) if args.timeline else _predictions(args, model, video)
        except DataError as error:
            code = error.exit_code
            print(f"autovid predict: {error}", file=sys.stderr)
            if args.json:
                print(msgspec.json.encode({"video": str(video), "error": str(error)}).decode(), flush=True)
    return code


def _predictions(args: argparse.Namespace, model: "VideoClassifier", video: Path) -> None:
    """Print a line for each window, or one for each class of the whole video."""
    from autovid.export import predict

    for number, prediction in enumerate(predict(model, video, args.window)):
        if args.json:
            _print_json(prediction)
            continue
        if number == 0:
            print(printable(prediction.video))
        print("\n".join(_lines(prediction, args.window)), flush=True)


def _timeline(args: argparse.Namespace, model: "VideoClassifier", video: Path) -> None:
    """Write the timeline of a video, and print its segments."""
    from autovid.data.clips import read_windows
    from autovid.export.prediction import likeliest, score
    from autovid.export.timeline import WINDOW, Timeline, write_timeline

    length, windows = args.window or WINDOW, []
    for scored in score(model, read_windows(video, model.interface.clip, length), str(video)):
        windows.append(scored)
        if args.json:
            _print_json(likeliest(model, scored, str(video)))
        _show_place(video, scored)
    classes = [model.interface.class_name(index) for index in range(model.interface.outputs)]
    timeline = Timeline(str(video), windows, classes)
    about = f"{model.interface.name}, windows of {length:g} s, smoothed over three"
    places = write_timeline(args.timeline, timeline, about)
    if args.json:
        return
    print(printable(str(video)))
    for one in timeline.segments():
        start, end = (_clock(seconds, length) for seconds in (one.start, one.end))
        print(f"  {start} – {end}  {100 * one.probability:.1f} % {printable(classes[one.number])}")
    print(f"in {', '.join(shlex.quote(str(place)) for place in places)}", flush=True)


def _show_place(video: Path, scored: "ScoredWindow") -> None:
    """Show on a terminal how far a long video has come."""
    if sys.stderr.isatty():
        print(f"\rautovid predict: {printable(video.name)} · {_clock(scored.end, 1)}", end="\r", file=sys.stderr)


def _print_json(prediction: "Prediction") -> None:
    import msgspec

    print(msgspec.json.encode(prediction).decode(), flush=True)


def _lines(prediction: "Prediction", window: float | None) -> list[str]:
    """Return a line for each class, or one for a window."""
    if window is None:
        return [f"  {100 * one.probability:5.1f} %  {printable(one.label)}" for one in prediction.top]
    guesses = " · ".join(f"{100 * one.probability:.1f} % {printable(one.label)}" for one in prediction.top)
    start, end = (_clock(seconds, window) for seconds in (prediction.start, prediction.end))
    return [f"  {start} – {end}  {guesses}"]


def _clock(seconds: float, window: float) -> str:
    """Write "0:04.5", "1:02:03.0", with as many decimals as the window has."""
    from autovid.export.prediction import DECIMALS

    decimals = next((number for number in range(1, DECIMALS) if round(window, number) == window), DECIMALS)
    minutes, rest = divmod(round(seconds * 10**decimals), 60 * 10**decimals)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 10**decimals:0{decimals + 3}.{decimals}f}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"
