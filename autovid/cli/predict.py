"""autovid predict: the classes of videos, as a trained network predicts them."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import launch, options
from autovid.errors import ConfigError, DataError, foreign, printable

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
        nargs="+",
        metavar="VIDEO",
        help="a video file, a folder of numbered JPEG frames, or a JPEG image; with --follow a growing file (MPEG-TS, "
        "Matroska), /dev/videoN, tcp://HOST:PORT or rtsp://HOST/PATH",
    )
    parser.add_argument(
        "--window",
        type=options.rate,
        metavar="SECONDS",
        help="a prediction for every so many seconds of a video (default: one for all of it; with --timeline or "
        "--follow 2, or what a clip of the network spans)",
    )
    parser.add_argument(
        "--timeline",
        type=Path,
        metavar="DIR",
        help="smooth the windows' probabilities, join equal ones, and write VIDEO.timeline.png, .csv and .srt to DIR",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="print a line a second about the last --window seconds of a live source, until Ctrl-C",
    )
    parser.add_argument(
        "--give-up",
        type=options.rate,
        metavar="SECONDS",
        help="with --follow: end where no frame has come for so long (default: never)",
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each prediction, and each broken video")
    options.checkpoint(parser)
    options.device(parser)


def run(args: argparse.Namespace) -> int:
    """Predict video by video; a broken one prints a line and sets the exit code of broken data."""
    import msgspec

    from autovid.export import open_classifier
    from autovid.export.timeline import check_names, make_folder

    _check(args)
    if args.timeline:
        check_names([Path(video) for video in args.videos])
        make_folder(args.timeline)
    with launch.waiting("predict", f"reading {args.model}"):
        model, code = open_classifier(args.model, args.device, args.checkpoint), 0
    if model.caution:
        print(f"autovid predict: {args.model}: {model.caution}", file=sys.stderr)
    elif model.weights:
        print(f"autovid predict: weights {model.weights}", file=sys.stderr)
    if args.follow:
        return _follow(args, model)
    for video in map(Path, args.videos):
        try:
            _timeline(args, model, video) if args.timeline else _predictions(args, model, video)
        except DataError as error:
            code = error.exit_code
            print(f"autovid predict: {error}", file=sys.stderr)
            if args.json:
                print(msgspec.json.encode({"video": _name(str(video)), "error": str(error)}).decode(), flush=True)
    return code


def _check(args: argparse.Namespace) -> None:
    """Raise ConfigError for options that have nothing to do with each other."""
    if args.follow and len(args.videos) > 1:
        raise ConfigError("--follow takes one source; start a command for each")
    if args.follow and args.timeline:
        raise ConfigError("--timeline is for videos that have an end; leave --follow or --timeline out")
    if args.give_up and not args.follow:
        raise ConfigError("--give-up is for --follow; leave it out")


def _follow(args: argparse.Namespace, model: "VideoClassifier") -> int:
    """Print a line a second about a live source, until Ctrl-C, SIGTERM, or --give-up."""
    from autovid.data.live_sources import without_password
    from autovid.export.following import follow

    def say(text: str) -> None:
        print(f"autovid predict: {printable(text)}", file=sys.stderr, flush=True)

    name, seconds = without_password(args.videos[0]), 0.0
    say(f"following {name}; Ctrl-C ends it")
    try:
        for prediction in follow(model, args.videos[0], window=args.window, give_up=args.give_up, say=say):
            seconds = prediction.end
            if args.json:
                _print_json(prediction)
            else:
                print(f"  {_clock(seconds, 1)}  {_guesses(prediction)}", flush=True)
    finally:
        say(f"followed {_clock(seconds, 1)} of {name}")
    return 0


def _predictions(args: argparse.Namespace, model: "VideoClassifier", video: Path) -> None:
    """Print a line for each window, or one for each class of the whole video."""
    from autovid.export import predict

    lost: list[float] = []
    for number, prediction in enumerate(predict(model, video, args.window, lost.append)):
        if args.json:
            _print_json(prediction)
            continue
        if number == 0:
            print(printable(prediction.video))
        print("\n".join(_lines(prediction, args.window)), flush=True)
    _say_lost(video, lost)


def _timeline(args: argparse.Namespace, model: "VideoClassifier", video: Path) -> None:
    """Write the timeline of a video, and print its segments; those of its beginning where it is stopped or breaks."""
    from autovid.data.clips import read_windows
    from autovid.export.prediction import likeliest, score
    from autovid.export.timeline import WINDOW
    from autovid.run import Progress

    windows: list[ScoredWindow] = []
    lost: list[float] = []
    total = 0

    def begin(count: int) -> None:
        nonlocal total
        total = count
        if not args.json:
            progress.start(total, 0)

    progress = Progress(f"autovid predict: {printable(video.name)}", sys.stderr)
    clip, length = model.interface.clip, args.window or WINDOW
    cut = read_windows(video, clip, length, whole_clips=args.window is None, counted=begin, damaged=lost.append)
    try:
        for scored in score(model, cut, str(video)):
            windows.append(scored)
            if args.json:
                _print_json(likeliest(model, scored, str(video)))
            else:
                progress.update(len(windows) + len(lost), _clock(scored.end, 1), {})
    finally:  # Ctrl-C and damage late in a long video do not cost what has been seen
        if not args.json and total:
            progress.close()
        if windows:
            _write_timeline(args, model, video, windows)
        _say_lost(video, lost)
        if 0 < len(windows) < total - len(lost):
            end = _clock(windows[-1].end, 1)
            print(f"autovid predict: {printable(str(video))}: the timeline ends at {end}", file=sys.stderr)


def _say_lost(video: Path, lost: list[float]) -> None:
    """Say how many windows are damaged, and when the first begins."""
    if lost:
        some = (
            "1 window cannot be decoded and is" if len(lost) == 1 else f"{len(lost)} windows cannot be decoded and are"
        )
        text = f"{printable(str(video))}: {some} left out; the first begins at {_clock(lost[0], 1)}"
        print(f"autovid predict: {text}", file=sys.stderr)


def _write_timeline(
    args: argparse.Namespace, model: "VideoClassifier", video: Path, windows: "list[ScoredWindow]"
) -> None:
    """Write the files, and print the segments and where the files are."""
    from autovid.export.timeline import Timeline, write_timeline

    classes = [model.interface.class_name(index) for index in range(model.interface.outputs)]
    timeline, length = Timeline(str(video), windows, classes), windows[0].end - windows[0].start
    about = f"{model.interface.name}, windows of {length:g} s, smoothed over three"
    places = write_timeline(args.timeline, timeline, about)
    if args.json:
        return
    print(printable(str(video)))
    for one in timeline.segments():
        start, end = (_clock(seconds, length) for seconds in (one.start, one.end))
        print(f"  {start} – {end}  {100 * one.probability:.1f} % {printable(classes[one.number])}")
    print(printable(f"in {', '.join(shlex.quote(str(place)) for place in places)}"), flush=True)


def _print_json(prediction: "Prediction") -> None:
    import msgspec

    named = msgspec.structs.replace(prediction, video=_name(prediction.video))
    print(msgspec.json.encode(named).decode(), flush=True)


def _name(video: str) -> str:
    """Return the name of a video as JSON can have it: bytes that are no UTF-8 as escapes."""
    return printable(video) if foreign(video) else video


def _lines(prediction: "Prediction", window: float | None) -> list[str]:
    """Return a line for each class, or one for a window."""
    if window is None:
        return [f"  {100 * one.probability:5.1f} %  {printable(one.label)}" for one in prediction.top]
    start, end = (_clock(seconds, window) for seconds in (prediction.start, prediction.end))
    return [f"  {start} – {end}  {_guesses(prediction)}"]


def _guesses(prediction: "Prediction") -> str:
    return " · ".join(f"{100 * one.probability:.1f} % {printable(one.label)}" for one in prediction.top)


def _clock(seconds: float, window: float) -> str:
    """Write "0:04.5", "1:02:03.0", with as many decimals as the window has."""
    from autovid.export.prediction import DECIMALS

    decimals = next((number for number in range(1, DECIMALS) if round(window, number) == window), DECIMALS)
    minutes, rest = divmod(round(seconds * 10**decimals), 60 * 10**decimals)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 10**decimals:0{decimals + 3}.{decimals}f}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"
