"""autovid data: indexes of data sets, checks, small copies, shards and synthetic sets."""

import argparse
import contextlib
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autovid.cli import options
from autovid.cli.launch import exit_code

if TYPE_CHECKING:
    from autovid.data import VideoSet

GRADED = ("bench", "planted")
GESTURES = ("gestures-small", "gestures-new")
KEYFRAMES = 12
INDEX = "an index, or a folder with a sub-folder a class"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    _index_arguments(commands.add_parser("index", help="the index of a data set as it is distributed"))
    _mini_arguments(commands.add_parser("mini", help="the Mini- set of an index: half of its classes"))
    _check_arguments(commands.add_parser("check", help="decode everything once; say what is broken and why"))
    _resize_arguments(commands.add_parser("resize", help="the small copy: quick to read, without sound"))
    _pack_arguments(commands.add_parser("pack", help="tar files of many videos, which can be read over a network"))
    _synthetic_arguments(commands.add_parser("synthetic", help="write a synthetic set, on which architectures differ"))


def run(args: argparse.Namespace) -> int:
    """Run one of them, and return the exit code."""
    work = {
        "index": _index,
        "mini": _mini,
        "check": _check,
        "resize": _resize,
        "pack": _pack,
        "synthetic": _synthetic,
    }
    return int(work[args.what](args))


def _index_arguments(parser: argparse.ArgumentParser) -> None:
    from autovid.data.layouts import LAYOUTS

    parser.add_argument("name", choices=list(LAYOUTS), metavar="NAME", help=", ".join(LAYOUTS))
    parser.add_argument("folder", type=Path, metavar="DIR", help="where its videos and its own lists are")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="default: DIR/NAME.csv")
    parser.add_argument(
        "--fold", type=int, choices=[1, 2, 3], default=1, help="split of UCF101 and HMDB51 (default: 1)"
    )
    parser.add_argument(
        "--seed", type=options.seed, default=0, help="of what is drawn at random (kinetics200, sets without splits)"
    )


def _index(args: argparse.Namespace) -> int:
    from autovid.data.index import write_index
    from autovid.data.make_index import left_out_table, read_data_set, summary
    from autovid.fileio import write_atomic

    out = args.out or args.folder / f"{args.name}.csv"
    videos, left_out = read_data_set(args.name, args.folder, fold=args.fold, seed=args.seed)
    origin = {
        "by": "autovid data index",
        "of": args.name,
        "fold": args.fold,
        "seed": args.seed,
        "left out": len(left_out),
    }
    write_index(out, videos, origin)
    listed = out.with_name(out.stem + ".left-out.csv")
    listed.unlink(missing_ok=True)
    if left_out:
        write_atomic(listed, left_out_table(left_out))
    _say(out, videos)
    for reason, count in summary(left_out).items():
        print(f"left out: {count} {reason}, first {next(row.path for row in left_out if row.reason == reason)}")
    if left_out:
        print(f"all {len(left_out)} are listed in {listed}")
    return 0


def _mini_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", metavar="INDEX", help=INDEX)
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="default: mini-INDEX beside it")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=options.seed, default=0, help="draws the classes (default: 0)")
    which.add_argument(
        "--classes",
        metavar="ibm|FILE",
        help='ibm: those that the authors of "Deep Analysis" list of Kinetics-400 or Something-Something V2; '
        "or a file with a name a line",
    )


def _mini(args: argparse.Namespace) -> int:
    from autovid.data import open_videos
    from autovid.data.index import write_index
    from autovid.data.tools.mini import mini

    chosen, origin = mini(open_videos(args.index), args.seed, args.classes)
    out = args.out or _named(Path(args.index)).with_name(f"{chosen.name}.csv")
    write_index(out, chosen, origin)
    _say(out, chosen)
    seen = {label for video in chosen.train for label in video.labels}
    if empty := [name for label, name in enumerate(chosen.classes) if label not in seen]:
        print(f"without a video to train on: {', '.join(empty)}")
    return 0


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=options.source, metavar="INDEX", help=f"{INDEX}, or shards or their address")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="what is broken (default: INDEX.broken.csv)")
    _workers_argument(parser)


