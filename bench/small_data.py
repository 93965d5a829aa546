"""What a training on few videos comes to: from scratch, by the recipe `small`, inherited, fine-tuned, distilled.

    python bench/small_data.py --folder DIR [--clips 10 50 200] [--times 4] [--seconds 290]

Each call does what is left of the work for at most so many seconds, and then writes results/small_data.md, with "not
run" for what is missing; so call it again until nothing is. Every piece of work is a command of autovid that a user
could type, and goes on with --resume.

The data: the synthetic set drawn anew, 40 frames of 48 x 48 pixels. The classes are its three shapes, whatever way
shape and ground move: 10, 50 or 200 videos of each to train on, and 80 of each that none has seen to measure. No
checkpoint is chosen by these: it is the last. Every way trains the architecture that a short search of `tiny` on the
same few videos has found, on clips of 16 frames of 32 x 32 pixels, for the same number of epochs, so that all see
3,600 clips, or with `--times` so many times as many. Inherited: from the weights of that search's supernet. Fine-
tuned: from a training of the same architecture on 288 other videos of the set, whose 12 classes are shapes and
motions together. Distilled: from scratch, by the proxy recipe, with the fine-tuned network as the teacher.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hardware import hardware

from autovid.data.synthetic import SyntheticRecipe, write_synthetic

RESULT = Path(__file__).parent / "results" / "small_data.md"
SHAPES, MOTIONS = 3, 4
SEEN = 3600  # clips in a training
VAL, SOURCE = 20, 24  # videos of each shape and motion: to measure, and to learn from before a fine-tuning
TIMES = (1, 4)
EPOCHS = {10: 120, 50: 24, 200: 6}
SIZE = ["--frames", "16", "--crop", "32", "--stride", "2", "--validate-every", "0", "--decoders", "0"]
WAYS = {
    "from scratch": ["--recipe", "proxy"],
    "from scratch, `small`": ["--recipe", "small"],
    "from scratch, `small` with SGD": ["--recipe", "small", "--set", "optimizer=sgd"],
    "inherited": ["--recipe", "proxy", "--inherit"],
    "source": ["--recipe", "proxy", "--batch", "16", "--set", "optimizer=adamw"],  # what the next one starts from
    "fine-tuned": ["--recipe", "finetune", "--weights", "{folder}/{clips}-source"],
    "distilled": ["--recipe", "proxy", "--batch", "16", "--teacher", "{folder}/{clips}-fine-tuned{longer}"],
}


def main() -> None:
    """Work for a while, and write down what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--clips", type=int, nargs="+", default=[*EPOCHS])
    parser.add_argument("--times", type=int, choices=TIMES, default=1, help="how many times as long trainings are")
    parser.add_argument("--seconds", type=float, default=290.0)
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    done = all(work(end) for clips in args.clips for work in pieces(args.folder.resolve(), clips, args.times))
    RESULT.write_text(page(args.folder))
    print("nothing is left" if done else "call it again: there is work left")


def pieces(folder: Path, clips: int, times: int) -> list[Callable[[float], bool]]:
    """Return the pieces of work of a row, in order; each takes the time when it must end, and says if it is done."""
    data, source, search = folder / f"set/{clips}.csv", folder / "other/source.csv", folder / f"{clips}-search"
    setup = ["--space", "tiny", "--data", str(data), "--flops", "0.0071:0.0079", "--recipe", "proxy", "--steps", "30"]
    works: list[Callable[[float], bool]] = [
        lambda end: end > time.monotonic() and draw(folder, clips),
        lambda end: command(end, search, "architecture.yaml", ["search", *setup, "--decoders", "0"]),
    ]
    for way, options in WAYS.items():
        flags = [option.format(folder=folder, clips=clips, longer=suffix(times)) for option in options]
        epochs, videos = (30, source) if way == "source" else (times * EPOCHS[clips], data)
        name = run_name(clips, way) + (suffix(times) if way != "source" else "")
        line = ["train", str(search), "--data", str(videos), "--epochs", str(epochs), *SIZE, *flags]
        works.append(
            lambda end, name=name, line=line: command(end, folder / name, "evaluation-center.json", line)  # type: ignore[misc]
        )
    return works


