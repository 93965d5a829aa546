"""autovid data: indexes of data sets, and what is done to whole data sets."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autovid.data import VideoSet

NAMES = ("kinetics400", "kinetics200", "ssv1", "ssv2", "moments", "ucf101", "hmdb51", "ibm", "folders", "csv")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may stand on the command line."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    _index_arguments(commands.add_parser("index", help="the index of a data set as it is distributed"))
    _mini_arguments(commands.add_parser("mini", help="the Mini- set of an index: half of the classes, at random"))


def run(args: argparse.Namespace) -> int:
    """Does one of them; the exit code."""
    return int({"index": _index, "mini": _mini}[args.what](args))


def _index_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("folder", type=Path, metavar="DIR", help="where its videos and its own lists are")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="default: DIR/NAME.csv")
    parser.add_argument(
        "--fold", type=int, choices=[1, 2, 3], default=1, help="split of UCF101 and HMDB51 (default: 1)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of what is drawn at random (kinetics200, sets without splits)"
    )


def _index(args: argparse.Namespace) -> int:
    from autovid.data.make_index import left_out_table, read_data_set, summary
    from autovid.data.write_index import write_index
    from autovid.run.files import write_atomic

    out = args.out or args.folder / f"{args.name}.csv"
    videos, left_out = read_data_set(args.name, args.folder, fold=args.fold, seed=args.seed)
    made = {
        "by": "autovid data index",
        "of": args.name,
        "fold": args.fold,
        "seed": args.seed,
        "left out": len(left_out),
    }
    write_index(out, videos, made)
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
    parser.add_argument("index", metavar="INDEX", help="an index, or a folder with a sub-folder a class")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="default: mini-INDEX beside it")
    parser.add_argument("--seed", type=int, default=0, help="which classes (default: 0)")


def _mini(args: argparse.Namespace) -> int:
    from autovid.data import open_videos
    from autovid.data.mini import mini
    from autovid.data.write_index import write_index

    chosen, made = mini(open_videos(args.index), args.seed)
    out = args.out or Path(args.index).with_name(f"{chosen.name}.csv")
    write_index(out, chosen, made)
    _say(out, chosen)
    return 0


def _say(out: Path, videos: "VideoSet") -> None:
    print(
        f"{out}: {len(videos.classes)} classes, {len(videos.train)} videos to train on, {len(videos.val)} to validate"
    )