def _check(args: argparse.Namespace) -> int:
    from autovid.cli.console import copyable, table
    from autovid.data import open_videos
    from autovid.data.index import write_index
    from autovid.data.remote import is_address, public
    from autovid.data.shards import Shards
    from autovid.data.tools.check import broken, broken_table, check, class_table, imbalance, sound
    from autovid.data.tools.process_videos import Journal
    from autovid.errors import DataError
    from autovid.fileio import explained, write_atomic
    from autovid.run import Progress

    videos = open_videos(args.index, missing_ok=True)
    index = Path(videos.name) if is_address(args.index) else _named(Path(args.index))
    name = index.stem if index.is_file() else index.name  # a folder may be called clips.v1
    out = args.out or index.with_name(f"{name}.broken.csv")
    with explained(f"cannot write beside {out}"):
        journal = Journal(out.with_suffix(".jsonl"), {"check of": str(videos.root.resolve())}, anew=True)
    with _stoppable():
        results = check(videos, journal, _workers(args), Progress(f"checking {videos.name}"))
    journal.close()
    bad, good = broken(results), sound(videos, results)
    write_atomic(out, broken_table(bad))
    table(videos.name, *class_table(videos, results))
    for line in filter(None, [imbalance(good), *good.gaps(), *videos.doubled()]):
        print(line)
    if bad and isinstance(videos.root, Shards):
        first = "; ".join(f"{path}: {reason}" for path, reason in bad[:3])
        raise DataError(
            f"{_are_broken(bad)}: {first}. All are listed in {out}. Shards stay as they are: check "
            "what they were packed from, and pack it again"
        )
    if bad:
        clean = index.with_name(f"{name}.clean.csv")
        write_index(clean, good, {"by": "autovid data check", "of": str(args.index), "broken": len(bad)})
        copyable([f"next   autovid search --data {shlex.quote(str(clean))}  # the same without what is broken"])
        first = "; ".join(f"{path}: {reason}" for path, reason in bad[:3])
        raise DataError(f"{_are_broken(bad)}: {first}. All are listed in {out}, and not in {clean}")
    print(f"{videos.name}: {len({v.path for v in videos.videos})} videos, none broken")
    copyable(
        [f"next   autovid search --data {shlex.quote(public(args.index) if is_address(args.index) else args.index)}"]
    )
    return 0


def _resize_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=options.source, metavar="INDEX", help=f"{INDEX}, or shards or their address")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="where the copy and its index go")
    parser.add_argument(
        "--short", type=_even, default=256, help="short side in pixels (default: 256); none is enlarged"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--keyframes",
        type=options.positive,
        default=KEYFRAMES,
        metavar="N",
        help=f"a key frame every N (default: {KEYFRAMES})",
    )
    kind.add_argument(
        "--jpeg", action="store_true", help="JPEG frames in place of H.264: quickest to read, and largest"
    )
    _workers_argument(parser)


def _resize(args: argparse.Namespace) -> int:
    from autovid.data import open_videos
    from autovid.data.bad_videos import most_broken
    from autovid.data.index import write_index
    from autovid.data.sources import recorded_source
    from autovid.data.tools.check import broken_table
    from autovid.data.tools.process_videos import Journal
    from autovid.data.tools.resize import CopySettings, moved_times, resize
    from autovid.errors import DataError
    from autovid.fileio import explained, write_atomic
    from autovid.run import Progress

    videos = open_videos(args.index, missing_ok=True)
    _check_beside(args.index, args.out)
    small = CopySettings(args.short, None if args.jpeg else args.keyframes)

    def journal(settings: dict[str, Any]) -> Journal:
        with explained(f"cannot write into {args.out}"):
            args.out.mkdir(parents=True, exist_ok=True)
            return Journal(args.out / "resize.jsonl", settings)

    with _stoppable():
        copy, broken = resize(videos, args.out, small, journal, _workers(args), Progress(f"copying {videos.name}"))
    index, listed = args.out / f"{videos.name}.csv", args.out / f"{videos.name}.left-out.csv"
    origin = {
        "by": "autovid data resize",
        "of": recorded_source(args.index),
        "short": args.short,
        "keyframes": small.keyframes,
    }
    write_index(index, copy, origin)
    write_atomic(listed, broken_table(broken))
    _say(index, copy)
    if moved := moved_times(videos, copy):
        print(moved)
    if broken:
        first = "; ".join(f"{path}: {reason}" for path, reason in broken[:3])
        text = f"{_are_broken(broken)} and left out: {first}. All are listed in {listed}"
        if len(broken) > most_broken(len(videos.videos)):
            raise DataError(text)
        print(text)
    return 0