def run_name(clips: int, way: str) -> str:
    """Return the name of a run directory."""
    return f"{clips}-{way.replace('`', '').replace(', ', '-').replace(' ', '-')}"


def suffix(times: int) -> str:
    """Return what the names of longer trainings end with."""
    return f"-x{times}" if times > 1 else ""


def draw(folder: Path, clips: int) -> bool:
    """Write the videos of a row and its index, and those that a fine-tuning comes from."""
    videos = written(folder / f"set/videos-{clips}", train=-(-clips // MOTIONS), val=VAL, seed=0)
    others = written(folder / "other/videos", train=SOURCE, val=2, seed=1)
    listed(folder / f"set/{clips}.csv", videos, lambda name: name.split("-")[0], clips)
    listed(folder / "other/source.csv", others, lambda name: name, SOURCE)
    return True


def written(videos: Path, train: int, val: int, seed: int) -> Path:
    """Write videos in a folder, whole or not at all."""
    if not videos.exists():
        half = videos.with_name(f"half-{videos.name}")
        shutil.rmtree(half, ignore_errors=True)
        write_synthetic(half, SyntheticRecipe(train=train, val=val, frames=40, side=48, seed=seed))
        half.rename(videos)
    return videos


def listed(index: Path, videos: Path, label: Callable[[str], str], most: int) -> None:
    """Write an index of the videos of a folder, by the label of their class, at most so many of a label to train on."""
    files = sorted(videos.glob("*/*/*.mp4"), key=lambda file: (file.name, file.parent.name))  # motions take turns
    rows, seen = [], Counter[str]()
    for file in files:
        split, name = file.parent.parent.name, label(file.parent.name)
        seen[name] += split == "train"
        if split == "val" or seen[name] <= most:
            rows.append([file.relative_to(index.parent), name, split])
    with index.open("w", newline="") as table:
        csv.writer(table).writerows([["path", "label", "split"], *rows])


def command(end: float, out: Path, result: str, line: list[str]) -> bool:
    """Run a command of autovid in `out`, stopped when the time is over; return whether `result` is there."""
    if (out / result).exists():
        return True
    if time.monotonic() > end - 5:
        return False
    resume = ["--resume"] if (out / "config.yaml").exists() else []
    print(" ".join(["autovid", *line, "-o", str(out), *resume]), flush=True)
    with (out.parent / f"{out.name}.out").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "autovid", *line, "-o", str(out), *resume], stdout=log, stderr=log
        )
        try:
            process.wait(end - time.monotonic())
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
    return (out / result).exists()


def page(folder: Path) -> str:
    """Write the page: top-1 of each way on each row, for each length of training of which there is something."""
    tables = [lines for times in TIMES if (lines := table(folder, times))]
    about = (
        f"Top-1, percent, on {SHAPES * MOTIONS * VAL} videos that no training has seen, of {SHAPES} classes (chance "
        "33.3 %); one training each. The standard error of a figure is about 3 points for these videos alone, so "
        "smaller differences say nothing."
    )
    return "\n".join(["# Few videos", "", hardware(), "", about, *(line for lines in tables for line in lines), ""])


def table(folder: Path, times: int) -> list[str]:
    """Write the table of one length of training; nothing where none is done."""
    shown = [way for way in WAYS if way != "source"]
    cells = {
        (clips, way): one
        for clips in EPOCHS
        for way in shown
        if (one := measured(folder / (run_name(clips, way) + suffix(times)) / "evaluation-center.json"))
    }
    rows = [f"| {way} | " + " | ".join(cells.get((clips, way), "not run") for clips in EPOCHS) + " |" for way in shown]
    command_line = f"python bench/small_data.py --folder DIR{f' --times {times}' if times > 1 else ''}"
    head = [f"## Trainings of {times * SEEN:,} clips", "", f"`{command_line}`", ""]
    columns = [f"| | {' | '.join(f'{clips} clips a class' for clips in EPOCHS)} |", f"|---|{'---:|' * len(EPOCHS)}"]
    return ["", *head, *columns, *rows] if cells else []


def measured(file: Path) -> str:
    """Return the top-1 of an evaluation; nothing where there is none."""
    return f"{json.loads(file.read_text())['top1']:.1f}" if file.exists() else ""


if __name__ == "__main__":
    main()