def _pack_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=options.source, metavar="INDEX", help=f"{INDEX}, or synthetic")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="DIR", help="where the shards and their index go"
    )
    parser.add_argument(
        "--shard-size", type=options.size, default=10**9, metavar="SIZE", help="of a shard, such as 500M (default: 1G)"
    )


def _pack(args: argparse.Namespace) -> int:
    from autovid.cli.console import copyable
    from autovid.data import open_videos
    from autovid.data.tools.pack import pack
    from autovid.fileio import size_text
    from autovid.run import Progress

    videos = open_videos(args.index, holdout=0, missing_ok=True)
    _check_beside(args.index, args.out)
    with _stoppable():
        index = pack(videos, args.out, args.shard_size, Progress(f"packing {videos.name}"))
    size = size_text(sum(shard.size for shard in index.shards))
    print(f"{args.out}: {len(index.files)} videos in {len(index.shards)} shards, {size}")
    copyable([f"next   autovid search --data {shlex.quote(str(args.out))}"])
    return 0


def _check_beside(index: str, out: Path) -> None:
    """Raise DataError where a copy would lie in the folder of its videos."""
    from autovid.errors import DataError

    if Path(index).is_dir() and out.resolve().is_relative_to(Path(index).resolve()):
        raise DataError(f"{out} lies in {index}, where it would count as a class; give a folder beside it")


def _synthetic_arguments(parser: argparse.ArgumentParser) -> None:
    names = (*GRADED, *GESTURES)
    parser.add_argument("name", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="where its videos go")
    _workers_argument(parser)


def _synthetic(args: argparse.Namespace) -> int:
    if args.name in GRADED:
        from autovid.data.graded import RECIPES, write_graded

        videos = write_graded(args.out, RECIPES[args.name], args.name, _workers(args))
        _say(args.out / f"{args.name}.csv", videos)
        return 0
    from autovid.cli.console import copyable
    from autovid.data import gestures

    paths = gestures.write_gestures(args.out, gestures.RECIPES[args.name], _workers(args))
    counts = ", ".join(f"{sum(path.startswith(f'{name}/') for path in paths)} of {name}" for name in gestures.GESTURES)
    print(
        f"{args.out}: videos of a hand, a folder a class: {counts}"
        + f"; and {gestures.LONG}" * (paths[-1] == gestures.LONG)
    )
    folder, index = shlex.quote(str(args.out)), shlex.quote(f"{_named(args.out)}.csv")
    copyable([f"next   autovid data index folders {folder} -o {index}"])
    return 0


def _named(index: Path) -> Path:
    """Return the path with a name at its end, which `.` lacks."""
    return index if index.name not in ("", "..") else Path(os.path.abspath(index))


def _workers_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=options.positive, help="processes (default: one a core)")


def _workers(args: argparse.Namespace) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(args.workers or cores)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Explain after Ctrl-C that the work can go on."""
    from autovid.run import Interrupted

    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(exit_code(stop) - 128, "stopped; the same command goes on from here") from None


def _even(text: str) -> int:
    """Read an even number above 0."""
    value = options.positive(text)
    if value % 2:
        raise argparse.ArgumentTypeError(f"{text} is odd; H.264 stores even sides")
    return value


def _are_broken(bad: Sequence[object]) -> str:
    return "1 video or part is broken" if len(bad) == 1 else f"{len(bad)} videos or parts are broken"


def _say(out: Path, videos: "VideoSet") -> None:
    test = f", {len(videos.test)} to test" if videos.test else ""
    print(
        f"{out}: {len(videos.classes)} classes, {len(videos.train)} videos to train on, {len(videos.val)} to validate"
        + test
    )
